from __future__ import annotations

import coredis
import pytest

from exq_anyio.node import node
from exq_anyio.redis.embedded import EmbeddedServer

from .scene import Scene


@pytest.fixture(autouse=True)
def unhurried_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node has the time to leave, however busy the machine; a test of what it does else sets its own."""
    monkeypatch.setattr(node, "CLEANUP", 10.0)  # less than a wait lasts that nobody ends


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)
