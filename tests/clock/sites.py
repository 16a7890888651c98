"""Nodes on a world in memory, and other nodes that do only what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
import trio

from exq_anyio.client import Client
from exq_anyio.config import Config
from exq_anyio.exchange import Beat, Claim
from exq_anyio.middleware import Middleware
from exq_anyio.node.node import Node
from exq_anyio.node.surroundings import Surroundings
from exq_anyio.testing.limits import MemoryLimits
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World
from exq_anyio.worker import Registry

EPOCH = 1_790_000_000.0
"""Unix seconds at which every test begins."""

CHANCE = 0.5
"""What chance always says: the scheduler's interval is then just its setting, and the first backoff 20 seconds."""


@attrs.define
class Site:
    """A node at work, its store, and a client."""

    node: Node
    store: MemoryStore
    q: Client

    def failing(self) -> dict[bytes, float]:
        """The retries, each with the second of the test at which it is due."""
        return {member: score - EPOCH for member, score in self.store.world.sorted_sets["retry"].items()}


@asynccontextmanager
async def working(
    world: World, *workers: object, middleware: tuple[Middleware, ...] = (), **settings: Any
) -> AsyncIterator[Site]:
    """A node called host#1 that takes from the queue ``q``, unless *settings* say else."""
    config = Config(**{"queues": ["q"], "node_identifier": "host", **settings})
    store = MemoryStore(world, config.dead_max_jobs, config.dead_timeout_in_seconds)
    around = Surroundings(
        store=store,
        open_store=None,
        clock=world.clock,
        chance=lambda: CHANCE,
        limits=MemoryLimits(world),
    )
    registry = Registry.build(workers)
    async with anyio.create_task_group() as tasks:
        node = Node(config, registry, middleware, around)
        await tasks.start(node.run)
        try:
            yield Site(node, store, Client(config, registry, store, world.clock))
        finally:
            node.stop()


@attrs.define
class Stranger:
    """Another node, which does only what the test says."""

    store: MemoryStore
    claim: Claim

    async def beat(self) -> None:
        await self.store.beat(self.claim, Beat({}, []))

    async def beat_every(self, seconds: float) -> None:
        while True:
            await self.beat()
            await trio.sleep(seconds)


async def stranger(world: World, node_id: str = "elsewhere#1", limit: float = 30.0) -> Stranger:
    """A node of another host that has beaten once."""
    other = Stranger(MemoryStore(world), Claim(node_id, f"token of {node_id}"))
    assert await other.store.claim(other.claim, {"boot": "of another machine", "pid": "1", "limit": repr(limit)})
    await other.beat()
    return other


async def elixir(world: World) -> None:
    """A node of Exq, which has no lease and names no limit, beats now."""
    world.sorted_sets["heartbeats"][b"elixir"] = world.clock()
    world.notify()


def at() -> float:
    """Seconds since the test began, as far as anybody can tell."""
    return round(trio.current_time(), 6)


def queue_and_backup(world: World, queue: str = "q", node_id: str = "host#1") -> tuple[list[bytes], list[bytes]]:
    """What waits in the queue and what the node has taken, each from its head."""
    return list(world.lists[f"queue:{queue}"]), list(world.lists[f"queue:backup::{node_id}::{queue}"])


def counted(world: World) -> tuple[int, int]:
    """Processed and failed in total."""
    return int(world.strings.get("stat:processed", 0)), int(world.strings.get("stat:failed", 0))


def lines(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    """The log lines that begin so."""
    return [message for message in caplog.messages if message.startswith(start)]
