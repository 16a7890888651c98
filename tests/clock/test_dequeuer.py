"""The user's own dequeuer is asked and told, and obeyed."""

from __future__ import annotations

import anyio
import attrs
import trio

from exq_anyio import Discard, Snooze, worker
from exq_anyio.config import QueueConfig
from exq_anyio.job import Job
from exq_anyio.testing.world import World

from .sites import at, queue_and_backup, working


@attrs.define(eq=False)
class Told:
    """Allows what it is told to, and notes what it is told."""

    allowed: int = 0
    calls: list[tuple[float, str]] = attrs.field(factory=list)
    asked: list[float] = attrs.field(factory=list)

    async def available(self) -> int:
        self.asked.append(at())
        return self.allowed

    def dispatched(self, job: Job) -> None:
        self.allowed -= 1
        self.calls.append((at(), f"dispatched {job.args[0]}"))

    def processed(self, job: Job) -> None:
        self.calls.append((at(), f"processed {job.args[0]}"))

    def failed(self, job: Job) -> None:
        self.calls.append((at(), f"failed {job.args[0]}"))

    async def stop(self) -> None:
        self.calls.append((at(), "stop"))


@worker
async def quick(name: str) -> object:
    match name:
        case "fails":
            raise ValueError
        case "snoozes":
            return Snooze(1000)
        case "discards":
            return Discard()
        case _:
            return None


@worker
async def lasts(seconds: float) -> None:
    await anyio.sleep(seconds)


async def test_no_more_jobs_begin_than_it_allows_and_it_is_asked_every_second(world: World) -> None:
    told = Told()
    async with working(world, quick, queues={"q": told}) as site:
        for name in ("1", "2", "3"):
            await site.q.enqueue("q", quick, [name])
        await trio.sleep(3.5)
        assert (told.calls, told.asked) == ([], [0, 1, 2, 3])
        told.allowed = 2
        await trio.sleep(1)
        assert told.calls == [
            (4, "dispatched 1"), (4, "dispatched 2"), (4, "processed 1"), (4, "processed 2"),
        ]  # fmt: skip
        assert len(queue_and_backup(world)[0]) == 1
    assert told.calls[4:] == [(4.5, "stop")]


async def test_it_is_asked_again_as_soon_as_a_job_ends(world: World) -> None:
    told = Told(allowed=1)
    async with working(world, lasts, queues={"q": told}, shutdown_timeout=60) as site:
        await site.q.enqueue("q", lasts, [2.25])
        await trio.sleep(5)
    assert told.asked[:5] == [0, 0, 1, 2, 2.25]


async def test_it_is_told_how_each_job_ended(world: World) -> None:
    told = Told(allowed=100)
    async with working(world, quick, queues={"q": told}) as site:
        for name in ("succeeds", "fails", "snoozes", "discards"):
            await site.q.enqueue("q", quick, [name])
            await trio.sleep(1)
    assert [call for _, call in told.calls] == [
        "dispatched succeeds", "processed succeeds", "dispatched fails", "failed fails",
        "dispatched snoozes", "processed snoozes", "dispatched discards", "processed discards", "stop",
    ]  # fmt: skip


async def test_a_job_that_goes_back_at_the_stop_is_processed_for_it(world: World) -> None:
    told = Told(allowed=100)
    async with working(world, lasts, queues={"q": told}, shutdown_timeout=2) as site:
        await site.q.enqueue("q", lasts, [100])
        await trio.sleep(1)
    assert told.calls == [(0, "dispatched 100"), (1, "stop"), (3, "processed 100")]


async def test_a_job_frees_the_slot_of_the_dequeuer_that_it_was_taken_under(world: World) -> None:
    first, second = Told(allowed=100), Told(allowed=100)
    async with working(world, lasts, queues={"q": first}, shutdown_timeout=60) as site:
        await site.q.enqueue("q", lasts, [10])
        await trio.sleep(1)
        await site.node.subscribe(QueueConfig("q", dequeuer=second))
        await site.q.enqueue("q", lasts, [1])
        await trio.sleep(15)
    assert first.calls == [(0, "dispatched 10"), (1, "stop"), (10, "processed 10")]
    assert [call for _, call in second.calls] == ["dispatched 1", "processed 1", "stop"]


@attrs.define(eq=False)
class Slow(Told):
    """Takes five seconds to answer."""

    async def available(self) -> int:
        await anyio.sleep(5)
        return 100


async def test_a_subscription_during_an_unsubscription_stops_the_old_dequeuer_and_not_the_new(world: World) -> None:
    # Both wait for the poller to end, and are woken in any order: six times, so that each order comes up.
    queues = [f"q{number}" for number in range(6)]
    old, new = {queue: Slow() for queue in queues}, {queue: Told(allowed=100) for queue in queues}
    async with working(world, quick, queues=old) as site:
        await trio.sleep(1)
        async with anyio.create_task_group() as tasks:
            for queue in queues:
                tasks.start_soon(site.node.unsubscribe, queue)
            await trio.sleep(1)
            for queue in queues:
                tasks.start_soon(site.node.subscribe, QueueConfig(queue, dequeuer=new[queue]))
        assert {queue: told.calls for queue, told in old.items()} == {queue: [(5, "stop")] for queue in queues}
        for queue in queues:
            await site.q.enqueue(queue, quick, ["1"])
        await trio.sleep(1)
        for told in new.values():
            assert told.calls == [(5, "dispatched 1"), (5, "processed 1")]


class Broken:
    """Has a bug in everything that it is asked or told, but for the first question."""

    def __init__(self) -> None:
        self.asked = 0

    async def available(self) -> int:
        self.asked += 1
        if self.asked != 2:
            raise RuntimeError("available")
        return 2

    def dispatched(self, job: Job) -> None:
        raise RuntimeError("dispatched")

    processed = failed = dispatched

    async def stop(self) -> None:
        pass


async def test_a_dequeuer_with_a_bug_is_asked_again_and_costs_no_job(world: World) -> None:
    broken = Broken()
    async with working(world, quick, queues={"q": broken}) as site:
        await site.q.enqueue("q", quick, ["fails"])
        await site.q.enqueue("q", quick, ["well"])
        await trio.sleep(5)
        assert world.strings["stat:processed"] == "2"
        assert queue_and_backup(world) == ([], [])
    assert broken.asked >= 4
