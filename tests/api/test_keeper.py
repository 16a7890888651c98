"""What comes between the look and the step of an action: the step itself sees to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keeper import RedisKeeper
from exq_anyio.redis.keys import Keys
from exq_anyio.upkeep import Look, Place

from ..contract.places import address_of
from .conftest import NOW, Site, job

QUEUE, DEAD = Place("queue", "q"), Place("dead")


@pytest.fixture
async def keeper(valkey: EmbeddedServer, namespace: str) -> AsyncIterator[RedisKeeper]:
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        yield RedisKeeper(connections, Keys(namespace))


@pytest.mark.parametrize("place", [QUEUE, DEAD], ids=str)
async def test_an_entry_with_a_lock_that_nobody_has_named_is_not_deleted(
    site: Site, keeper: RedisKeeper, place: Place
) -> None:
    payloads = [job("first"), job("named", unique_token="a"), job("late", unique_token="b"), job("last")]
    await site.put(unique_a=b"named", unique_b=b"late")
    if place == QUEUE:
        await site.put(queue_q=payloads[::-1])
    else:
        await site.put(dead={payload: NOW + at for at, payload in enumerate(payloads)})
    assert await keeper.drain(place, 10, 1 << 20, {payloads[1]: ("a", "named")}) == (2, 2)
    state = await site.state()
    assert list(state[keeper._key(place).partition(":")[2]])[:: -1 if place == QUEUE else 1] == payloads[2:]
    assert {name for name in state if name.startswith("unique")} == {"unique:b"}
    assert await keeper.drain(place, 10, 1 << 20, {}) == (0, 2)
    assert await keeper.drain(place, 1, 1 << 20, None) == (1, 1)
    assert await keeper.drain(place, 10, 1, {}) == (1, 0)
    assert await keeper.drain(place, 10, 1, {}) == (0, 0)


async def test_a_queue_in_which_jobs_have_come_is_not_forgotten(site: Site, keeper: RedisKeeper) -> None:
    await site.put(queues={b"q"}, queue_q=[job("a")])
    assert await keeper.forget("q") is False
    assert await site.state() == {"queues": {b"q"}, "queue:q": [job("a")]}
    await site.redis.delete([site.key("queue:q")])
    assert [await keeper.forget("q"), await keeper.forget("q")] == [True, False]
    assert await site.state() == {}


@pytest.mark.parametrize("place", [QUEUE, DEAD], ids=str)
async def test_nothing_to_change_changes_nothing(site: Site, keeper: RedisKeeper, place: Place) -> None:
    assert await keeper.change(place, [], thorough=True) == []
    assert (await keeper.look(place, Look(backwards=True, most=5))).looked == 0
    assert await site.state() == {}
