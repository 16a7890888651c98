"""Of many queues whose names begin alike, those that hold jobs."""

from __future__ import annotations

from .places import Place


async def put(place: Place, *queues: str) -> None:
    await place.put("queues", {queue.encode() for queue in queues})
    for queue in queues:
        await place.put(f"queue:{queue}", [b"{}"])


async def test_those_that_begin_so_and_hold_jobs(place: Place) -> None:
    await put(place, "a:1", "a:2", "a", "b:1", "c:1", "a:", "a:*")
    await place.put("queues", {b"a:empty"})
    assert sorted(await place.store.filled(["a:"])) == ["a:", "a:*", "a:1", "a:2"]
    assert sorted(await place.store.filled(["a:1", "b:"])) == ["a:1", "b:1"]
    assert len(await place.store.filled([""])) == 7
    assert await place.store.filled(["nobody"]) == []


async def test_a_queue_that_is_paused_is_left_out(place: Place) -> None:
    await put(place, "a:1", "a:2")
    await place.put("paused", {b"a:1"})
    for _ in range(2):
        assert await place.store.filled(["a:"]) == ["a:2"]


async def test_one_that_comes_is_seen_by_the_next_look(place: Place) -> None:
    await put(place, *(f"a:{number}" for number in range(600)))
    assert len(await place.store.filled(["a:"])) == 600
    await put(place, "b:1")
    assert len(await place.store.filled(["a:"])) == 600
    await put(place, "a:new")
    assert "a:new" in await place.store.filled(["a:"])
