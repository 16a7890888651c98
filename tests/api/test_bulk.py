"""Searching, and acting on many entries: what matches, in bounded steps, while jobs come and go."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from exq_anyio.api import Filter, Hits, Jobs, Progress
from exq_anyio.errors import WrongType

from .conftest import NOW, Site, decoded, failed, job
from .test_places import PLACES, Which, every_place, put_many

WHEN = datetime.fromtimestamp(NOW, UTC)

JOBS = [
    failed("mail", worker="Mail::Send", error_class="Net::ReadTimeout", tags=["big", "eu"]),
    failed("mailer", worker="Mailer", error_class="Oops", tags=["bigger"], args=['größe/Ж "quoted"\nline']),
    job("fresh", worker="Other", args=[{"user_id": 7}]),
    b'{"class":"M\\u0061il","args":["gr\\u00f6\\u00dfe"],"jid":"escaped","error_class":"Read\\u0054imeout","tags":["\\u0065u"]}',
    b"{not json, but Mail and eu",
]


async def hits(jobs: Jobs, what: Filter, **limits: int) -> list[str]:
    found: list[str] = []
    async for step in jobs.search(what, **limits):
        found += [entry.jid or entry.text for entry in step.entries]
    return found


@pytest.mark.parametrize(
    ("what", "matching"),
    [
        (Filter(), ["mail", "mailer", "fresh", "escaped", "{not json, but Mail and eu"]),
        (Filter(worker="Mail"), ["mail", "mailer", "escaped"]),
        (Filter(worker="mail"), []),
        (Filter(worker="Mail::Send"), ["mail"]),
        (Filter(error="Timeout"), ["mail", "escaped"]),
        (Filter(tag="big"), ["mail"]),
        (Filter(tag="eu"), ["mail", "escaped"]),
        (Filter(text="Mail"), ["mail", "mailer", "escaped", "{not json, but Mail and eu"]),
        (Filter(text="größe"), ["mailer", "escaped"]),
        (Filter(text='"user_id":7'), ["fresh"]),
        (Filter(text='Ж "quoted"\nl'), ["mailer"]),
        (Filter(text='\\"quoted\\"'), ["mailer"]),
        (Filter(text="\ud800"), []),
        (Filter(worker="Mail", error="Oops"), ["mailer"]),
        (Filter(worker="Mail", tag="none"), []),
        (Filter(worker=""), ["mail", "mailer", "fresh", "escaped", "{not json, but Mail and eu"]),
    ],
    ids=str,
)
@every_place
async def test_a_search_finds_what_meets_all_that_is_asked(
    site: Site, key: str, which: Which, what: Filter, matching: list[str]
) -> None:
    await put_many(site, key, JOBS)
    assert await hits(which(site.api), what) == matching


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
@pytest.mark.parametrize(
    ("since", "until", "matching"),
    [(2, None, "2345"), (None, 2, "012"), (2, 3, "23"), (3, 2, ""), (2.5, 2.75, ""), (-9, 99, "012345")],
)
async def test_of_a_set_only_the_times_asked_for_are_looked_at(
    site: Site, key: str, since: float | None, until: float | None, matching: str
) -> None:
    await site.put_at(key, {failed(str(at)): NOW + at for at in range(6)})
    what = Filter(
        since=None if since is None else WHEN + timedelta(seconds=since),
        until=None if until is None else WHEN + timedelta(seconds=until),
    )
    steps = [step async for step in PLACES[key](site.api).search(what)]
    assert sorted(entry.jid for step in steps for entry in step.entries) == list(matching)
    assert [(step.looked, step.total) for step in steps] == ([(len(matching),) * 2] if matching else [])


async def test_in_a_queue_the_time_is_when_a_job_was_enqueued(site: Site) -> None:
    await site.put(queue_q=[job("new", enqueued_at=NOW + 9), job("old", enqueued_at=int(NOW * 1000)), job("unknown")])
    assert await hits(site.api.jobs("q"), Filter(since=WHEN + timedelta(seconds=5))) == ["new"]
    assert await hits(site.api.jobs("q"), Filter(until=WHEN + timedelta(seconds=5))) == ["old"]


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Filter(since=datetime(2026, 1, 1))


@every_place
async def test_a_search_goes_in_steps_and_says_how_far_it_looked(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [job(str(at), tags=["x"] if at % 1000 == 5 else []) for at in range(4_500)])
    steps = [step async for step in which(site.api).search(Filter(tag="x"))]
    assert [(step.looked, step.total) for step in steps] == [(2000, 4500), (4000, 4500), (4500, 4500)]
    assert [[entry.jid for entry in step.entries] for step in steps] == [["5", "1005"], ["2005", "3005"], ["4005"]]
    assert await hits(which(site.api), Filter(tag="x"), limit=3) == ["5", "1005", "2005"]
    assert await hits(which(site.api), Filter(tag="x"), limit=0) == []
    looked = [step async for step in which(site.api).search(Filter(tag="x"), look_at=2_100)]
    assert looked[-1] == Hits(entries=looked[-1].entries, looked=2_100, total=4_500, offset=2_100)
    assert [entry.jid for entry in looked[-1].entries] == ["2005"]


@every_place
async def test_a_search_goes_on_where_another_one_ended(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [job(str(at), tags=["x"] if at % 1000 == 5 else []) for at in range(4_500)])
    jobs, offset, found = which(site.api), 0, []
    for limit, look_at in ((2, None), (None, 1_500), (1, None), (9, 10), (1, None)):
        async for hit in jobs.search(Filter(tag="x"), limit=limit, look_at=look_at, offset=offset):
            found += [entry.jid for entry in hit.entries]
        offset = hit.offset
    assert (found, offset) == (["5", "1005", "2005", "3005", "4005"], 4_500)


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
async def test_a_search_between_times_goes_on_within_them(site: Site, key: str) -> None:
    await site.put_at(key, {job(str(at)): NOW + at for at in range(10)})
    jobs = PLACES[key](site.api)
    what = Filter(since=WHEN + timedelta(seconds=3), until=WHEN + timedelta(seconds=6))
    (first,) = [hit async for hit in jobs.search(what, limit=1)]
    (rest,) = [hit async for hit in jobs.search(what, offset=first.offset)]
    found = [entry.jid for entry in (*first.entries, *rest.entries)]
    assert (found if key != "dead" else found[::-1], rest.offset, rest.total) == (["3", "4", "5", "6"], 4, 4)


# Acting on many


async def test_what_is_empty_is_done_at_once(site: Site) -> None:
    for jobs in (which(site.api) for which in PLACES.values()):
        nothing = Progress(looked=0, total=0, done=0, moved=0)
        assert await jobs.delete_all() == await jobs.delete_all(Filter(worker="x")) == nothing
        assert await jobs.clear() == 0
    assert await site.state() == {}


@every_place
async def test_all_that_match_are_deleted_with_their_locks_and_no_other(site: Site, key: str, which: Which) -> None:
    payloads = [job(str(at), worker=f"W{at % 2}", unique_token=f"t{at}") for at in range(1_300)]
    await put_many(site, key, payloads)
    for at in range(1_300):
        await site.put_at(f"unique:t{at}", b"%d" % at)
    steps = [step async for step in which(site.api).delete_all(Filter(worker="W1"))]
    assert steps[-1] == Progress(looked=1_300, total=1_300, done=650, moved=0)
    state = await site.state()
    kept = payloads[::2]
    assert sorted(state.pop(key)) == sorted(kept)
    assert state == {f"unique:t{at}": b"%d" % at for at in range(0, 1_300, 2)}
    if key == "queue:q":
        assert [entry.payload async for entry in which(site.api)] == kept


@every_place
@pytest.mark.parametrize("keep", [True, False])
async def test_clearing_frees_or_keeps_every_lock_in_steps(site: Site, key: str, which: Which, keep: bool) -> None:
    payloads = [job(str(at), unique_token=f"t{at}" if at % 100 == 7 else None) for at in range(4_300)]
    await put_many(site, key, [*payloads, b"unique_token garbage"])
    locks = {f"unique:t{at}": b"%d" % at for at in range(4_300) if at % 100 == 7}
    for lock, jid in locks.items():
        await site.put_at(lock, jid)
    await site.put(queues={b"q", b"other"}, paused={b"q"})
    steps = [step async for step in which(site.api).delete_all(keep_locks=keep)]
    assert [(step.done, step.total) for step in steps] == [(2000, 4301), (4000, 4301), (4301, 4301)]
    rest = {"queues": {b"q", b"other"}, "paused": {b"q"}}
    assert await site.state() == {**rest, **(locks if keep else {})}


async def test_clearing_leaves_the_lock_of_another_job_alone(site: Site) -> None:
    await site.put(queue_q=[job("a", unique_token="t")], unique_t=b"another")
    assert await site.api.jobs("q").clear() == 1
    assert await site.state() == {"unique:t": b"another"}


async def test_a_cleared_queue_is_not_known_any_more_unless_jobs_have_come(site: Site) -> None:
    await site.put(queues={b"q", b"r"}, queue_q=[job("a"), job("b")], queue_r=[job("c")])
    assert await site.api.jobs("q").clear() == 2
    assert await site.state() == {"queues": {b"r"}, "queue:r": [job("c")]}
    bulk = site.api.jobs("r").delete_all()
    await anext(bulk)
    await site.redis.lpush(site.key("queue:r"), [job("late")])
    assert [step async for step in bulk] == []
    assert await site.state() == {"queues": {b"r"}, "queue:r": [job("late")]}


@every_place
async def test_nothing_is_looked_at_twice_when_whole_steps_are_deleted(site: Site, key: str, which: Which) -> None:
    payloads = [job(str(at), tags=["x"] if 2_000 <= at < 4_000 or at % 1_000 == 999 else []) for at in range(6_500)]
    # A queue is walked from its oldest, which is last in the order of pages, and so are the dead.
    await put_many(site, key, payloads if key in ("retry", "schedule") else payloads[::-1])
    steps = [step async for step in which(site.api).delete_all(Filter(tag="x"))]
    assert [(step.looked, step.total) for step in steps] == [(at, 6_500) for at in (2_000, 4_000, 6_000, 6_500)]
    assert [(step.done, step.moved) for step in steps] == [(2, 0), (2_002, 0), (2_004, 0), (2_004, 0)]
    assert await which(site.api).size() == 4_496


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
@pytest.mark.parametrize(("act", "count"), [("retry_all", 2), ("run_all", 3)])
async def test_all_that_match_go_to_their_queues_the_lowest_score_first(
    site: Site, key: str, act: str, count: int
) -> None:
    await site.put_at(
        key, {failed(f"{at:04}", 3, queue=f"q{at % 2}", tags=[f"t{at % 3}"]): NOW + at for at in range(1_200)}
    )
    await site.put_at(key, {b"{garbage t1": NOW})
    done = await getattr(PLACES[key](site.api), act)(Filter(tag="t1"))
    assert done == Progress(looked=1_201, total=1_201, done=400, moved=0)
    state = await site.state()
    assert state.pop("queues") == {b"q0", b"q1"}
    for number in (0, 1):
        taken = [decoded(payload) for payload in reversed(state.pop(f"queue:q{number}"))]
        assert [record["jid"] for record in taken] == [
            f"{at:04}" for at in range(1_200) if at % 6 == (1 + 3 * (number == 0))
        ]
        assert {record["retry_count"] for record in taken} == {count}
    assert len(state.pop(key)) == 801
    assert state == {}


async def test_all_garbage_stays_when_all_are_retried(site: Site) -> None:
    await site.put(dead={b"{garbage": NOW, failed("a"): NOW + 1, b"[1]": NOW + 2})
    assert await site.api.dead().retry_all() == Progress(looked=3, total=3, done=1, moved=0)
    assert (await site.state())["dead"] == {b"{garbage": NOW, b"[1]": NOW + 2}


@pytest.mark.parametrize("key", ["retry", "schedule", "queue:q"])
async def test_all_that_match_are_killed(site: Site, key: str) -> None:
    payloads = [failed(f"{at:04}", tags=[f"t{at % 3}"], unique_token=f"u{at}") for at in range(1_200)]
    await put_many(site, key, payloads)
    await site.put_at("unique:u1", b"0001")
    await site.put_at("unique:u2", b"0002")
    assert (await PLACES[key](site.api).kill_all(Filter(tag="t1"))).done == 400
    state = await site.state()
    assert sorted(state["dead"]) == [payload for at, payload in enumerate(payloads) if at % 3 == 1]
    assert len(state[key]) == 800
    assert {name for name in state if name.startswith("unique")} == {"unique:u2"}


async def test_what_makes_no_sense_is_refused(site: Site) -> None:
    refused = (site.api.dead().kill_all, site.api.jobs("q").retry_all, site.api.jobs("q").run_all)
    for act in refused:
        with pytest.raises(ValueError, match="there already"):
            act()


async def test_what_fails_meanwhile_is_told_and_what_was_done_stays_done(site: Site) -> None:
    await site.put(dead={failed(f"{at:04}"): NOW + at for at in range(1_200)})
    bulk = site.api.dead().retry_all()
    assert (await anext(bulk)).done == 500
    await site.redis.delete([site.key("queue:q")])
    await site.put_at("queue:q", b"text")
    with pytest.raises(WrongType):
        await anext(bulk)
    assert len((await site.state())["dead"]) == 700


# While jobs come and go


async def acted(bulk: object, between: Callable[[], object]) -> Progress:
    last: Progress | None = None
    async for step in bulk:  # type: ignore[attr-defined]  # object, as the parameter is
        last = step
        await between()  # type: ignore[misc]  # object, as the parameter is
    assert last is not None
    return last


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
async def test_entries_that_leave_a_set_meanwhile_hide_none_that_match(site: Site, key: str) -> None:
    await site.put_at(key, {failed(f"{at:05}", tags=["odd"] if at % 2 else []): NOW + at for at in range(9_000)})

    async def leave() -> None:
        await site.redis.zremrangebyrank(site.key(key), 0, 299)

    await acted(PLACES[key](site.api).delete_all(Filter(tag="odd")), leave)
    left = [decoded(payload) for payload in (await site.state())[key]]
    assert [record["jid"] for record in left if record.get("tags")] == []


async def test_jobs_that_come_to_and_leave_a_queue_meanwhile_hide_none_that_match(site: Site) -> None:
    await site.put(queue_q=[job(f"{at:05}", tags=["odd"] if at % 2 else []) for at in range(9_000)])
    number, steps = itertools.count(), itertools.count()

    async def come_and_leave() -> None:
        await site.redis.lpush(site.key("queue:q"), [job(f"new {next(number)}", tags=["odd"]) for _ in range(50)])
        # After the second step all that the first two have left, and some that they have not seen.
        await site.redis.rpop(site.key("queue:q"), 2_050 if next(steps) == 1 else 1)

    await acted(site.api.jobs("q").delete_all(Filter(tag="odd")), come_and_leave)
    left = [decoded(payload) for payload in (await site.state())["queue:q"]]
    assert [record["jid"] for record in left if record["tags"] and not record["jid"].startswith("new")] == []


async def test_jobs_that_fail_again_at_once_are_not_retried_for_ever(site: Site) -> None:
    await site.put(retry={failed(f"{at:04}"): NOW + at for at in range(1_100)})

    async def fail_again() -> None:
        taken = await site.redis.lrange(site.key("queue:q"), 0, -1)
        await site.redis.delete([site.key("queue:q")])
        await site.redis.zadd(site.key("retry"), dict.fromkeys(taken, NOW + 1e6))

    done = await acted(site.api.retries().retry_all(), fail_again)
    assert done == Progress(looked=1_100, total=1_100, done=1_100, moved=0)


async def test_two_bulk_actions_at_a_time_share_the_entries(site: Site) -> None:
    await site.put(dead={failed(f"{at:05}"): NOW + at for at in range(3_000)})
    done: list[Progress] = []

    async def one() -> None:
        done.append(await site.api.dead().retry_all())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)
    assert sum(progress.done for progress in done) == 3_000
    state = await site.state()
    assert sorted(decoded(payload)["jid"] for payload in state["queue:q"]) == [f"{at:05}" for at in range(3_000)]
    assert "dead" not in state


async def test_jobs_taken_while_a_queue_is_deleted_are_not_deleted_too(site: Site) -> None:
    await site.put(queue_q=[job(f"{at:05}") for at in range(3_000)])
    taken: list[bytes] = []

    async def take() -> None:
        taken.extend(await site.redis.rpop(site.key("queue:q"), 10) or [])

    done = await acted(site.api.jobs("q").delete_all(Filter(worker="Worker")), take)
    assert done.done + len(taken) == 3_000
    assert await site.state() == {}
