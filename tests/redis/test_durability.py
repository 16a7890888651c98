"""A node says at its start, in one line, how its server may lose jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from ..conftest import PrivateValkey


@exq.worker
async def idle() -> None:
    """Is never run."""


async def said_at_start(server: EmbeddedServer | PrivateValkey, caplog: pytest.LogCaptureFixture) -> list[str]:
    async with exq.open(url=server.url, workers=[idle], queues=[]):
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


EVICTS = "maxmemory-policy allkeys-lru evicts queues when memory is full, set noeviction"
FORGETS = "nothing is kept on disk, set appendonly yes"


@pytest.mark.parametrize(
    ("args", "reasons"),
    [
        ((), [FORGETS]),
        (("--maxmemory-policy", "allkeys-lru"), [EVICTS, FORGETS]),
        (("--maxmemory-policy", "allkeys-lru", "--save", "3600", "1"), [EVICTS]),
        (("--maxmemory-policy", "volatile-lru", "--save", "3600", "1"), []),
        (("--appendonly", "yes"), []),
    ],
)
async def test_what_may_lose_jobs_is_said_in_one_line(
    private_valkey: Callable[..., PrivateValkey],
    caplog: pytest.LogCaptureFixture,
    args: tuple[str, ...],
    reasons: list[str],
) -> None:
    server = private_valkey(*args)
    said = [f"Redis may lose jobs: address={server.url}?db=0 reason={'; '.join(reasons)}"] if reasons else []
    assert await said_at_start(server, caplog) == said


async def test_a_server_that_does_not_tell_its_settings_is_not_judged(
    private_valkey: Callable[..., PrivateValkey], caplog: pytest.LogCaptureFixture
) -> None:
    server = private_valkey("--user", *["default", "on", "nopass", "~*", "&*", "+@all", "-config"])
    assert await said_at_start(server, caplog) == []


async def test_an_embedded_server_is_known_to_keep_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with exq.open(url="embedded://", workers=[idle], queues=[]):
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


async def test_an_instance_that_only_enqueues_says_nothing(
    private_valkey: Callable[..., PrivateValkey], caplog: pytest.LogCaptureFixture
) -> None:
    async with exq.open(url=private_valkey().url, mode="enqueuer"):
        assert caplog.records == []
