"""An empty queue is waited for, and seldom looked at."""

from __future__ import annotations

import pytest
import trio

from exq_anyio import worker
from exq_anyio.exchange import Claim, Fetched
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import at, working


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds at which the queue was asked."""
    asked: list[float] = []
    fetch = MemoryStore.fetch

    async def noted(self: MemoryStore, claim: Claim, queue: str, limit: int) -> Fetched:
        asked.append(at())
        return await fetch(self, claim, queue, limit)

    monkeypatch.setattr(MemoryStore, "fetch", noted)
    return asked


async def test_an_empty_queue_is_looked_at_once_a_minute(world: World, looks: list[float]) -> None:
    async with working(world):
        await trio.sleep(150)
    assert looks == [0, 65, 130]


async def test_a_queue_is_looked_at_again_once_a_job_has_come(world: World, looks: list[float]) -> None:
    @worker
    async def quick() -> None: ...

    async with working(world, quick) as site:
        await trio.sleep(7)
        await site.q.enqueue("q", quick)
        await trio.sleep(50)
    assert looks == [0, 7]


async def test_for_a_minute_after_trouble_it_is_looked_at_before_every_wait(world: World, looks: list[float]) -> None:
    async with working(world) as site:
        await trio.sleep(8)
        site.store.away()
        await trio.sleep(1)
        site.store.back()
        await trio.sleep(75)
    assert looks == [0, *range(9, 68, 5)]


async def test_a_wait_that_took_too_long_is_followed_by_a_look_for_we_were_frozen(
    world: World, looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frozen(self: MemoryStore, claim: Claim, queue: str, seconds: float) -> bytes | None:
        await trio.sleep(30 if at() == 10 else seconds)
        return None

    monkeypatch.setattr(MemoryStore, "wait", frozen)
    async with working(world):
        await trio.sleep(50)
    assert looks == [0, 40]
