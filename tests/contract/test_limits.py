"""Limits that all nodes share are held alike in memory and in Valkey."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import coredis
import pytest

from exq_anyio.errors import LostClaim
from exq_anyio.exchange import Claim
from exq_anyio.limits import Limits, Rate, RateKind
from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys
from exq_anyio.redis.limits import RedisLimits
from exq_anyio.testing.limits import MemoryLimits

from .places import InMemory, Place, address_of

A, B = Claim("a#1", "aaaa"), Claim("b:x#1", "bbbb")
KINDS: tuple[RateKind, ...] = ("sliding", "fixed", "bucket")


@pytest.fixture
async def limits(
    place: Place, valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> AsyncIterator[Limits]:
    for claim in (A, B):
        assert await place.store.claim(claim, {})
    if isinstance(place, InMemory):
        yield MemoryLimits(place.store.world)
        return
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        yield RedisLimits(connections, Keys(namespace))


async def held(place: Place) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = (await place.state()).get("limit:q", {})
    return found


# Places


async def test_places_are_held_until_there_are_no_more(place: Place, limits: Limits) -> None:
    assert await limits.hold("q", 5, A, "1", 3, 0) == 3
    assert await limits.hold("q", 5, B, "1", 3, 0) == 2
    assert await limits.hold("q", 5, B, "2", 1, 0) == 0
    assert await held(place) == {b"aaaa:1:a#1": b"3", b"bbbb:1:b:x#1": b"2"}


async def test_what_is_held_anew_is_instead_of_what_was(place: Place, limits: Limits) -> None:
    for wanted in (3, 5, 1, 2):
        assert await limits.hold("q", 5, A, "1", wanted, 0) == wanted
    assert await limits.hold("q", 5, A, "1", 0, 0) == 0
    assert await held(place) == {}


async def test_places_that_are_in_use_stay_where_the_limit_was_lowered(limits: Limits) -> None:
    await limits.hold("q", 5, A, "1", 4, 0)
    assert await limits.hold("q", 2, A, "1", 5, 4) == 4
    assert await limits.hold("q", 2, B, "1", 1, 0) == 0


async def test_places_of_a_node_that_is_gone_are_freed(place: Place, limits: Limits) -> None:
    await limits.hold("q", 5, A, "1", 3, 0)
    await limits.hold("q", 5, B, "1", 2, 0)
    await limits.sweep("q")
    assert len(await held(place)) == 2

    assert await place.store.leave(A)
    await limits.sweep("q")
    assert await held(place) == {b"bbbb:1:b:x#1": b"2"}


async def test_places_of_a_node_that_is_condemned_are_freed(place: Place, limits: Limits) -> None:
    await limits.hold("q", 5, A, "1", 3, 0)
    _, nodes = await place.store.nodes()
    assert await place.store.condemn(next(node for node in nodes if node.node_id == "a#1"), by_process=True)

    await limits.sweep("q")
    assert await held(place) == {}
    with pytest.raises(LostClaim):
        await limits.hold("q", 5, A, "1", 1, 0)
    assert await held(place) == {}


async def test_there_may_be_nothing_to_sweep(limits: Limits) -> None:
    await limits.sweep("q")


# Rates


@pytest.mark.parametrize("kind", KINDS)
async def test_no_more_begin_than_the_rate_says(kind: RateKind, place: Place, limits: Limits) -> None:
    rate = Rate(5, 3600, kind=kind, burst=5 if kind == "bucket" else None)

    assert [(await limits.take("q", rate, "h", first, 2)).count for first in (0, 10, 20, 30)] == [2, 2, 1, 0]
    left = await place.seconds_left(f"limit:q:{kind}:3600")
    assert left is not None
    assert left == pytest.approx(7200, abs=60)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_did_not_begin_is_given_back(kind: RateKind, limits: Limits) -> None:
    rate = Rate(5, 3600, kind=kind, burst=5 if kind == "bucket" else None)
    taken = await limits.take("q", rate, "h", 0, 5)
    await limits.give("q", rate, "h", 3, 2, taken.window)

    assert (await limits.take("q", rate, "other", 0, 9)).count == 2


async def test_a_sliding_rate_frees_each_when_its_time_is_over(limits: Limits) -> None:
    rate = Rate(2, 0.2)
    began = time.monotonic()
    await limits.take("q", rate, "h", 0, 1)
    await limits.take("q", rate, "h", 1, 1)
    refused = await limits.take("q", rate, "h", 2, 1)
    if not refused.count:
        assert 0 < refused.wait <= 0.2
        await anyio.sleep(refused.wait + 0.002)
        assert (await limits.take("q", rate, "h", 3, 1)).count == 1
        assert time.monotonic() - began >= 0.2


async def test_a_lowered_rate_says_when_there_is_room_again(limits: Limits) -> None:
    for first in (0, 1, 2):
        before_last = time.time()
        await limits.take("q", Rate(3, 3600), "h", first, 1)
        after_last = time.time()
        await anyio.sleep(0.005)

    before = time.time()
    refused = await limits.take("q", Rate(1, 3600), "h", 9, 1)
    after = time.time()
    assert refused.count == 0
    # When the last of the three is an hour old: all of them count.
    assert 3600 - (after - before_last) - 0.001 <= refused.wait <= 3600 - (before - after_last) + 0.001


async def test_a_fixed_rate_begins_anew_at_each_multiple(limits: Limits) -> None:
    rate = Rate(1, 0.25, kind="fixed")
    first = await limits.take("q", rate, "h", 0, 1)
    while not (taken := await limits.take("q", rate, "h", 1, 1)).count:
        assert taken.wait <= 0.25
        await anyio.sleep(taken.wait + 0.001)

    assert int(taken.window) > int(first.window)
    await limits.give("q", rate, "h", 0, 1, first.window)  # too late: it is another window's
    again = await limits.take("q", rate, "h", 2, 1)
    assert again.count == 0 or int(again.window) > int(taken.window)


async def test_a_bucket_fills_evenly(limits: Limits) -> None:
    rate = Rate(20, 1, kind="bucket")
    assert (await limits.take("q", rate, "h", 0, 5)).count == 1
    refused = await limits.take("q", rate, "h", 0, 1)
    if not refused.count:
        assert 0 < refused.wait <= 0.05
        await anyio.sleep(refused.wait + 0.002)
        assert (await limits.take("q", rate, "h", 0, 5)).count == 1


async def test_rates_of_one_limit_are_counted_apart(limits: Limits) -> None:
    assert (await limits.take("q", Rate(1, 60), "h", 0, 1)).count == 1
    assert (await limits.take("q", Rate(1, 3600), "h", 0, 1)).count == 1
    assert (await limits.take("other", Rate(1, 60), "h", 0, 1)).count == 1
    assert (await limits.take("q", Rate(1, 60), "h", 1, 1)).count == 0
