from __future__ import annotations

from collections.abc import AsyncIterator

import coredis
import pytest

from exq_anyio.errors import WrongType
from exq_anyio.redis.connect import Connections, open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.inspect import Counts, read_counts
from exq_anyio.redis.keys import Keys

from ..contract.places import address_of

NOTHING = Counts(queues={}, backups={}, schedule=0, retry=0, dead=0, processed=0, failed=0)


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)


@pytest.fixture
async def connections(valkey: EmbeddedServer, namespace: str) -> AsyncIterator[Connections]:
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        yield connections


async def test_where_nothing_is_there_is_nothing(connections: Connections, keys: Keys) -> None:
    assert await read_counts(connections, keys) == NOTHING


async def test_every_place_is_counted(redis: coredis.Redis[bytes], connections: Connections, keys: Keys) -> None:
    await redis.sadd(keys.queues, ["mail", "empty"])
    await redis.lpush(keys.queue("mail"), ["1", "2", "3"])
    await redis.lpush(keys.queue("forgotten"), ["in no set of names, and so nobody's"])
    for at, key in enumerate((keys.schedule, keys.retry, keys.dead), 4):
        await redis.zadd(key, {str(member): 1.0 for member in range(at)})
    processed, _, _, failed, _, _ = keys.stats(0)
    await redis.set(processed, "123456789012345")
    await redis.set(failed, "7")
    counts = await read_counts(connections, keys)
    assert counts == Counts(
        queues={"empty": 0, "mail": 3}, backups={}, schedule=4, retry=5, dead=6, processed=123456789012345, failed=7
    )
    assert (counts.waiting, counts.taken, counts.pending) == (3, 0, 12)


async def test_the_backup_queues_of_every_node_are_counted(
    redis: coredis.Redis[bytes], connections: Connections, keys: Keys
) -> None:
    """A node is known by its lease, its process entry, its heartbeat, or because the caller names it."""
    await redis.sadd(keys.queues, ["mail"])
    await redis.sadd(keys.leases, ["host#1"])
    await redis.sadd(keys.processes, ["exq"])
    await redis.zadd(keys.heartbeats, {"host#2": 1.0})
    await redis.sadd(keys.taken("host#1"), ["low"])
    await redis.lpush(keys.backup("host#1", "low"), ["1", "2"])
    for node in ("host#1", "exq", "host#2", "gone#1"):
        await redis.lpush(keys.backup(node, "mail"), ["1"])
    counts = await read_counts(connections, keys, ["gone#1"])
    assert counts.backups == {
        ("exq", "mail"): 1, ("gone#1", "mail"): 1, ("host#1", "low"): 2, ("host#1", "mail"): 1, ("host#2", "mail"): 1,
    }  # fmt: skip
    assert (counts.waiting, counts.taken, counts.pending) == (0, 6, 6)


async def test_a_broken_counter_counts_nothing(
    redis: coredis.Redis[bytes], connections: Connections, keys: Keys
) -> None:
    processed, *_ = keys.stats(0)
    await redis.set(processed, "many")
    assert await read_counts(connections, keys) == NOTHING


@pytest.mark.parametrize("name", ["schedule", "retry", "dead", "queue:mail"])
async def test_a_key_of_another_type_is_named(
    redis: coredis.Redis[bytes], connections: Connections, keys: Keys, name: str
) -> None:
    await redis.sadd(keys.queues, ["mail"])
    await redis.set(keys.prefix + name, "somebody else's")
    with pytest.raises(WrongType) as caught:
        await read_counts(connections, keys)
    assert (caught.value.key, caught.value.found) == (keys.prefix + name, "string")
