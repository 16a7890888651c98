"""One namespace of a real Valkey, what is in it, and the API of an instance that is open on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import coredis
import msgspec
import pytest

from exq_anyio.api import Api
from exq_anyio.redis.embedded import EmbeddedServer

from ..contract.places import Held, InRedis, State, redis_place
from ..exq.scene import Scene

NOW = 1_790_000_000.25


def job(jid: str, worker: str = "Worker", **fields: Any) -> bytes:
    """A job that waits; *fields* change it, None takes one away."""
    record = {"retry": True, "queue": "q", "class": worker, "args": [1], "jid": jid, "created_at": NOW - 9, **fields}
    return msgspec.json.encode({field: value for field, value in record.items() if value is not None})


def failed(jid: str, count: int = 0, **fields: Any) -> bytes:
    """A job that has failed."""
    error = {"error_class": "Oops", "error_message": "oh no", "failed_at": NOW - 5, "retry_count": count}
    return job(jid, **{**error, **fields})


def decoded(payload: bytes) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.json.decode(payload)
    return record


@attrs.frozen
class Site:
    """What a test puts there, acts upon through the API, and then finds there."""

    api: Api
    redis: coredis.Redis[bytes]
    namespace: str
    _place: InRedis

    async def put(self, **keys: Held) -> None:
        """Write keys; ``queue_q`` is ``queue:q``."""
        for key, held in keys.items():
            await self._place.put(key.replace("_", ":", 1) if key.startswith(("queue_", "unique_")) else key, held)

    async def put_at(self, key: str, held: Held) -> None:
        await self._place.put(key, held)

    async def state(self) -> State:
        """Everything that is there."""
        return await self._place.state()

    def key(self, name: str) -> str:
        return f"{self.namespace}:{name}"


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)


@pytest.fixture
async def site(
    scene: Scene, valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> AsyncIterator[Site]:
    async with (
        redis_place(valkey.socket, redis, namespace) as place,
        scene.open(mode="api") as q,
    ):
        yield Site(q.api, redis, namespace, place)
