"""Calls that come while one is under way are sent together, and each is answered for itself."""

from __future__ import annotations

from typing import cast

import anyio
import coredis
import pytest
from coredis.tokens import PureToken

from exq_anyio.errors import WrongType
from exq_anyio.exchange import Outgoing
from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys
from exq_anyio.redis.outbox import RedisOutbox

from ..contract.places import address_of


def job(name: str, queue: str = "q", lock: str | None = None) -> Outgoing:
    return Outgoing(queue, name.encode(), name, None, None if lock is None else (lock, 60.0))


async def scripts_run(redis: coredis.Redis[bytes]) -> int:
    stats = cast("dict[str, dict[str, int]]", await redis.info("commandstats"))
    return sum(int(stats[name]["calls"]) for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)


async def test_fifty_calls_at_once_take_a_few_round_trips_and_keep_their_order(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        outbox = RedisOutbox(connections, Keys(namespace))
        await outbox.push([job("first")])
        before = await scripts_run(redis)
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(outbox.push, [job(f"{number}a"), job(f"{number}b")])
        assert await scripts_run(redis) - before <= 4
    payloads = await redis.lrange(f"{namespace}:queue:q", 0, -1)
    assert len(payloads) == 101
    for number in range(50):
        at = payloads.index(b"%da" % number)
        assert payloads[at - 1] == b"%db" % number


async def test_each_call_gets_its_own_conflicts(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    address = address_of(valkey.socket)
    answers: dict[str, dict[int, str]] = {}
    async with open_connections(address, dialer(address, namespace)) as connections:
        outbox = RedisOutbox(connections, Keys(namespace))

        async def push(name: str, *jobs: Outgoing) -> None:
            answers[name] = await outbox.push(jobs)

        await push("holder", job("holder", lock="t"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(push, "alone", job("1"))
            tasks.start_soon(push, "second", job("2"), job("3", lock="t"))
            tasks.start_soon(push, "first", job("4", lock="t"), job("5", lock="other"))
    assert answers == {"holder": {}, "alone": {}, "second": {1: "holder"}, "first": {0: "holder"}}
    assert sorted(await redis.lrange(f"{namespace}:queue:q", 0, -1)) == [b"1", b"2", b"5", b"holder"]


async def test_what_redis_refuses_one_call_does_not_reach_the_others(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    await redis.set(f"{namespace}:queue:broken", "text")
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        outbox = RedisOutbox(connections, Keys(namespace))

        async def refused(number: int) -> None:
            with pytest.raises(WrongType, match="queue:broken"):
                await outbox.push([job(f"lost{number}"), job(f"no{number}", "broken")])

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(outbox.push, [job(str(number))])
                tasks.start_soon(refused, number)
    assert sorted(await redis.lrange(f"{namespace}:queue:q", 0, -1)) == [b"%d" % number for number in range(10)]


async def test_a_caller_that_gives_up_before_it_is_sent_enqueues_nothing(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        outbox = RedisOutbox(connections, Keys(namespace))
        await outbox.push([job("first")])
        await redis.client_pause(60_000, PureToken.WRITE)  # what is sent from here on is under way for a while
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outbox.push, [job("alone")])
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(outbox.push, [job("shared")])
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.01):
                await outbox.push([job("never")])
            tasks.start_soon(outbox.push, [job("last")])
            await redis.client_unpause()
    assert await redis.lrange(f"{namespace}:queue:q", 0, -1) == [b"last", b"shared", b"alone", b"first"]
