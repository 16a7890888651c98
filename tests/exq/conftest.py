from __future__ import annotations

from collections.abc import Iterator

import coredis
import pytest

from exq_anyio.node import node
from exq_anyio.redis.embedded import EmbeddedServer

from .scene import Scene


@pytest.fixture(autouse=True)
def unhurried_end() -> Iterator[None]:
    """A node has all the time it needs to leave, however busy the machine; a test of what it does else sets its own."""
    # A patch of its own, which a test that undoes those of `monkeypatch` keeps.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, "CLEANUP", 30.0)
        yield


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)
