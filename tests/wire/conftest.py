from __future__ import annotations

import coredis
import pytest

from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)
