"""An instance that is closed as soon as it is open: nothing has begun yet, and all has to end."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.cli.options import Backend
from exq_anyio.cli.work import serve
from exq_anyio.redis.embedded import EmbeddedServer

TIMES = 25


@exq.worker
async def idle() -> None: ...


async def test_it_ends_whatever_has_not_begun_yet(valkey: EmbeddedServer, namespace: str) -> None:
    # The heartbeat's thread may be told to stop before it has a loop that could be told anything.
    for _ in range(TIMES):
        with anyio.fail_after(10):
            async with exq.open(url=valkey.url, namespace=namespace):
                pass


async def test_asyncio_has_nothing_to_complain_of(
    valkey: EmbeddedServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A read on a Unix socket may be cancelled just as its data comes.
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(TIMES):
            async with exq.open(url=valkey.url, namespace=namespace):
                pass
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_serve_that_cannot_start_raises_why_and_not_a_group() -> None:
    with pytest.raises(exq.RedisUnavailable):
        await exq.serve(url="unix:///no/such.sock")


@pytest.fixture
def thawed() -> Iterator[None]:
    """What a worker process freezes for its own good must not stay so in this one."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_process_that_cannot_start_raises_why_and_not_a_group(backend: Backend) -> None:
    config = exq.Config(url="redis://127.0.0.1:1", workers=[idle])
    with pytest.raises(exq.RedisUnavailable, match="Connection refused"):
        serve(config, backend)
