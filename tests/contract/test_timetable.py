"""Periodic jobs are kept, due, enqueued and changed alike in memory and in Valkey."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from math import inf

import attrs
import coredis
import pytest

from exq_anyio.errors import RedisError
from exq_anyio.exchange import Outgoing
from exq_anyio.periodic import Arrange, Seen, Tick
from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys
from exq_anyio.redis.timetable import RedisTimetable
from exq_anyio.testing.timetable import MemoryTimetable
from exq_anyio.timetable import Timetable

from .places import InMemory, Place, State, address_of

PAST, FUTURE = 1_790_000_000.25, 4_000_000_000.0
DEFINED: State = {"periodic:jobs": {b"a": b"{}"}}
DUE: State = {**DEFINED, "periodic": {b"a": PAST}}


@pytest.fixture
async def timetable(
    place: Place, valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> AsyncIterator[Timetable]:
    if isinstance(place, InMemory):
        yield MemoryTimetable(place.store.world)
        return
    address = address_of(valkey.socket)
    async with open_connections(address, dialer(address, namespace)) as connections:
        yield RedisTimetable(connections, Keys(namespace))


async def put(place: Place, state: State) -> None:
    for key, held in state.items():
        await place.put(key, held)


async def seen(timetable: Timetable, name: str = "a") -> Seen:
    _, found = await timetable.everything()
    return next(one for one in found if one.name == name)


def job(payload: bytes = b"p", jid: str = "j", token: str | None = None, queue: str = "q") -> Outgoing:
    return Outgoing(queue, payload, jid, None, None if token is None else (token, 60.0))


async def test_what_is_due_comes_with_the_time_and_the_next_that_is_not(place: Place, timetable: Timetable) -> None:
    await put(place, {"periodic": {b"b": PAST + 1, b"a": PAST, b"c": FUTURE, b"d": FUTURE + 1}, **DEFINED})

    now, coming, found = await timetable.due(10)

    assert abs(now - time.time()) < 5
    assert coming == FUTURE
    assert [(one.name, one.kept, one.next_tick) for one in found] == [("a", b"{}", PAST), ("b", b"", PAST + 1)]
    assert [one.name for one in (await timetable.due(1))[2]] == ["a"]


async def test_where_there_are_none_nothing_comes(timetable: Timetable) -> None:
    assert (await timetable.due(10))[1:] == (inf, [])
    assert (await timetable.everything())[1] == []


async def test_a_tick_is_enqueued_and_the_next_one_noted(place: Place, timetable: Timetable) -> None:
    await put(place, DUE)
    (_, _, (due,)) = await timetable.due(10)

    assert await timetable.tick([Tick(due, (job(b"1"), job(b"2")), "5.0 j", FUTURE)]) == [2]

    assert await place.state() == {
        **DEFINED,
        "periodic": {b"a": FUTURE},
        "periodic:last": {b"a": b"5.0 j"},
        "queues": {b"q"},
        "queue:q": [b"2", b"1"],
    }


async def test_a_tick_that_another_node_saw_too_is_enqueued_once(place: Place, timetable: Timetable) -> None:
    await put(place, DUE)
    (_, _, (due,)) = await timetable.due(10)
    tick = Tick(due, (job(),), "5.0 j", FUTURE)

    assert await timetable.tick([tick]) == [1]
    before = await place.state()
    assert await timetable.tick([tick]) == [None]
    assert await place.state() == before


@pytest.mark.parametrize("change", [{"kept": b"other"}, {"score": "1790000000.5"}, {"name": "b"}])
async def test_a_tick_of_what_has_changed_is_not_enqueued(
    change: dict[str, object], place: Place, timetable: Timetable
) -> None:
    await put(place, DUE)
    (_, _, (due,)) = await timetable.due(10)
    before = await place.state()

    assert await timetable.tick([Tick(attrs.evolve(due, **change), (job(),), "5.0 j", FUTURE)]) == [None]  # type: ignore[arg-type]
    assert await place.state() == before


async def test_several_ticks_are_told_apart(place: Place, timetable: Timetable) -> None:
    await put(place, {"periodic": {b"a": PAST, b"b": PAST}, "periodic:jobs": {b"a": b"{}", b"b": b"{}"}})
    (_, _, (a, b)) = await timetable.due(10)
    gone = attrs.evolve(a, score="1.5")

    ticks = [Tick(gone, (job(),), "x", None), Tick(b, (job(b"b", queue="other"),), "", None), Tick(a, (), "", FUTURE)]
    assert await timetable.tick(ticks) == [None, 1, 0]

    assert await place.state() == {
        "periodic": {b"a": FUTURE},
        "periodic:jobs": {b"a": b"{}", b"b": b"{}"},
        "queues": {b"other"},
        "queue:other": [b"b"],
    }


async def test_a_unique_job_is_enqueued_if_its_lock_is_free(place: Place, timetable: Timetable) -> None:
    await put(place, DUE)
    (_, _, (due,)) = await timetable.due(10)

    tick = Tick(due, (job(b"1", "j1", token="t"), job(b"2", "j2", token="t")), "", None)
    assert await timetable.tick([tick]) == [1]

    state = await place.state()
    assert (state["queue:q"], state["unique:t"], state.get("periodic")) == ([b"1"], b"j1", None)
    left = await place.seconds_left("unique:t")
    assert left is not None
    assert 55 < left <= 60


async def test_a_job_run_beside_its_ticks_leaves_them(place: Place, timetable: Timetable) -> None:
    await put(place, DUE)

    assert await timetable.tick([Tick(Seen("a", b"{}"), (job(),), "")]) == [1]
    assert await place.state() == {**DUE, "queues": {b"q"}, "queue:q": [b"p"]}


async def test_one_is_defined_paused_resumed_and_removed(place: Place, timetable: Timetable) -> None:
    assert await timetable.arrange([Arrange(Seen("a", b""), b"{}", FUTURE)]) == [True]
    assert await place.state() == {**DEFINED, "periodic": {b"a": FUTURE}}

    assert await timetable.arrange([Arrange(await seen(timetable), b"{}", None, paused=True)]) == [True]
    assert await place.state() == {**DEFINED, "periodic:paused": {b"a"}}
    assert (await seen(timetable)).paused

    assert await timetable.arrange([Arrange(await seen(timetable), b"{}", FUTURE)]) == [True]
    assert await place.state() == {**DEFINED, "periodic": {b"a": FUTURE}}

    assert await timetable.arrange([Arrange(await seen(timetable), None)]) == [True]
    assert await place.state() == {}


async def test_a_definition_may_change_alone(place: Place, timetable: Timetable) -> None:
    await put(place, {**DUE, "periodic:paused": {b"a"}, "periodic:last": {b"a": b"5.0 j"}})

    assert await timetable.arrange([Arrange(await seen(timetable), b"new", keep=True)]) == [True]
    assert await seen(timetable) == Seen("a", b"new", (await seen(timetable)).score, True, "5.0 j")
    assert (await seen(timetable)).next_tick == PAST


async def test_what_was_defined_anew_meanwhile_is_not_changed(place: Place, timetable: Timetable) -> None:
    await put(place, DUE)

    assert await timetable.arrange([Arrange(Seen("a", b"old"), b"new"), Arrange(Seen("a", b""), None)]) == [
        False,
        False,
    ]
    assert await place.state() == DUE


@pytest.mark.parametrize("key", ["periodic", "periodic:jobs", "periodic:last", "queues", "queue:q", "unique:t"])
@pytest.mark.parametrize("place", ["redis"], indirect=True)  # a world in memory has no wrong types
async def test_a_tick_that_meets_a_broken_key_changes_nothing(
    key: str, place: Place, timetable: Timetable, redis: coredis.Redis[bytes]
) -> None:
    await put(place, {**DUE, "periodic:last": {b"b": b"5.0 j"}})
    (_, _, (due,)) = await timetable.due(10)
    await redis.delete([f"{place.namespace}:{key}"])  # type: ignore[attr-defined]
    await put(place, {key: [b"list"] if key in ("unique:t", "queues") else b"text"})
    before = await place.state()

    with pytest.raises(RedisError, match=key):
        await timetable.tick([Tick(due, (job(token="t"),), "5.0 j", FUTURE)])
    assert await place.state() == before
