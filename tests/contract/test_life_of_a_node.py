"""Time, identity, heartbeats and rescue are the same in memory and in Valkey."""

from __future__ import annotations

import time

import anyio
import pytest

from exq_anyio.errors import LostClaim
from exq_anyio.exchange import Beat, Claim, Move, NodeSeen, SortedSet
from exq_anyio.metrics import Batch, Count, WorkerBatch

from .places import DEAD_MAX, DEAD_TIMEOUT, Place, State

NODE = "host#1"
BACKUP = f"queue:backup::{NODE}::q"
LEASE = f"{NODE}:lease"


async def claimed(place: Place, node: str = NODE, token: str = "token", limit: str = "") -> Claim:
    claim = Claim(node, token)
    assert await place.store.claim(claim, {"pid": "1"} | ({"limit": limit} if limit else {}))
    return claim


async def seen(place: Place, node_id: str = NODE) -> NodeSeen:
    _, nodes = await place.store.nodes()
    (node,) = (node for node in nodes if node.node_id == node_id)
    return node


async def condemned(place: Place, *payloads: bytes) -> None:
    """A dead node whose backup queue holds *payloads*, the newest first."""
    await claimed(place)
    await place.put(BACKUP, list(payloads))
    assert await place.store.condemn(await seen(place), by_process=False)


CONDEMNED: State = {"leases": {NODE.encode()}, LEASE: {b"condemned": b"1"}}


# due, promote, trim_dead


@pytest.mark.parametrize("where", ["schedule", "retry"])
async def test_due_shows_the_earliest_first_and_nothing_of_the_future(place: Place, where: SortedSet) -> None:
    now = time.time()
    held = {b"later": now + 60, b"3": now - 1, b"1": now - 3.5, b"2b": now - 2, b"2a": now - 2}
    await place.put(where, held)
    at, members = await place.store.due(where, 3)
    assert members == [b"1", b"2a", b"2b"]
    assert now - 1 < at < now + 60
    assert (await place.store.due(where, 9))[1] == [b"1", b"2a", b"2b", b"3"]
    assert (await place.store.due(where, 0))[1] == []
    assert await place.state() == {where: held}


@pytest.mark.parametrize("where", ["schedule", "retry"])
async def test_promote_moves_what_is_still_there(place: Place, where: SortedSet) -> None:
    await place.put(where, {b"1": 1.0, b"2": 2.0, b"3": 3.0, b"stays": 1.0})
    await place.put("queue:q", [b"0"])
    moves = [
        Move(b"1", b"one", "q"),
        Move(b"gone", b"none", "q"),
        Move(b"2", b"two", "p"),
        Move(b"3", b"three", None),
        Move(b"1", b"again", "q"),
    ]
    assert await place.store.promote(where, moves, 1234.567891) == 3
    assert await place.state() == {
        where: {b"stays": 1.0},
        "queues": {b"q", b"p"},
        "queue:q": [b"one", b"0"],
        "queue:p": [b"two"],
        "dead": {b"three": 1234.567891},
    }


async def test_trim_dead_removes_the_old_and_the_many_at_most_as_told(place: Place) -> None:
    now = time.time()
    old = {b"old%d" % n: now - DEAD_TIMEOUT - 60 - n for n in range(4)}
    young = {b"young%d" % n: now - n for n in range(DEAD_MAX + 3)}
    await place.put("dead", {**old, **young})
    assert await place.store.trim_dead(3) == 3
    assert (await place.state())["dead"] == {b"old0": old[b"old0"], **young}
    assert await place.store.trim_dead(3) == 3
    assert (await place.state())["dead"] == {b"young%d" % n: now - n for n in range(DEAD_MAX + 1)}
    assert await place.store.trim_dead(3) == 1
    assert await place.store.trim_dead(3) == 0
    assert await place.state() == {"dead": {b"young%d" % n: now - n for n in range(DEAD_MAX)}}


# claim, taking, beat, signal, leave


async def test_an_id_is_claimed_by_one_node(place: Place) -> None:
    await claimed(place)
    after: State = {"leases": {b"host#1"}, LEASE: {b"token": b"token", b"pid": b"1"}}
    assert await place.state() == after
    assert not await place.store.claim(Claim(NODE, "other"), {"pid": "2"})
    assert await place.state() == after


async def test_an_id_that_has_a_heartbeat_or_is_condemned_is_not_free(place: Place) -> None:
    await place.put("heartbeats", {b"elixir": 1.0})
    assert not await place.store.claim(Claim("elixir", "t"), {})
    assert await place.state() == {"heartbeats": {b"elixir": 1.0}}
    await condemned(place)
    assert not await place.store.claim(Claim(NODE, "t"), {})


async def test_a_claim_may_be_repeated_until_its_reply_arrives(place: Place) -> None:
    claim = await claimed(place)
    before = await place.state()
    assert await place.store.claim(claim, {"pid": "1"})
    assert await place.state() == before
    assert not await place.store.claim(Claim(NODE, "other"), {"pid": "1"})
    assert await place.state() == before


async def test_taking_notes_the_queue(place: Place) -> None:
    claim = await claimed(place)
    await place.store.taking(claim, "q")
    await place.store.taking(claim, "p")
    await place.store.taking(claim, "q")
    assert (await place.state())[f"{NODE}:taken"] == {b"p", b"q"}


async def test_a_beat_writes_the_time_the_entry_and_the_work_and_replaces_the_work_of_the_last(place: Place) -> None:
    claim, before = await claimed(place), time.time()
    await place.store.beat(claim, Beat({"busy": "2"}, [("a", b"A", b"AA"), ("b", b"B", b"BB")]))
    await place.store.beat(claim, Beat({"busy": "1"}, [("c", b"C", b"CC")]))
    state = await place.state()
    (score,) = state["heartbeats"].values()
    assert before - 1 < float(score) < time.time() + 1
    beat = state[NODE].pop(b"beat")
    assert float(beat) == score
    assert state == {
        "leases": {b"host#1"},
        "processes": {b"host#1"},
        "heartbeats": {b"host#1": score},
        LEASE: {b"token": b"token", b"pid": b"1"},
        NODE: {b"busy": b"1"},
        f"{NODE}:work": {b"c": b"C"},
        f"{NODE}:workers": {b"c": b"CC"},
    }
    for key in (NODE, f"{NODE}:work", f"{NODE}:workers"):
        assert await place.seconds_left(key) == pytest.approx(60, abs=30)
    await place.store.beat(claim, Beat({"busy": "0"}, []))
    assert not {f"{NODE}:work", f"{NODE}:workers"} & set(await place.state())


async def test_a_beat_without_the_claim_changes_nothing(place: Place) -> None:
    await claimed(place)
    before = await place.state()
    with pytest.raises(LostClaim):
        await place.store.beat(Claim(NODE, "other"), Beat({"busy": "0"}, []))
    assert await place.state() == before


async def test_counts_come_with_a_beat_and_one_number_is_added_once(place: Place) -> None:
    claim = await claimed(place)
    some = WorkerBatch("A", Count(3, 1, 250), {0: 1, 25: 1})
    first = Batch(1, 1_790_000_000.25, "seconds", [some, WorkerBatch("B", Count(1, 1), {})])
    for measured in (first, first, Batch(), Batch(2, 1_790_000_000.25, "seconds", [some])):
        await place.store.beat(claim, Beat({}, [], measured))
    state = await place.state()
    counts = {b"A|p": b"6", b"A|f": b"2", b"A|ms": b"500", b"B|p": b"1", b"B|f": b"1"}
    minute, ten, histogram = "j|20260921|14:13", "j|260921|14:1", "A-21-14:13"
    assert (state[minute], state[ten]) == (counts, counts)
    assert state[histogram] == b"\x00\x02" + b"\x00" * 48 + b"\x00\x02"
    assert "B-21-14:13" not in state
    assert state[LEASE][b"measured"] == b"2"
    for key, seconds in ((minute, 8 * 3600), (ten, 3 * 86400), (histogram, 8 * 3600)):
        assert await place.seconds_left(key) == pytest.approx(seconds, abs=30)
    await place.store.beat(claim, Beat({}, [], Batch(3, 1_790_000_000.25, "milliseconds", [some])))
    state = await place.state()
    assert (state["j|260921|14:13"][b"A|p"], state[ten][b"A|p"]) == (b"3", b"9")
    assert state["h|A-21-14:13"] == b"\x00\x01" + b"\x00" * 48 + b"\x00\x01"


async def test_the_signal_sent_first_is_heard_first(place: Place) -> None:
    claim = Claim(NODE, "token")
    await place.put(f"{NODE}-signals", [b"TERM", b"TSTP"])
    assert await place.store.signal(claim, 5) == "TSTP"
    assert await place.state() == {f"{NODE}-signals": [b"TERM"]}
    assert await place.store.signal(claim, 5) == "TERM"
    assert await place.store.signal(claim, 0.02) is None


async def test_leaving_removes_every_trace_of_the_node_and_nothing_else(place: Place) -> None:
    claim, other = await claimed(place), await claimed(place, "host#2", "two")
    await place.store.beat(other, Beat({"busy": "0"}, []))
    before = await place.state()
    await place.store.beat(claim, Beat({"busy": "1"}, [("a", b"A", b"AA")]))
    await place.store.taking(claim, "q")
    await place.put(f"{NODE}-signals", [b"TERM"])
    assert not await place.store.leave(Claim(NODE, "stolen"))
    assert f"{NODE}:taken" in await place.state()
    assert await place.store.leave(claim)
    before["leases"] = {b"host#2"}
    del before[LEASE]
    assert await place.state() == before
    assert not await place.store.leave(claim)


# nodes, condemn, left_behind, left_page, rescue, bury


async def test_nodes_lists_who_beats_and_who_only_has_a_lease(place: Place) -> None:
    await place.put("heartbeats", {b"elixir": 1234.567891})
    claim = Claim(NODE, "token")
    assert await place.store.claim(claim, {"limit": "30.0"})
    await place.store.beat(claim, Beat({"busy": "0"}, []))
    await claimed(place, "host#2", "two")
    now, nodes = await place.store.nodes()
    assert abs(now - time.time()) < 5
    elixir, first, second = nodes
    # Redis 6 spells a score with all 17 digits.
    assert (elixir.node_id, float(elixir.score), elixir.lease, elixir.limit) == ("elixir", 1234.567891, {}, None)
    assert (first.node_id, first.lease, first.limit) == (NODE, {"token": "token", "limit": "30.0"}, 30.0)
    assert float(first.score) == (await place.state())["heartbeats"][b"host#1"]
    assert (second, second.limit) == (NodeSeen("host#2", "", {"token": "two", "pid": "1"}), None)


async def test_a_node_is_condemned_only_while_it_is_as_it_was_seen(place: Place) -> None:
    claim = await claimed(place)
    await place.store.beat(claim, Beat({"busy": "0"}, []))
    was = await seen(place)
    await anyio.sleep(0.001)  # the clock goes on: the next score differs
    await place.store.beat(claim, Beat({"busy": "0"}, []))
    before = await place.state()
    assert not await place.store.condemn(was, by_process=False)
    wrong_token = NodeSeen(NODE, (await seen(place)).score, {"token": "old"})
    assert not await place.store.condemn(wrong_token, by_process=False)
    assert not await place.store.condemn(wrong_token, by_process=True)
    assert await place.state() == before
    assert await place.store.condemn(was, by_process=True)
    assert await place.state() == {**before, LEASE: {b"condemned": b"1"}}
    assert (await seen(place)).condemned


async def test_a_silent_node_without_a_lease_is_condemned_by_its_score(place: Place) -> None:
    await place.put("heartbeats", {b"elixir": 1.5})
    assert not await place.store.condemn(NodeSeen("elixir", "2.5", {}), by_process=False)
    assert await place.store.condemn(await seen(place, "elixir"), by_process=False)
    assert await place.state() == {
        "heartbeats": {b"elixir": 1.5},
        "leases": {b"elixir"},
        "elixir:lease": {b"condemned": b"1"},
    }


async def test_left_behind_looks_in_every_queue_known_and_every_queue_taken_from(place: Place) -> None:
    claim = await claimed(place)
    await place.store.taking(claim, "taken")
    await place.put("queues", {b"q", b"empty"})
    await place.put(BACKUP, [b"2", b"1"])
    await place.put(f"queue:backup::{NODE}::taken", [b"3"])
    await place.put("queue:backup::host#2::q", [b"4"])
    assert await place.store.left_behind(NODE) == {"q": 2, "taken": 1}
    assert await place.store.left_behind("nobody") == {}


async def test_left_page_shows_the_newest(place: Place) -> None:
    await condemned(place, b"3", b"2", b"1")
    assert await place.store.left_page(NODE, "q", 2) == [b"3", b"2"]
    assert await place.store.left_page(NODE, "q", 9) == [b"3", b"2", b"1"]


async def test_rescued_jobs_are_taken_next_in_their_order(place: Place) -> None:
    await condemned(place, b"3", b"x", b"2", b"1")
    await place.put("queue:q", [b"waits"])
    first = [Move(b"3", b"three", "q"), Move(b"x", b"dead", None), Move(b"gone", b"none", "q")]
    assert await place.store.rescue(NODE, "q", first, 1234.567891) == 2
    assert await place.store.rescue(NODE, "q", [Move(b"2", b"two", "q"), Move(b"1", b"one", "q")], 5.0) == 2
    assert await place.state() == {
        **CONDEMNED,
        "queues": {b"q"},
        "queue:q": [b"waits", b"three", b"two", b"one"],
        "dead": {b"dead": 1234.567891},
    }


async def test_a_rescue_to_the_dead_set_frees_the_lock_of_a_job_that_was_there_and_holds_it(place: Place) -> None:
    await condemned(place, b"1", b"2")
    for token in ("held", "anothers", "gone"):
        await place.put(f"unique:{token}", b"jid")
    moves = [
        Move(b"1", b"one", None, unlock=("held", "jid")),
        Move(b"gone", b"none", None, unlock=("gone", "jid")),
        Move(b"2", b"two", None, unlock=("anothers", "other")),
    ]
    assert await place.store.rescue(NODE, "q", moves, 5.0) == 2
    assert await place.state() == {
        **CONDEMNED,
        "dead": {b"one": 5.0, b"two": 5.0},
        "unique:anothers": b"jid",
        "unique:gone": b"jid",
    }


async def test_a_lock_that_is_no_text_keeps_no_job_from_being_rescued(place: Place) -> None:
    await condemned(place, b"1")
    await place.put("unique:t", [b"a list"])
    assert await place.store.rescue(NODE, "q", [Move(b"1", b"one", None, unlock=("t", "jid"))], 5.0) == 1
    assert await place.state() == {**CONDEMNED, "dead": {b"one": 5.0}, "unique:t": [b"a list"]}


async def test_the_jobs_of_a_node_that_lives_are_not_rescued(place: Place) -> None:
    await claimed(place)
    await place.put(BACKUP, [b"1"])
    before = await place.state()
    assert await place.store.rescue(NODE, "q", [Move(b"1", b"one", "q")], 5.0) == 0
    assert await place.state() == before


async def test_a_condemned_node_is_buried_and_its_id_is_free_again(place: Place) -> None:
    claim = await claimed(place)
    await place.store.beat(claim, Beat({"busy": "1"}, [("a", b"A", b"AA")]))
    await place.store.taking(claim, "q")
    assert await place.store.condemn(await seen(place), by_process=False)
    await place.store.bury(NODE)
    assert await place.state() == {}
    await claimed(place)


async def test_a_node_that_lives_is_not_buried(place: Place) -> None:
    await claimed(place)
    before = await place.state()
    await place.store.bury(NODE)
    assert await place.state() == before
