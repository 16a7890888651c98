"""One set of tests for every place where jobs may live: a world in memory and a real Valkey."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import coredis
import pytest

from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .places import DEAD_MAX, DEAD_TIMEOUT, InMemory, Place, redis_place


@pytest.fixture(params=["memory", "redis"])
async def place(
    request: pytest.FixtureRequest, valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> AsyncIterator[Place]:
    if request.param == "memory":
        yield InMemory(MemoryStore(World(time.time), dead_max_jobs=DEAD_MAX, dead_timeout=DEAD_TIMEOUT))
        return
    async with redis_place(valkey.socket, redis, namespace) as place:
        yield place
