"""The places where jobs live: a world in memory and a real Valkey, each with a view of everything that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias, cast

import attrs
import coredis

from exq_anyio.address import Address, Unix
from exq_anyio.node.store import Store
from exq_anyio.outbox import Outbox
from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.keys import Keys
from exq_anyio.redis.outbox import RedisOutbox
from exq_anyio.redis.store import RedisStore
from exq_anyio.testing.memory import MemoryStore

Held: TypeAlias = "list[bytes] | set[bytes] | dict[bytes, float] | dict[bytes, bytes] | bytes"
"""What a key holds: a list from its head, a set, a sorted set with its scores, a hash, a string."""

State: TypeAlias = dict[str, Any]
"""Everything that is there, by key, without the namespace."""

DEAD_MAX, DEAD_TIMEOUT = 5, 3600.0


class Place(Protocol):
    """Where jobs live in these tests."""

    @property
    def store(self) -> Store: ...

    @property
    def outbox(self) -> Outbox: ...

    async def state(self) -> State: ...

    async def seconds_left(self, key: str) -> float | None:
        """How long the key still lives; None: for ever."""

    async def put(self, key: str, held: Held) -> None:
        """Write a key as another program would."""


@attrs.define
class InMemory:
    store: MemoryStore

    @property
    def outbox(self) -> Outbox:
        return self.store

    async def state(self) -> State:
        world = self.store.world
        world.tick()
        state: State = {}
        state |= {key: list(held) for key, held in world.lists.items() if held}
        state |= {key: {member.encode() for member in held} for key, held in world.sets.items() if held}
        state |= {key: dict(held) for key, held in world.sorted_sets.items() if held}
        state |= {key: {k.encode(): v.encode() for k, v in held.items()} for key, held in world.hashes.items() if held}
        state |= {key: held.encode() for key, held in world.strings.items()}
        return state

    async def seconds_left(self, key: str) -> float | None:
        at = self.store.world.expires.get(key)
        return None if at is None else at - self.store.world.clock()

    async def put(self, key: str, held: Held) -> None:
        world = self.store.world
        match held:
            case list():
                world.lists[key].extend(held)
            case set():
                world.sets[key] |= {member.decode() for member in held}
            case bytes():
                world.strings[key] = held.decode()
            case dict() if is_sorted(held):
                world.sorted_sets[key] |= cast("dict[bytes, float]", held)
            case dict():
                world.hashes[key] |= {k.decode(): cast("bytes", v).decode() for k, v in held.items()}


@attrs.define
class InRedis:
    store: RedisStore
    outbox: Outbox
    redis: coredis.Redis[bytes]
    namespace: str

    async def state(self) -> State:
        state: State = {}
        async for name in self.redis.scan_iter(f"{self.namespace}:*"):
            key = name.decode().removeprefix(f"{self.namespace}:")
            held = await self._held(name)
            if held is not None:  # it may have expired since
                state[key] = held
        return state

    async def _held(self, name: bytes) -> Any:
        kind = await self.redis.type(name)
        match kind:
            case b"list":
                return await self.redis.lrange(name, 0, -1)
            case b"set":
                return set(await self.redis.smembers(name))
            case b"zset":
                return {one.member: one.score for one in await self.redis.zrange(name, 0, -1, withscores=True)}
            case b"hash":
                return await self.redis.hgetall(name)
            case _:
                return await self.redis.get(name)

    async def seconds_left(self, key: str) -> float | None:
        left = await self.redis.pttl(f"{self.namespace}:{key}")
        return None if left < 0 else left / 1000

    async def put(self, key: str, held: Held) -> None:
        name = f"{self.namespace}:{key}"
        match held:
            case list():
                if held:
                    await self.redis.rpush(name, held)
            case set():
                await self.redis.sadd(name, held)
            case bytes():
                await self.redis.set(name, held)
            case dict() if is_sorted(held):
                # As text: the client would round to 15 digits.
                scores = {member: repr(score) for member, score in held.items()}
                await self.redis.zadd(name, cast("dict[bytes | str, float]", scores))
            case dict():
                await self.redis.hset(name, cast("dict[bytes | str, bytes | str | int | float]", held))


def is_sorted(held: Mapping[bytes, object]) -> bool:
    return all(isinstance(value, float) for value in held.values())


def address_of(socket: str) -> Address:
    """That of a server of these tests, which a busy machine may hold up for a while."""
    return Address(place=Unix(socket), connect_timeout=10)


@asynccontextmanager
async def redis_place(socket: str, redis: coredis.Redis[bytes], namespace: str) -> AsyncIterator[InRedis]:
    address = address_of(socket)
    keys = Keys(namespace)
    async with open_connections(address, dialer(address, namespace)) as connections:
        store = RedisStore(connections, keys, dead_max_jobs=DEAD_MAX, dead_timeout=DEAD_TIMEOUT, max_waits=2)
        yield InRedis(store, RedisOutbox(connections, keys), redis, namespace)
