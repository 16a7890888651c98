"""A queue is paused and resumed by the second: nodes obey when the signal comes, and not when they next ask."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import exq_anyio as exq
from exq_anyio.exchange import Claim, Fetched
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import Site, at, queue_and_backup, working


def pause(world: World, *, paused: bool = True) -> None:
    """What the API does in one step."""
    queues = world.sets["paused"]
    (queues.add if paused else queues.discard)("q")
    world.lists["host#1-signals"].appendleft(b"PAUSE q" if paused else b"RESUME q")
    world.notify()


def noting(began: list[float]) -> Any:
    async def note() -> None:
        began.append(at())

    return exq.worker(name="note")(note)


async def enqueue(site: Site) -> None:
    await site.q.enqueue("q", "note")


async def test_a_wait_is_ended_by_a_pause_and_the_queue_asked_at_once_when_it_is_resumed(world: World) -> None:
    began: list[float] = []
    async with working(world, noting(began), poll_timeout=1000) as site:
        await trio.sleep(3)
        pause(world)
        await trio.testing.wait_all_tasks_blocked()
        await enqueue(site)
        await trio.sleep(4.25)
        assert (began, len(queue_and_backup(world)[0])) == ([], 1)
        pause(world, paused=False)
        await trio.sleep(0.1)
        assert began == [7.25]
        await trio.sleep(1)
        await enqueue(site)
        await trio.sleep(0.1)
        assert began == [7.25, 8.35]


async def test_a_pause_that_comes_while_the_queue_is_asked_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    async with working(world, noting(began), poll_timeout=1000) as site:
        ask = MemoryStore.fetch

        async def asked(store: MemoryStore, claim: Claim, queue: str, limit: int) -> Fetched:
            fetched = await ask(store, claim, queue, limit)
            if not fetched.paused:
                pause(world)
                await trio.testing.wait_all_tasks_blocked()  # the signal is obeyed before the answer is there
            return fetched

        monkeypatch.setattr(MemoryStore, "fetch", asked)
        await trio.sleep(2.5)  # it has asked at least once by now
        await enqueue(site)
        await trio.sleep(5)
        assert (began, len(queue_and_backup(world)[0])) == ([], 1)


async def test_a_paused_queue_is_left_at_once(world: World) -> None:
    async with working(world) as site:
        pause(world)
        await trio.sleep(10.4)
        await site.node.unsubscribe("q")
        assert at() == 10.4


@pytest.mark.parametrize("signal", [b"PAUSE other", b"RESUME", b"PAUSE"])
async def test_a_signal_for_a_queue_that_is_not_ours_changes_nothing(world: World, signal: bytes) -> None:
    began: list[float] = []
    async with working(world, noting(began)) as site:
        world.lists["host#1-signals"].appendleft(signal)
        world.notify()
        await trio.sleep(1)
        await enqueue(site)
        await trio.sleep(0.1)
        assert began == [1.0]
