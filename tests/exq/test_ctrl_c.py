"""Ctrl-C while jobs run: it ends the program, whichever job it hits, and they go back."""

from __future__ import annotations

import signal
from typing import Any

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from .scene import PATIENT, Scene


@exq.worker
async def is_hit() -> None:
    # Trio raises KeyboardInterrupt in whatever runs now, asyncio cancels the main task.
    signal.raise_signal(signal.SIGINT)
    await anyio.sleep_forever()


@exq.worker
async def raises_it() -> None:
    raise KeyboardInterrupt


@exq.worker
def raises_it_in_a_thread() -> None:
    raise KeyboardInterrupt


@exq.worker
async def stays() -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "hit", [is_hit, raises_it, raises_it_in_a_thread], ids=["is hit", "raises it", "raises it in a thread"]
)
def test_ctrl_c_that_hits_a_job_ends_the_program_and_no_job_is_lost(
    valkey: EmbeddedServer, namespace: str, backend: str, hit: Any
) -> None:
    settings: dict[str, Any] = {"url": valkey.url, "namespace": namespace, "redis_options": PATIENT}

    async def program() -> None:
        async with exq.open(settings, workers=[hit, stays], shutdown_timeout=0) as q:
            await q.enqueue("default", stays)
            await q.enqueue("default", hit)
            await anyio.sleep_forever()

    async def look() -> list[bytes]:
        async with coredis.Redis(unix_socket_path=valkey.socket, decode_responses=False) as redis:
            found = await Scene(valkey.url, redis, namespace).queue()
            await redis.flushall()
            return found

    with pytest.raises(KeyboardInterrupt):
        anyio.run(program, backend=backend)
    assert len(anyio.run(look)) == 2
