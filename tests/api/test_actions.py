"""Acting on one entry: what it becomes, byte for byte, and that nothing changes when it has moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.api import Entry, Jobs, Place
from exq_anyio.errors import MalformedPayload, RedisFull

from ..contract.places import State, redis_place
from .conftest import NOW, Site, decoded, failed, job
from .test_places import PLACES, Which, every_place, put_many

Act: TypeAlias = Callable[[Jobs, Any], Awaitable[object]]

LATER = datetime(2026, 12, 1, 8, tzinfo=UTC)

ACTIONS: dict[str, Act] = {
    "delete": lambda jobs, entry: jobs.delete(entry),
    "retry": lambda jobs, entry: jobs.retry(entry),
    "run_now": lambda jobs, entry: jobs.run_now(entry),
    "kill": lambda jobs, entry: jobs.kill(entry),
    "edit": lambda jobs, entry: jobs.edit(entry, ["other"]),
    "reschedule": lambda jobs, entry: jobs.reschedule(entry, LATER),
}
REFUSED = {("queue:q", "retry"), ("dead", "kill"), ("dead", "reschedule")}
OFFERED = [
    pytest.param(key, which, act, id=f"{name} {key}")
    for key, which in PLACES.items()
    for name, act in ACTIONS.items()
    if (key, name) not in REFUSED
]


async def only(jobs: Jobs) -> Entry:
    (entry,) = await jobs.page()
    return entry


def recent(value: float) -> bool:
    return abs(datetime.now(UTC).timestamp() - value) < 60


@pytest.mark.parametrize(("key", "which", "act"), OFFERED)
async def test_an_entry_that_has_moved_is_said_to_be_gone_and_nothing_changes(
    site: Site, key: str, which: Which, act: Act
) -> None:
    await put_many(site, key, [failed("a", unique_token="t"), failed("b")])
    await site.put(unique_t=b"a")
    jobs = which(site.api)
    entry = (await jobs.find("a")).entry
    assert entry is not None
    if key == "queue:q":
        await site.redis.lset(site.key(key), 0, failed("a", 1, unique_token="t"))
    else:
        await site.redis.zrem(site.key(key), [entry.payload])
        await site.redis.zadd(site.key(key), {failed("a", 1, unique_token="t"): NOW + 9})
    before = await site.state()
    assert await act(jobs, entry) in (False, None)
    assert await act(jobs, "no such jid") in (False, None)
    assert await site.state() == before


ONCE = [
    pytest.param(key, name, id=f"{name} {key}")
    for key in PLACES
    for name in ("delete", "kill", "retry", "run_now")
    # What is put to the front of its queue may be put there again.
    if (key, name) not in {*REFUSED, ("queue:q", "run_now")}
]


@pytest.mark.parametrize(("key", "name"), ONCE)
async def test_of_many_who_act_at_a_time_one_does(site: Site, key: str, name: str) -> None:
    await put_many(site, key, [failed("a", 3)])
    jobs = PLACES[key](site.api)
    entry = await only(jobs)
    answers: list[object] = []

    async def one() -> None:
        answers.append(await ACTIONS[name](jobs, entry))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)
    assert sorted(map(bool, answers)) == [False, False, False, False, True]
    assert sum(len(held) for place, held in (await site.state()).items() if place != "queues") == (name != "delete")


# delete


@every_place
@pytest.mark.parametrize("by_jid", [True, False], ids=["by jid", "by entry"])
@pytest.mark.parametrize("until", ["success", "start", "expiry"])
async def test_a_deleted_job_frees_its_unique_lock(
    site: Site, key: str, which: Which, by_jid: bool, until: str
) -> None:
    await put_many(site, key, [failed("a", unique_token="t", unique_until=until), failed("b")])
    await site.put(unique_t=b"a", queues={b"q"})
    jobs = which(site.api)
    entry = (await jobs.find("a")).entry
    assert await jobs.delete("a" if by_jid else entry) is True  # type: ignore[arg-type]  # it is there
    after = await site.state()
    assert list(after.pop(key)) == [failed("b")]
    assert after == {"queues": {b"q"}}


@every_place
async def test_a_deleted_job_keeps_its_unique_lock_by_choice(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [failed("a", unique_token="t")])
    await site.put(unique_t=b"a")
    assert await which(site.api).delete("a", keep_lock=True) is True
    assert await site.state() == {"unique:t": b"a"}


async def test_a_deleted_job_leaves_the_lock_of_another_alone(site: Site) -> None:
    await site.put(dead={failed("a", unique_token="t"): NOW}, unique_t=b"another")
    assert await site.api.dead().delete("a") is True
    assert await site.state() == {"unique:t": b"another"}


@every_place
async def test_garbage_is_deleted_by_its_bytes(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [b"{not json", job("a")])
    garbage, _ = await which(site.api).page()
    assert await which(site.api).delete(garbage) is True
    assert list((await site.state())[key]) == [job("a")]


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_of_equal_jobs_in_a_queue_one_is_deleted(site: Site, at: int) -> None:
    await site.put(queue_q=[job("a"), job("b"), job("a"), job("a")])
    entries = [entry for entry in await site.api.jobs("q").page() if entry.jid == "a"]
    assert await site.api.jobs("q").delete(entries[at]) is True
    held = (await site.state())["queue:q"]
    assert sorted(held) == sorted([job("a"), job("b"), job("a")])


async def test_a_job_deep_in_a_queue_that_has_moved_far_is_found_by_its_bytes(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(5_000)])
    entry = (await site.api.jobs("q").find("2500")).entry
    assert entry is not None
    await site.redis.lpush(site.key("queue:q"), [job(f"new {at}") for at in range(3_000)])
    assert await site.api.jobs("q").delete(entry) is True
    held = (await site.state())["queue:q"]
    assert (len(held), job("2500") in held) == (7_999, False)


# retry and run now


@pytest.mark.parametrize(("count", "becomes"), [(25, 24), (1, 0), (0, -1), (-1, -1), (None, None)])
@pytest.mark.parametrize("key", ["retry", "dead"])
async def test_a_retried_job_gets_its_attempt_back_as_by_sidekiqs_button(
    site: Site, key: str, count: int | None, becomes: int | None
) -> None:
    payload = failed("a", retry_count=count, retried_at=NOW - 1, odd={"kept": [10**30]}, enqueued_at=NOW - 8)
    await site.put_at(key, {payload: NOW})
    await site.put_at("stat:failed", b"7")
    assert await PLACES[key](site.api).retry("a") is True
    state = await site.state()
    (again,) = state.pop("queue:q")
    assert state == {"queues": {b"q"}, "stat:failed": b"7"}
    enqueued = decoded(again).pop("enqueued_at")
    assert recent(enqueued)
    expected = {**decoded(payload), "enqueued_at": enqueued}
    assert decoded(again) == ({**expected, "retry_count": becomes} if becomes is not None else expected)


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
async def test_a_job_run_now_keeps_its_count(site: Site, key: str) -> None:
    payload = failed("a", 3, queue="mail")
    await site.put_at(key, {payload: NOW, failed("b"): NOW})
    assert await PLACES[key](site.api).run_now("a") is True
    state = await site.state()
    (again,) = state.pop("queue:mail")
    assert state == {"queues": {b"mail"}, key: {failed("b"): NOW}}
    assert {**decoded(again), "enqueued_at": 0} == {**decoded(payload), "enqueued_at": 0}
    assert recent(decoded(again)["enqueued_at"])


async def test_a_dead_job_is_enqueued_once(site: Site) -> None:
    await site.put(dead={failed("a"): NOW})
    entry = await only(site.api.dead())
    assert [await site.api.dead().retry(entry), await site.api.dead().retry(entry)] == [True, False]
    assert len((await site.state())["queue:q"]) == 1


async def test_a_job_goes_to_the_head_behind_those_that_wait_already(site: Site) -> None:
    await site.put(queue_q=[job("b"), job("first")], dead={failed("a"): NOW})
    await site.api.dead().retry("a")
    assert [decoded(payload)["jid"] for payload in (await site.state())["queue:q"]] == ["a", "b", "first"]


async def test_a_job_that_waits_is_put_to_the_front_of_its_queue(site: Site) -> None:
    await site.put(queue_q=[job("c"), job("b"), job("first")])
    assert await site.api.jobs("q").run_now("b") is True
    assert (await site.state()) == {"queue:q": [job("c"), job("first"), job("b")], "queues": {b"q"}}


async def test_times_are_written_in_the_unit_that_is_configured(site: Site, valkey: Any) -> None:
    await site.put(dead={failed("a"): NOW})
    async with exq.open(url=valkey.url, namespace=site.namespace, mode="api", timestamps="milliseconds") as q:
        await q.api.dead().retry("a")
    (again,) = (await site.state())["queue:q"]
    assert type(decoded(again)["enqueued_at"]) is int
    assert recent(decoded(again)["enqueued_at"] / 1000)


@pytest.mark.parametrize("act", ["retry", "run_now"])
async def test_garbage_cannot_be_enqueued_and_stays(site: Site, act: str) -> None:
    await site.put(dead={b"{not json": NOW})
    before = await site.state()
    with pytest.raises(MalformedPayload, match="not JSON"):
        await ACTIONS[act](site.api.dead(), await only(site.api.dead()))
    assert await site.state() == before


async def test_a_job_in_a_queue_is_not_retried(site: Site) -> None:
    await site.put(queue_q=[job("a")])
    with pytest.raises(ValueError, match="already"):
        await site.api.jobs("q").retry("a")


# kill


async def test_a_killed_retry_goes_to_the_dead_byte_for_byte_and_frees_its_lock(site: Site) -> None:
    payload = failed("a", 3, unique_token="t")
    await site.put(retry={payload: NOW + 100}, unique_t=b"a")
    assert await site.api.retries().kill("a") is True
    state = await site.state()
    assert state.keys() == {"dead"}
    assert list(state["dead"]) == [payload]
    assert recent(state["dead"][payload])


@pytest.mark.parametrize("key", ["queue:q", "schedule"])
async def test_a_killed_job_that_never_failed_says_why_it_is_dead(site: Site, key: str) -> None:
    await put_many(site, key, [job("a", unique_token="t")])
    await site.put(unique_t=b"a")
    assert await PLACES[key](site.api).kill("a", keep_lock=True) is True
    state = await site.state()
    assert state.pop("unique:t") == b"a"
    assert state.keys() == {"dead"}
    ((dead, score),) = state["dead"].items()
    assert decoded(dead) == {
        **decoded(job("a", unique_token="t")), "error_class": "Killed", "error_message": "killed by an operator",
        "failed_at": score, "retry_count": 0,
    }  # fmt: skip
    assert recent(score)


async def test_a_lock_that_only_time_frees_outlives_a_kill(site: Site) -> None:
    await site.put(retry={failed("a", unique_token="t", unique_until="expiry"): NOW}, unique_t=b"a")
    await site.api.retries().kill("a")
    assert (await site.state())["unique:t"] == b"a"


@pytest.mark.parametrize(("payload", "wrapped"), [(b"{not json", False), (b"[1]", True)])
async def test_killed_garbage_is_what_a_node_makes_of_it(site: Site, payload: bytes, wrapped: bool) -> None:
    await site.put(queue_q=[payload])
    entry = await only(site.api.jobs("q"))
    assert await site.api.jobs("q").kill(entry) is True
    (dead,) = (await site.state())["dead"]
    if wrapped:
        assert (decoded(dead)["class"], decoded(dead)["args"], decoded(dead)["queue"]) == (
            "MalformedPayload",
            ["[1]"],
            "q",
        )
    else:
        assert dead == payload


# edit and reschedule


@every_place
async def test_other_arguments_change_nothing_else_and_not_the_place(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [failed("a"), failed("b", odd=1.5), failed("c")])
    before = await site.state()
    edited = await which(site.api).edit("b", ["new", {"x": 1}])
    assert edited is not None
    assert decoded(edited.payload) == {**decoded(failed("b", odd=1.5)), "args": ["new", {"x": 1}]}
    after = await site.state()
    a, b, c = await which(site.api).page()
    assert (a.jid, b.payload, c.jid) == ("a", edited.payload, "c")
    assert (b.place, b.score, b.position) == (edited.place, edited.score, edited.position)
    if key != "queue:q":
        assert sorted(after[key].values()) == sorted(before[key].values())
    assert await which(site.api).edit(edited, []) is not None


@pytest.mark.parametrize("key", ["retry", "schedule"])
async def test_another_time_changes_only_the_time(site: Site, key: str) -> None:
    await site.put_at(key, {failed("a"): NOW, failed("b"): NOW})
    moved = await PLACES[key](site.api).reschedule("a", LATER)
    assert moved is not None
    assert (moved.payload, moved.at, moved.place) == (failed("a"), LATER, Place(key))  # type: ignore[arg-type]  # a kind
    assert await site.state() == {key: {failed("a"): LATER.timestamp(), failed("b"): NOW}}


async def test_a_job_in_a_queue_is_put_off_to_the_schedule(site: Site) -> None:
    await site.put(queue_q=[job("a", enqueued_at=NOW, queue="elsewhere"), job("b")], queues={b"q"})
    moved = await site.api.jobs("q").reschedule("a", LATER)
    assert moved is not None
    state = await site.state()
    assert state == {"queue:q": [job("b")], "queues": {b"q"}, "schedule": {moved.payload: LATER.timestamp()}}
    assert decoded(moved.payload) == decoded(job("a"))


@pytest.mark.parametrize("at", [LATER.replace(tzinfo=None), LATER])
async def test_a_time_without_a_zone_or_for_the_dead_is_refused(site: Site, at: datetime) -> None:
    await site.put(dead={failed("a"): NOW}, schedule={job("a"): NOW})
    before = await site.state()
    with pytest.raises(ValueError, match="time"):
        await (site.api.dead() if at.tzinfo else site.api.scheduled()).reschedule("a", at)
    assert await site.state() == before


async def test_a_rescheduled_job_is_due_then(site: Site, valkey: Any) -> None:
    done = anyio.Event()

    async def worker(number: int) -> None:
        done.set()

    await site.put(schedule={job("a", worker="worker"): NOW + 10 * 365 * 86400})
    await site.api.scheduled().reschedule("a", datetime.now(UTC) - timedelta(seconds=1))
    async with exq.open(
        url=valkey.url, namespace=site.namespace, queues=["q"], workers=[exq.worker(name="worker")(worker)],
        scheduler_poll_timeout=0.02,
    ):  # fmt: skip
        with anyio.fail_after(10):
            await done.wait()


# What may go wrong


async def test_an_entry_of_another_place_is_refused(site: Site) -> None:
    await site.put(dead={failed("a"): NOW}, retry={failed("a"): NOW})
    with pytest.raises(ValueError, match="the entry is of dead, and this is retry"):
        await site.api.retries().delete(await only(site.api.dead()))


async def test_an_entry_knows_where_it_is_acted_upon(site: Site) -> None:
    await site.put(dead={failed("a"): NOW}, queue_q=[job("b")])
    for entry in (await only(site.api.dead()), await only(site.api.jobs("q"))):
        assert await site.api.at(entry.place).delete(entry) is True
    assert await site.state() == {}


async def test_a_full_server_lets_an_operator_make_room(private_valkey: Callable[..., Any], namespace: str) -> None:
    import coredis

    server = private_valkey("--maxmemory-policy", "noeviction")
    async with (
        coredis.Redis(unix_socket_path=server.socket, decode_responses=False) as redis,
        redis_place(server.socket, redis, namespace) as place,
        exq.open(url=server.url, namespace=namespace, mode=("api", "enqueuer")) as q,
    ):
        start: State = {
            "dead": {failed(name): NOW for name in "abc"},
            "queue:q": [job("a"), job("b"), job("c"), job("d")],
        }
        for key, held in start.items():
            await place.put(key, held)
        await redis.config_set({"maxmemory": "1"})
        with pytest.raises(RedisFull):
            await q.enqueue("q", "W")
        assert await q.api.dead().delete("a") is True
        assert await q.api.jobs("q").delete("b") is True
        assert await q.api.jobs("q").kill("c") is True
        assert await q.api.jobs("q").edit("d", [2]) is not None
        assert await q.api.dead().retry("b") is True
        assert (await q.api.dead().delete_all()).done == 2
        assert await q.api.jobs("q").clear() == 3
        assert await place.state() == {}
