"""Thousands of names of queues, read when they change: what other programs may have written among them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import coredis
import pytest

from exq_anyio.errors import RedisError
from exq_anyio.redis import scripts, search
from exq_anyio.redis.embedded import EmbeddedServer

from ..contract.places import InRedis, redis_place
from ..contract.test_filled import put


@pytest.fixture
async def place(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> AsyncIterator[InRedis]:
    async with redis_place(valkey.socket, redis, namespace) as place:
        yield place


async def test_one_that_came_as_another_went_is_seen_after_some_looks(place: InRedis) -> None:
    await put(place, "a:1", "b:1")
    assert await place.store.filled(["a:"]) == ["a:1"]
    await place.redis.srem(f"{place.namespace}:queues", ["b:1"])
    await put(place, "a:2")
    seen = [await place.store.filled(["a:"]) for _ in range(search.REFRESH)]
    assert sorted(seen[-1]) == ["a:1", "a:2"]


async def test_one_that_comes_in_the_middle_of_a_look_is_seen_by_the_next(
    place: InRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, later = scripts.run, ["a:2"]

    async def then_another_comes(*args: Any) -> Any:
        reply = await run(*args)
        if later:
            await put(place, later.pop())
        return reply

    monkeypatch.setattr(scripts, "run", then_another_comes)
    await put(place, "a:1")
    assert await place.store.filled(["a:"]) == ["a:1"]
    assert sorted(await place.store.filled(["a:"])) == ["a:1", "a:2"]


async def test_names_that_no_queue_can_have_are_left_out_and_what_is_no_list_holds_no_jobs(place: InRedis) -> None:
    await put(place, "a:1")
    await place.put("queues", {b"a:\xff", b"a:\n", b"a:hash", b"backup::a", b"a:" + b"x" * 255})
    await place.put("queue:a:hash", {b"field": b"value"})
    await place.put("queue:a:\n", [b"{}"])
    assert await place.store.filled([""]) == ["a:1"]


async def test_names_that_are_no_set_are_refused(place: InRedis) -> None:
    await place.put("queues", [b"no set"])
    for _ in range(2):
        with pytest.raises(RedisError, match="queues"):
            await place.store.filled(["a:"])
