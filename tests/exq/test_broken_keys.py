"""A key of ours that holds another type: its name is in the log, no job is lost, and once it is mended all goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import exq_anyio as exq
from exq_anyio.node import dequeuer

from .scene import Scene, but_counters, payload, until

NODE = "box#1"


class Work:
    """Workers that note what they do."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @exq.worker(name="Job")
        async def job(how: str) -> object:
            self.ran.append(how)
            if how in ("fail", "die"):
                raise ValueError("boom")
            return exq.Snooze(300) if how == "snooze" else None

        self.worker = job


@asynccontextmanager
async def working(scene: Scene, **settings: object) -> AsyncIterator[tuple[exq.Exq, Work]]:
    """A node that looks at its keys often."""
    work = Work()
    often = {"poll_timeout": 0.05, "heartbeat_interval": 0.05, "node_identifier": "box", "shutdown_timeout": 0.2}
    async with scene.open(work.worker, **{**often, **settings}) as q:
        await until(lambda: scene.hash(NODE))
        yield q, work


@asynccontextmanager
async def broken(scene: Scene, name: str) -> AsyncIterator[None]:
    """*name* holds another type while this block runs, and then again what it held, or what was put aside meanwhile."""
    key, aside = scene.key(name), scene.key("aside")
    was_there = await scene.redis.exists([key])
    async with scene.redis.pipeline(transaction=True) as pipe:  # a node that finds no lease has lost its claim
        if was_there:
            pipe.rename(key, aside)
        if name.startswith(("stat:", "unique:")):
            pipe.hset(key, {"not": "ours"})
        else:
            pipe.set(key, "broken")
    yield
    async with scene.redis.pipeline(transaction=True) as pipe:
        pipe.delete([key])
        if await scene.redis.exists([aside]):
            pipe.rename(aside, key)


def named(caplog: pytest.LogCaptureFixture, key: str) -> list[str]:
    """The lines that name *key*."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname in ("ERROR", "WARNING") and f"{key!r}" in record.getMessage()
    ]


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


@pytest.mark.parametrize("name", ["queue:default", f"queue:backup::{NODE}::default", "paused", f"{NODE}:lease"])
async def test_what_a_fetch_needs_holds_up_its_queue_and_nothing_is_lost(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(dequeuer, "LOOK", 0.0)  # else it is found out at the next job, or within a minute
    async with working(scene) as (_, work):
        async with broken(scene, name):
            await until(lambda: named(caplog, scene.key(name)))
            target = "aside" if name == "queue:default" else "queue:default"
            await scene.redis.lpush(scene.key(target), [payload("Job", "a"), payload("Job", "b")])
        await until(lambda: work.ran == ["a", "b"])
        await until(lambda: counted(scene, 2))
        assert await scene.backup(NODE) == []
    assert await scene.queue() == []


async def test_one_broken_queue_holds_up_no_other(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    async with working(scene, queues=["default", "other"]) as (q, work), broken(scene, "queue:default"):
        await until(lambda: named(caplog, scene.key("queue:default")))
        await q.enqueue("other", work.worker, ["a"])
        await until(lambda: counted(scene, 1))


@pytest.mark.parametrize(
    ("name", "how", "retries"),
    [("retry", "fail", 3), ("dead", "die", 0), ("schedule", "snooze", 3), ("unique:t", "done", 3)],
)
async def test_an_outcome_waits_for_the_key_that_it_needs_and_no_other_outcome_waits_with_it(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str, how: str, retries: int
) -> None:
    async with working(scene) as (q, work):
        lock = {"unique_token": "t", "unique_for": 60} if name == "unique:t" else {}
        await q.unsubscribe("default")
        await q.push(work.worker.job(how).on(max_retries=retries, **lock))  # type: ignore[arg-type]  # options by name
        async with broken(scene, name):
            await q.subscribe("default")
            await until(lambda: [line for line in named(caplog, scene.key(name)) if "outcome refused" in line])
            assert work.ran == [how]
            assert len(await scene.backup(NODE)) == 1
            assert await scene.count("processed") == 0
            await q.enqueue_all([work.worker.job("well") for _ in range(5)])
            await until(lambda: counted(scene, 5))
            assert len(await scene.backup(NODE)) == 1
        await until(lambda: counted(scene, 6))
        assert work.ran == [how, *["well"] * 5]
        ends = {where: len(await scene.scored(where)) for where in ("retry", "dead", "schedule")}
        assert ends == {"retry": how == "fail", "dead": how == "die", "schedule": how == "snooze"}
        assert await scene.backup(NODE) == []
        assert not await scene.redis.exists([scene.key("unique:t")])


@pytest.mark.parametrize("name", ["schedule", "retry", "queues", "queue:late"])
async def test_due_jobs_wait_for_the_key_that_they_need(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async with working(scene, queues=["late", "fine"]) as (_, work):
        async with broken(scene, name):
            target = "aside" if name == "schedule" else "schedule"
            await scene.redis.zadd(scene.key(target), {payload("Job", "a", queue="late"): 1.0})
            target = "aside" if name == "retry" else "retry"
            await scene.redis.zadd(scene.key(target), {payload("Job", "b", queue="late"): 1.0})
            await until(lambda: named(caplog, scene.key(name)))
        await until(lambda: counted(scene, 2))
        assert sorted(work.ran) == ["a", "b"]


async def test_due_jobs_of_other_sets_and_queues_do_not_wait(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    late, fine = payload("Job", "late", queue="late"), payload("Job", "fine", queue="fine")
    async with (
        working(scene, queues=["fine"]) as (_, work),
        broken(scene, "retry"),
        broken_too(scene, "queue:late"),
        broken_too(scene, "dead"),
    ):
        await scene.redis.zadd(scene.key("schedule"), {late: 1.0, fine: 2.0})
        await until(lambda: counted(scene, 1))
        assert work.ran == ["fine"]
        assert [member for member, _ in await scene.scored("schedule")] == [late]
        await until(lambda: named(caplog, scene.key("retry")))


@asynccontextmanager
async def broken_too(scene: Scene, name: str) -> AsyncIterator[None]:
    """A key that is not there yet holds another type."""
    await scene.redis.set(scene.key(name), "broken")
    yield
    await scene.redis.delete([scene.key(name)])


@pytest.mark.parametrize("name", ["processes", "heartbeats", "leases", NODE, f"{NODE}:work", f"{NODE}:workers"])
async def test_a_heartbeat_that_is_refused_names_the_key_and_the_jobs_go_on(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async with working(scene) as (q, work):
        async with broken(scene, name):
            await until(lambda: named(caplog, scene.key(name)))
            await q.enqueue("default", work.worker, ["a"])
            await until(lambda: counted(scene, 1))
            before = await scene.redis.zscore(scene.key("heartbeats"), NODE) if name != "heartbeats" else 0.0
        await until(lambda: beaten(scene, before or 0.0))
        await q.enqueue("default", work.worker, ["b"])
        await until(lambda: work.ran == ["a", "b"])
        assert q.node_id == NODE
    assert but_counters(await scene.keys()) <= {"queues"}


async def beaten(scene: Scene, before: float) -> bool:
    """Whether the node has said since that it lives."""
    now = await scene.redis.zscore(scene.key("heartbeats"), NODE)
    return now is not None and now > before and (await scene.hash(NODE)).get("busy") is not None


async def test_a_node_whose_entry_cannot_be_written_is_not_taken_for_dead(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(scene, missed_heartbeats_allowed=1) as (q, work), broken(scene, "processes"):
        await until(lambda: named(caplog, scene.key("processes")))
        scores = [await scene.redis.zscore(scene.key("heartbeats"), NODE)]
        await until(lambda: moved_on(scene, scores))
        await q.enqueue("default", work.worker, ["a"])
        await until(lambda: counted(scene, 1))


async def moved_on(scene: Scene, scores: list[float | None]) -> bool:
    """Whether the heartbeat has moved five times."""
    score = await scene.redis.zscore(scene.key("heartbeats"), NODE)
    if score != scores[-1]:
        scores.append(score)
    return len(scores) > 5


async def test_the_list_of_queues_taken_from_holds_up_a_new_subscription(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(scene, queues=[]) as (q, work):
        async with broken(scene, f"{NODE}:taken"):
            await q.subscribe("default")
            await q.enqueue("default", work.worker, ["a"])
            await until(lambda: named(caplog, scene.key(f"{NODE}:taken")))
            assert work.ran == []
        await until(lambda: work.ran == ["a"])


async def test_signals_that_cannot_be_read_name_the_key_and_are_obeyed_once_they_can(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{NODE}-signals"
    async with working(scene) as (q, work):
        async with broken(scene, name):
            await until(lambda: named(caplog, scene.key(name)))
            await q.enqueue("default", work.worker, ["a"])
            await until(lambda: work.ran == ["a"])
        await scene.redis.lpush(scene.key(name), ["TSTP"])
        await until(lambda: q.subscriptions() == {})


@pytest.mark.parametrize("name", ["processed", "failed"])
async def test_a_counter_that_cannot_count_costs_no_outcome(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async with working(scene, scheduler_enable=False) as (q, work):
        async with broken(scene, f"stat:{name}"):
            await q.enqueue("default", work.worker, ["fail"])
            await until(lambda: scene.scored("retry"))
            await until(lambda: named(caplog, scene.key(f"stat:{name}")))
        await q.enqueue("default", work.worker, ["fail"])
        await until(lambda: one(scene, name))
    assert len(await scene.scored("retry")) == 2
    assert await scene.backup(NODE) == []


async def one(scene: Scene, name: str) -> bool:
    return await scene.count(name) == 1


@pytest.mark.parametrize("name", ["leases", "heartbeats", f"{NODE}:lease"])
async def test_a_node_that_can_claim_no_identity_does_not_start_and_says_why(scene: Scene, name: str) -> None:
    await scene.redis.set(scene.key(name), "broken")
    with pytest.raises(exq.WrongType) as refused:
        async with working(scene):
            pass
    assert (refused.value.key, refused.value.found) == (scene.key(name), "string")
    assert await scene.keys() == {name}


@pytest.mark.parametrize(
    "name",
    ["queues", "schedule", "retry", "dead", "paused", "processes", NODE, f"{NODE}:work", f"{NODE}-signals",
     "queue:default", f"queue:backup::{NODE}::default", f"{NODE}:taken", "ghost#1:lease", "ghost#1"],
)  # fmt: skip
async def test_whatever_else_is_broken_a_node_starts_works_on_other_queues_and_stops(scene: Scene, name: str) -> None:
    await scene.redis.zadd(scene.key("heartbeats"), {"ghost#1": 1.0})
    await scene.redis.set(scene.key(name), "broken")
    work = Work()
    async with scene.open(work.worker, queues=["default"], node_identifier="box", heartbeat_interval=0.05):
        pass
    await scene.redis.delete([scene.key(name)])
    await scene.push("default", payload("Job", "a"))
    async with scene.open(work.worker, node_identifier="box"):
        await until(lambda: counted(scene, 1))
