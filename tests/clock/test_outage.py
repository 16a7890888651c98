"""Redis goes away and comes back: jobs go on, outcomes wait, and nothing happens twice."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
import trio

from exq_anyio import worker
from exq_anyio.errors import RedisUnavailable, WrongType
from exq_anyio.testing.world import World

from .sites import at, counted, lines, queue_and_backup, working


async def test_jobs_end_during_an_outage_their_outcomes_wait_and_their_slots_come_back(world: World) -> None:
    begun: list[float] = []

    @worker
    async def three_seconds() -> None:
        begun.append(at())
        await anyio.sleep(3)

    async with working(world, three_seconds, queues={"q": 2}) as site:
        for _ in range(3):
            await site.q.enqueue("q", three_seconds)
        await trio.sleep(1)
        site.store.away()
        await trio.sleep(9)
        # Both have ended at 3 s, and keep their slots: nothing is written.
        assert (begun, len(site.node.performer.running), counted(world)) == ([0, 0], 2, (0, 0))
        site.store.back()
        await trio.sleep(0.5)
        assert (begun, counted(world)) == ([0, 0, 10], (2, 0))
        await trio.sleep(10)
    assert counted(world) == (3, 0)
    assert queue_and_backup(world) == ([], [])


async def test_a_node_that_waits_for_jobs_goes_on_after_an_outage(world: World) -> None:
    begun: list[float] = []

    @worker
    async def quick() -> None:
        begun.append(at())

    async with working(world, quick) as site:
        await trio.sleep(1.5)
        site.store.away()
        with pytest.raises(RedisUnavailable):
            await site.q.enqueue("q", quick)
        await trio.sleep(1)
        site.store.back()
        await site.q.enqueue("q", quick)
        await trio.sleep(1)
    assert begun == [2.5]


@pytest.mark.parametrize("step", ["settle", "fetch", "move", "beat", "promote", "due", "nodes", "signal"])
async def test_a_lost_reply_loses_no_job_and_counts_none_twice(
    world: World, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: Counter[str] = Counter()

    @worker
    async def quick(name: str) -> None:
        ran[name] += 1

    async with working(world, quick, queues={"q": 3}) as site:
        await trio.sleep(1)
        names = [str(number) for number in range(20)]
        site.store.lose_reply(step)
        for name in names[:10]:
            await site.q.enqueue("q", quick, [name])
            await site.q.enqueue_in("q", 2, quick, [str(int(name) + 10)])
        await trio.sleep(30)
        assert site.store.outages() == 1
    assert (ran, counted(world)) == (Counter(names), (20, 0))
    assert (queue_and_backup(world), world.sorted_sets["schedule"]) == (([], []), {})
    assert lines(caplog, "outcome not counted") == []


async def test_an_outcome_whose_reply_was_lost_is_not_written_for_an_equal_job(world: World) -> None:
    begun: list[float] = []

    @worker
    async def the_second_lasts() -> None:
        begun.append(at())
        if len(begun) == 2:
            await anyio.sleep(10)

    async with working(world, the_second_lasts, shutdown_timeout=0) as site:
        await trio.sleep(1)
        payload = b'{"class":"the_second_lasts","args":[],"jid":"equal"}'
        site.store.lose_reply("settle")
        world.lists["queue:q"].extend([payload, payload])
        world.notify()
        await trio.sleep(1)
        assert (begun, counted(world), queue_and_backup(world)) == ([1, 1], (1, 0), ([], [payload]))
    # The one that runs goes back at the stop, which it could not had the repeat removed it.
    assert queue_and_backup(world) == ([payload], [])


async def test_equal_jobs_whose_reply_was_lost_go_back_as_many_as_nobody_holds(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[float] = []

    @worker
    async def ten_seconds() -> None:
        ran.append(at())
        await anyio.sleep(10)

    async with working(world, ten_seconds, queues={"q": 5}) as site:
        await trio.sleep(1)
        payload = b'{"class":"ten_seconds","args":[],"jid":"equal"}'
        world.lists["queue:q"].append(payload)
        world.notify()
        await trio.sleep(1)
        assert ran == [1]
        # The next fetch takes three, and nobody here learns of it; one of them equals the job that runs.
        site.store.lose_reply("fetch")
        world.lists["queue:q"].extend([payload, payload, b'{"class":"ten_seconds","args":[],"jid":"other"}'])
        world.notify()
        await trio.sleep(30)
    assert ran == [1, 2, 2, 2]
    assert counted(world) == (4, 0)
    assert queue_and_backup(world) == ([], [])
    assert len(lines(caplog, "jobs held by nobody go back: queue=q")) == 1


async def test_a_refused_outcome_is_tried_again_and_the_others_do_not_wait_for_it(world: World) -> None:
    @worker
    async def fails() -> None:
        raise ValueError

    @worker
    async def quick() -> None: ...

    broken = WrongType("memory", "retry", "string", "zset")
    async with working(world, fails, quick) as site:
        await trio.sleep(0.5)
        real = world.settle

        def settle(claim: object, number: int, group: list[object], *rest: object) -> list[bool]:
            if at() < 10 and any(getattr(settlement, "kind", "") == "retry" for settlement in group):
                raise broken
            return real(claim, number, group, *rest)  # type: ignore[arg-type]  # passed on as they came

        world.settle = settle  # type: ignore[method-assign, assignment]
        await site.q.enqueue("q", fails)
        for _ in range(5):
            await site.q.enqueue("q", quick)
        await trio.sleep(1)
        await site.q.enqueue("q", quick)
        await trio.sleep(1)
        assert (counted(world), len(queue_and_backup(world)[1])) == ((6, 0), 1)
        await trio.sleep(10)
        assert (counted(world), queue_and_backup(world)) == ((7, 1), ([], []))
