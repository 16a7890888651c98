"""How a node ends, and how a queue begins and ends while it works: to the second, and with nothing left behind."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import trio

from exq_anyio import worker
from exq_anyio.config import QueueConfig
from exq_anyio.job import Job
from exq_anyio.node import settler
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import at, counted, lines, queue_and_backup, working

TRACES = ("lists", "sorted_sets", "sets", "hashes", "strings")


def everything(world: World) -> dict[str, object]:
    return {key: held for kind in TRACES for key, held in getattr(world, kind).items() if held}


async def test_a_node_that_did_nothing_leaves_nothing(world: World) -> None:
    async with working(world):
        await trio.sleep(12)
        assert {"heartbeats", "leases", "processes", "host#1", "host#1:lease"} <= set(everything(world))
    assert at() == 12
    assert everything(world) == {}


async def test_short_jobs_end_and_long_ones_go_back_when_the_grace_is_over(world: World) -> None:
    ended: list[tuple[float, str]] = []

    @worker
    async def lasts(seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
            ended.append((at(), "done"))
        except trio.Cancelled:
            ended.append((at(), "cancelled"))
            raise

    async with working(world, lasts, shutdown_timeout=5) as site:
        jids = [await site.q.enqueue("q", lasts, [seconds]) for seconds in (3, 100, 4, 100)]
        await trio.sleep(1)
        await site.q.enqueue("q", lasts, [0])
        await trio.sleep(1)
        site.node.stop()
        await trio.sleep(0.5)
        late = await site.q.enqueue("q", lasts, [0])
    assert at() == 7
    assert ended == [(1, "done"), (3, "done"), (4, "done"), (7, "cancelled"), (7, "cancelled")]
    waiting, taken = queue_and_backup(world)
    assert taken == []
    first, *back = [Job.decode(payload).jid for payload in waiting]
    assert (first, set(back)) == (late, {jids[1], jids[3]})
    # What went back is counted as nothing.
    assert counted(world) == (3, 0)
    assert set(everything(world)) == {
        "queues", "queue:q", "stat:processed", "stat:processed:2026-09-21",
        "stat:processed_rt:2026-09-21 14:13:21Z", "stat:processed_rt:2026-09-21 14:13:23Z",
        "stat:processed_rt:2026-09-21 14:13:24Z", "j|20260921|14:13", "j|260921|14:1", "lasts-21-14:13",
    }  # fmt: skip


async def test_a_stop_ends_as_soon_as_the_last_job_does(world: World) -> None:
    @worker
    async def lasts(seconds: float) -> None:
        await anyio.sleep(seconds)

    async with working(world, lasts, shutdown_timeout=60) as site:
        await site.q.enqueue("q", lasts, [3])
        await trio.sleep(1)
    assert at() == 3
    assert counted(world) == (1, 0)


async def test_a_second_stop_cuts_the_grace_short(world: World) -> None:
    @worker
    async def lasts() -> None:
        await anyio.sleep(100)

    async with working(world, lasts, shutdown_timeout=60) as site:
        await site.q.enqueue("q", lasts)
        await trio.sleep(1)
        site.node.stop()
        await trio.sleep(1)
        site.node.stop(grace=0)
    assert at() == 2
    waiting, taken = queue_and_backup(world)
    assert (len(waiting), taken, counted(world)) == (1, [], (0, 0))


async def test_a_job_that_does_not_end_is_named_and_waited_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @worker
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)

    async with working(world, stubborn, shutdown_timeout=5) as site:
        jid = await site.q.enqueue("q", stubborn)
        await trio.sleep(1)
        site.node.stop()
    assert lines(caplog, "job does not end") == [f"job does not end, it stays for recovery: jid={jid} worker=stubborn"]
    # No task can be left behind, so that its outcome is written after all.
    assert at() == 30
    assert (queue_and_backup(world), counted(world)) == (([], []), (1, 0))


async def test_a_queue_that_is_left_and_taken_again_runs_no_job_twice(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[tuple[float, str]] = []

    @worker
    async def ten_seconds(name: str) -> None:
        begun.append((at(), name))
        await anyio.sleep(10)

    async with working(world, ten_seconds, queues={"q": 2}, shutdown_timeout=60) as site:
        for name in ("1", "2", "3"):
            await site.q.enqueue("q", ten_seconds, [name])
        await trio.sleep(1)
        await site.node.unsubscribe("q")
        assert site.node.subscriptions() == {}
        await site.node.subscribe(QueueConfig("q", 2))
        assert site.node.subscriptions() == {"q": 2}
        await trio.sleep(30)
    # The new limit knows nothing of the jobs that ran before it; they are not taken for stranded.
    assert begun == [(0, "1"), (0, "2"), (1, "3")]
    assert counted(world) == (3, 0)
    assert lines(caplog, "jobs held by nobody") == []


async def test_after_unsubscribe_no_job_of_the_queue_begins_and_others_do(world: World) -> None:
    begun: list[str] = []

    @worker
    async def quick(name: str) -> None:
        begun.append(name)

    async with working(world, quick, queues=["q", "other"]) as site:
        await trio.sleep(1)
        await site.node.unsubscribe("q")
        assert at() == 1
        await site.q.enqueue("q", quick, ["left"])
        await site.q.enqueue("other", quick, ["taken"])
        await trio.sleep(60)
        assert begun == ["taken"]
        await site.node.subscribe(QueueConfig("q"))
        await trio.sleep(1)
        assert begun == ["taken", "left"]


async def test_a_quiet_node_takes_nothing_and_goes_on_with_what_it_has(world: World) -> None:
    @worker
    async def ten_seconds() -> None:
        await anyio.sleep(10)

    async with working(world, ten_seconds) as site:
        await site.q.enqueue("q", ten_seconds)
        await trio.sleep(1)
        world.lists["host#1-signals"].appendleft(b"TSTP")
        world.notify()
        await trio.sleep(1)
        await site.q.enqueue("q", ten_seconds)
        await trio.sleep(60)
        assert (len(queue_and_backup(world)[0]), counted(world)) == (1, (1, 0))
        assert world.hashes["host#1"]["quiet"] == "true"


async def test_a_queue_that_is_subscribed_during_the_stop_is_not_begun(world: World) -> None:
    @worker
    async def lasts() -> None:
        await anyio.sleep(3)

    async with working(world, lasts) as site:
        await site.q.enqueue("q", lasts)
        await trio.sleep(1)
        site.node.stop()
        await trio.sleep(1)
        await site.node.subscribe(QueueConfig("new"))
        await site.q.enqueue("new", lasts)
    assert at() == 3
    waiting, taken = queue_and_backup(world, "new")
    assert (len(waiting), taken) == (1, [])


async def test_a_wait_that_was_cut_short_leaves_the_traces_by_which_its_job_is_found(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(MemoryStore, "wait", hangs)  # the server, or the way to it
    async with working(world, queues=["q", "other"], shutdown_timeout=3):
        await trio.sleep(1)
    # It took the grace, and the second after it.
    assert at() == 1 + 3 + 1
    assert lines(caplog, "a wait was cut short") == ["a wait was cut short, traces of the node stay: node=host#1"]
    assert {"leases", "host#1:lease", "host#1:taken"} <= set(everything(world))


async def test_while_the_store_is_away_a_stop_takes_little_more_than_its_grace(world: World) -> None:
    @worker
    async def lasts() -> None:
        await anyio.sleep(100)

    async with working(world, lasts, shutdown_timeout=3) as site:
        await site.q.enqueue("q", lasts)
        await trio.sleep(1)
        site.store.away()
    assert 4 <= at() < 4 + 2


async def test_many_jobs_all_go_back_however_long_it_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    @worker
    async def lasts() -> None:
        await anyio.sleep(100)

    settle = MemoryStore.settle

    async def slowly(self: MemoryStore, *args: Any) -> list[bool]:
        await anyio.sleep(0.9)
        return await settle(self, *args)

    monkeypatch.setattr(MemoryStore, "settle", slowly)
    monkeypatch.setattr(settler, "GROUP_LIMIT", 1)  # ten jobs wait for each other as ten thousand do
    async with working(world, lasts, shutdown_timeout=0) as site:
        await site.q.enqueue_all(lasts.job().on(queue="q") for _ in range(10))
        await trio.sleep(1)
    assert at() == 1 + 10 * 0.9
    waiting, taken = queue_and_backup(world)
    assert (len(waiting), taken, counted(world)) == (10, [], (0, 0))
