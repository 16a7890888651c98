"""A rate and a limit of the fleet, to the second: jobs begin when they may, and nobody asks in vain."""

from __future__ import annotations

import anyio
import pytest
import trio.testing

import exq_anyio as exq
from exq_anyio.config import QueueConfig
from exq_anyio.limits import Rate, Taken
from exq_anyio.testing.limits import MemoryLimits
from exq_anyio.testing.world import World

from .sites import EPOCH, at, stranger, working

begun: list[float] = []


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


@exq.worker(queue="q")
async def work(seconds: float = 0) -> None:
    begun.append(at())
    await anyio.sleep(seconds)


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (Rate(2, 10), [0, 0, 10, 10, 20, 20]),
        (Rate(2, 10, kind="fixed"), [0, 0, 10, 10, 20, 20]),
        (Rate(2, 10, kind="bucket"), [0, 5, 10, 15, 20, 25]),
        (Rate(2, 10, kind="bucket", burst=3), [0, 0, 0, 5, 10, 15]),
    ],
)
async def test_jobs_begin_as_soon_as_the_rate_allows(
    rate: Rate, seconds: list[float], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    take = MemoryLimits.take

    async def counted(self: MemoryLimits, name: str, rate: Rate, holder: str, first: int, wanted: int) -> Taken:
        asked.append(at())
        return await take(self, name, rate, holder, first, wanted)

    monkeypatch.setattr(MemoryLimits, "take", counted)
    assert EPOCH % 10 == 0
    async with working(world, work, queues=[QueueConfig("q", dequeuer=exq.Limit(rates=rate))]) as site:
        await site.q.enqueue_all(work.job() for _ in range(6))
        await anyio.sleep(26)

    assert begun == pytest.approx(seconds, abs=0.05)
    assert len(asked) < 45  # about once a second


async def test_a_place_that_gets_free_is_used_at_once(world: World) -> None:
    limited = [QueueConfig("q", dequeuer=exq.Limit(fleet=2))]
    async with working(world, work, queues=limited) as site:
        await site.q.enqueue_all(work.job(7.3) for _ in range(6))
        await anyio.sleep(30)

    assert begun == pytest.approx([0, 0, 7.3, 7.3, 14.6, 14.6], abs=0.05)


async def test_a_node_that_waits_for_a_place_gets_it_within_a_second(world: World) -> None:
    limited = [QueueConfig("q", dequeuer=exq.Limit(fleet=1))]
    async with working(world, work, queues=limited) as site:
        await site.q.push(work.job(4.5))
        await trio.testing.wait_all_tasks_blocked()
        async with working(world, work, queues=limited, node_identifier="other") as other:
            await other.q.push(work.job())
            await anyio.sleep(4.4)
            assert begun == [0]
            await anyio.sleep(1.2)
            assert len(begun) == 2


async def test_places_of_a_node_that_dies_are_free_when_its_jobs_are(world: World) -> None:
    limit = exq.Limit(fleet=1)
    other = MemoryLimits(world)
    dead = await stranger(world, limit=20)
    assert await other.hold("q", 1, dead.claim, "1", 1, 0) == 1
    async with working(world, work, queues=[QueueConfig("q", dequeuer=limit)]) as site:
        await site.q.push(work.job())
        await anyio.sleep(19)
        assert begun == []
        await anyio.sleep(13)

    assert len(begun) == 1
    assert 30 <= begun[0] < 31.1  # it was seen to be silent from the first look on, at 5, for more than 20
