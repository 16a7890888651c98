"""fetch, wait, settle, rename, unlock, backup and push do the same in memory and in Valkey."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import attrs
import pytest

from exq_anyio.errors import LostClaim, RedisError
from exq_anyio.exchange import Claim, Fetched, Outgoing
from exq_anyio.outcome import Kind, Settlement
from exq_anyio.redis.keys import Keys

from .places import DEAD_MAX, DEAD_TIMEOUT, Place, State

NODE = "host#1"
NOW = 1_790_000_000.25
BACKUP = f"queue:backup::{NODE}::q"
LEASE = f"{NODE}:lease"
PROCESSED = ("stat:processed", "stat:processed:2026-09-21", "stat:processed_rt:2026-09-21 14:13:20Z")
FAILED = ("stat:failed", "stat:failed:2026-09-21", "stat:failed_rt:2026-09-21 14:13:20Z")


async def claimed(place: Place) -> Claim:
    claim = Claim(NODE, "token")
    assert await place.store.claim(claim, {"pid": "1"})
    return claim


async def holding(place: Place, *payloads: bytes) -> Claim:
    """A claim whose backup queue holds *payloads*, the newest first."""
    claim = await claimed(place)
    await place.put(BACKUP, list(payloads))
    return claim


def settled(answer: str, number: int = 1) -> State:
    """The lease after a settle, beside the set of leases."""
    lease: dict[bytes, bytes] = {
        b"token": b"token",
        b"pid": b"1",
        b"number": b"%d" % number,
        b"answer": answer.encode(),
    }
    return {"leases": {NODE.encode()}, LEASE: lease}


FRESH: State = {"leases": {NODE.encode()}, LEASE: {b"token": b"token", b"pid": b"1"}}


def counted(processed: int, failed: int = 0) -> State:
    return {key: b"%d" % processed for key in PROCESSED if processed} | {
        key: b"%d" % failed for key in FAILED if failed
    }


def done(payload: bytes, queue: str = "q") -> Settlement:
    return Settlement("done", queue, payload, processed=1)


async def gone(place: Place, key: str) -> None:
    """Return when *key* has expired."""
    with anyio.fail_after(5):
        while key in await place.state():  # the server tells nobody
            await anyio.sleep(0.005)


# fetch


async def test_fetch_moves_the_oldest_first_to_the_head_of_the_backup(place: Place) -> None:
    claim = await claimed(place)
    await place.put("queue:q", [b"4", b"3", b"2", b"1"])
    assert await place.store.fetch(claim, "q", 1) == Fetched([b"1"], 1)
    assert await place.store.fetch(claim, "q", 2) == Fetched([b"2", b"3"], 3)
    assert await place.state() == {**FRESH, "queue:q": [b"4"], BACKUP: [b"3", b"2", b"1"]}
    assert await place.store.fetch(claim, "q", 9) == Fetched([b"4"], 4)
    assert await place.store.fetch(claim, "q", 9) == Fetched([], 4)


async def test_fetch_takes_at_most_a_thousand(place: Place) -> None:
    claim = await claimed(place)
    await place.put("queue:q", [b"%d" % number for number in range(1_001, 0, -1)])
    fetched = await place.store.fetch(claim, "q", 5_000)
    assert fetched == Fetched([b"%d" % number for number in range(1, 1_001)], 1_000)
    assert (await place.state())["queue:q"] == [b"1001"]


async def test_nothing_is_fetched_from_a_paused_queue(place: Place) -> None:
    claim = await holding(place, b"held")
    before: State = {**FRESH, "queue:q": [b"1"], "paused": {b"q"}, BACKUP: [b"held"]}
    await place.put("queue:q", [b"1"])
    await place.put("paused", {b"q"})
    assert await place.store.fetch(claim, "q", 5) == Fetched([], 1, paused=True)
    assert await place.state() == before


# wait


async def test_wait_moves_the_oldest_that_is_there(place: Place) -> None:
    claim = await holding(place, b"0")
    await place.put("queue:q", [b"2", b"1"])
    assert await place.store.wait(claim, "q", 5) == b"1"
    assert await place.state() == {**FRESH, "queue:q": [b"2"], BACKUP: [b"1", b"0"]}


async def test_wait_is_over_when_a_job_is_pushed(place: Place) -> None:
    claim, taken = await claimed(place), []

    async def wait() -> None:
        taken.append(await place.store.wait(claim, "q", 60))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await place.outbox.push([Outgoing("q", b"1", "j")])
    assert taken == [b"1"]
    assert await place.state() == {**FRESH, "queues": {b"q"}, BACKUP: [b"1"]}


async def test_wait_is_over_after_its_time(place: Place) -> None:
    claim = await claimed(place)
    started = time.monotonic()
    assert await place.store.wait(claim, "q", 0.05) is None
    assert 0.04 < time.monotonic() - started < 5
    assert await place.state() == FRESH


async def test_unblock_ends_the_wait_on_that_queue_only(place: Place) -> None:
    claim, ended, first = await claimed(place), [], anyio.Event()

    async def wait(queue: str) -> None:
        ended.append((queue, await place.store.wait(claim, queue, 60)))
        first.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "q")
            tasks.start_soon(wait, "other")
            await anyio.wait_all_tasks_blocked()
            await place.store.unblock("q")
            await first.wait()
            assert ended == [("q", None)]
            place.store.no_more_waits("q")
            await place.outbox.push([Outgoing("q", b"1", "j"), Outgoing("other", b"2", "k")])
    assert ended == [("q", None), ("other", b"2")]
    assert (await place.state())["queue:q"] == [b"1"]


async def test_unblock_without_a_wait_does_nothing(place: Place) -> None:
    claim = await claimed(place)
    with anyio.fail_after(5):
        await place.store.unblock("q")
    await place.put("queue:q", [b"1"])
    assert await place.store.wait(claim, "q", 5) == b"1"


# settle


@pytest.mark.parametrize(
    ("settlement", "after"),
    [
        (Settlement("done", "q", b"j", processed=1), counted(1)),
        (Settlement("discarded", "q", b"j", processed=1), counted(1)),
        (Settlement("discarded", "q", b"j", processed=1, failed=1), counted(1, 1)),
        (Settlement("retry", "q", b"j", b"J", NOW + 0.123456, 1, 1), counted(1, 1) | {"retry": {b"J": NOW + 0.123456}}),
        (Settlement("schedule", "q", b"j", b"J", NOW + 5, 1), {"schedule": {b"J": NOW + 5}, **counted(1)}),
        (Settlement("dead", "q", b"j", b"J", NOW, 1, 1), {"dead": {b"J": NOW}, **counted(1, 1)}),
        (Settlement("dead", "q", b"j", b"J", NOW), {"dead": {b"J": NOW}}),
        (Settlement("push_back", "q", b"j", b"J"), {"queue:q": [b"waits", b"J"]}),
    ],
    ids=lambda value: value.kind if isinstance(value, Settlement) else "",
)  # fmt: skip
@pytest.mark.parametrize("near_head", [False, True])
async def test_each_outcome_moves_its_payload_and_counts_what_it_counts(
    place: Place, settlement: Settlement, after: State, near_head: bool
) -> None:
    claim = await holding(place, b"newer", b"j", b"older")
    await place.put("queue:q", [b"waits"])
    settlement = attrs.evolve(settlement, near_head=near_head)
    assert await place.store.settle(claim, 1, [settlement], NOW) == [True]
    assert await place.state() == {"queue:q": [b"waits"], BACKUP: [b"newer", b"older"], **settled("1"), **after}


@pytest.mark.parametrize("kind", ["done", "discarded", "retry", "schedule", "dead", "push_back"])
async def test_an_outcome_whose_payload_is_not_there_changes_nothing(place: Place, kind: Kind) -> None:
    claim = await holding(place, b"other")
    await place.put("unique:t", b"jid")
    settlement = Settlement(kind, "q", b"j", b"J", NOW, processed=1, failed=1, unlock=("t", "jid"))
    assert await place.store.settle(claim, 1, [settlement], NOW) == [False]
    assert await place.state() == {**settled("0"), BACKUP: [b"other"], "unique:t": b"jid"}


async def test_one_of_two_equal_payloads_goes_the_nearer_one(place: Place) -> None:
    claim = await holding(place, b"j", b"1", b"j", b"2", b"j")
    near_head = Settlement("done", "q", b"j", near_head=True)
    assert await place.store.settle(claim, 1, [near_head], NOW) == [True]
    assert (await place.state())[BACKUP] == [b"1", b"j", b"2", b"j"]
    assert await place.store.settle(claim, 2, [attrs.evolve(near_head, near_head=False)], NOW) == [True]
    assert (await place.state())[BACKUP] == [b"1", b"j", b"2"]


async def test_a_group_over_several_queues_is_answered_job_by_job(place: Place) -> None:
    claim = await holding(place, b"1", b"2")
    await place.put(f"queue:backup::{NODE}::p", [b"1", b"3"])
    group = [
        done(b"1"),
        done(b"2", "p"),
        Settlement("push_back", "p", b"3", b"3"),
        Settlement("retry", "q", b"2", b"2r", NOW, 1, 1),
    ]
    assert await place.store.settle(claim, 1, group, NOW) == [True, False, True, True]
    assert await place.state() == {
        **settled("1011"),
        f"queue:backup::{NODE}::p": [b"1"],
        "queue:p": [b"3"],
        "retry": {b"2r": NOW},
        **counted(2, 1),
    }


async def test_the_same_number_again_returns_the_old_answer_and_changes_nothing(place: Place) -> None:
    claim = await holding(place, b"j", b"j")
    group = [Settlement("retry", "q", b"j", b"J", NOW, 1, 1), done(b"gone")]
    assert await place.store.settle(claim, 7, group, NOW) == [True, False]
    once = {**settled("10", 7), BACKUP: [b"j"], "retry": {b"J": NOW}, **counted(1, 1)}
    assert await place.state() == once
    assert await place.store.settle(claim, 7, group, NOW + 1) == [True, False]
    assert await place.state() == once
    assert await place.store.settle(claim, 8, [done(b"j")], NOW) == [True]
    assert await place.state() == {**settled("1", 8), "retry": {b"J": NOW}, **counted(2, 1)}


async def test_a_settle_that_comes_late_from_a_connection_given_up_is_refused(place: Place) -> None:
    claim = await holding(place, b"j", b"j")
    assert await place.store.settle(claim, 1, [done(b"j")], NOW) == [True]
    assert await place.store.settle(claim, 2, [done(b"none")], NOW) == [False]
    before = await place.state()
    with pytest.raises(RedisError, match="later settle"):
        await place.store.settle(claim, 1, [done(b"j")], NOW)
    assert await place.state() == before


async def test_a_new_claim_forgets_the_number_of_the_old_one(place: Place) -> None:
    claim = await holding(place, b"j")
    assert await place.store.settle(claim, 1, [done(b"none")], NOW) == [False]
    assert await place.store.leave(claim)
    again = Claim(NODE, "token")
    assert await place.store.claim(again, {"pid": "1"})
    assert await place.store.settle(again, 1, [done(b"j")], NOW) == [True]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda store, claim: store.fetch(claim, "q", 5),
        lambda store, claim: store.settle(claim, 1, [done(b"j")], NOW),
        lambda store, claim: store.rename(claim, "q", [(b"j", b"J")]),
        lambda store, claim: store.taking(claim, "q"),
    ],
    ids=["fetch", "settle", "rename", "taking"],
)
@pytest.mark.parametrize("lease", ["another token", "condemned", "none"])
async def test_without_the_claim_nothing_is_changed(place: Place, attempt: Callable[..., object], lease: str) -> None:
    claim = await holding(place, b"j")
    await place.put("queue:q", [b"1"])
    if lease == "another token":
        claim = Claim(NODE, "stolen")
    else:
        _, (node,) = await place.store.nodes()
        assert await place.store.condemn(node, by_process=False)
        if lease == "none":
            await place.store.bury(NODE)
    before = await place.state()
    with pytest.raises(LostClaim) as caught:
        await attempt(place.store, claim)  # type: ignore[misc]  # object, as the parameter is
    assert caught.value.node_id == NODE
    assert await place.state() == before


@pytest.mark.parametrize(("holder", "left"), [("jid", {}), ("newer", {"unique:t": b"newer"})])
async def test_an_outcome_frees_the_lock_that_its_own_jid_holds(place: Place, holder: str, left: State) -> None:
    claim = await holding(place, b"j", b"k")
    await place.put("unique:t", holder.encode())
    await place.put("unique:other", b"jid")
    group = [attrs.evolve(done(b"j"), unlock=("t", "jid")), done(b"k")]
    assert await place.store.settle(claim, 1, group, NOW) == [True, True]
    assert await place.state() == {**settled("11"), **counted(2), "unique:other": b"jid", **left}


async def test_the_counters_of_a_day_and_of_a_second_expire(place: Place) -> None:
    claim = await holding(place, b"j")
    await place.store.settle(claim, 1, [Settlement("retry", "q", b"j", b"J", NOW, 1, 1)], NOW)
    for total, day, second in (PROCESSED, FAILED):
        assert await place.seconds_left(total) is None
        assert await place.seconds_left(day) == pytest.approx(5 * 365 * 86400, abs=60)
        assert await place.seconds_left(second) == pytest.approx(120, abs=60)


def test_the_keys_of_the_counters_are_those_of_sidekiq_and_exq() -> None:
    assert Keys("").stats(NOW) == PROCESSED + FAILED


async def dies(place: Place, claim: Claim) -> None:
    group = [Settlement("dead", "q", b"j", b"J", NOW, 1, 1)]
    assert await place.store.settle(claim, 1, group, NOW) == [True]


async def test_a_death_trims_the_oldest_beyond_the_number_kept(place: Place) -> None:
    claim = await holding(place, b"j")
    await place.put("dead", {b"%d" % age: NOW - age for age in range(1, 10)})
    await dies(place, claim)
    assert (await place.state())["dead"] == {b"J": NOW, **{b"%d" % age: NOW - age for age in range(1, DEAD_MAX)}}


async def test_a_death_trims_those_older_than_the_limit_and_keeps_the_one_at_it(place: Place) -> None:
    claim = await holding(place, b"j")
    at, beyond = NOW - DEAD_TIMEOUT, NOW - DEAD_TIMEOUT - 0.001
    await place.put("dead", {b"at": at, b"beyond": beyond, b"young": NOW - 1})
    await dies(place, claim)
    assert (await place.state())["dead"] == {b"J": NOW, b"at": at, b"young": NOW - 1}


@pytest.mark.parametrize("old", [0, 600, 2_000])
async def test_a_death_trims_at_most_a_thousand(place: Place, old: int) -> None:
    claim = await holding(place, b"j")
    dead = {b"old%d" % n: NOW - DEAD_TIMEOUT - 1 - n for n in range(old)}
    await place.put("dead", dead | {b"young%d" % n: NOW - 1 - n for n in range(2_000 - old)})
    await dies(place, claim)
    assert len((await place.state())["dead"]) == 1_001


async def test_only_a_death_trims(place: Place) -> None:
    claim = await holding(place, b"j")
    await place.put("dead", {b"%d" % age: NOW - age for age in range(10)})
    await place.store.settle(claim, 1, [done(b"j")], NOW)
    assert len((await place.state())["dead"]) == 10


# rename, unlock, backup


async def test_rename_replaces_what_is_there(place: Place) -> None:
    claim = await holding(place, b"3", b"1", b"2", b"1")
    await place.store.rename(claim, "q", [(b"1", b"one"), (b"gone", b"none"), (b"2", b"two")])
    assert await place.state() == {**FRESH, BACKUP: [b"two", b"one", b"3", b"1"]}


async def test_unlock_by_the_holder_frees_and_by_another_does_nothing(place: Place) -> None:
    await place.put("unique:t", b"jid")
    await place.store.unlock("t", "other")
    await place.store.unlock("none", "jid")
    assert await place.state() == {"unique:t": b"jid"}
    await place.store.unlock("t", "jid")
    assert await place.state() == {}


async def test_backup_shows_the_backup_queue_the_newest_first(place: Place) -> None:
    claim = await holding(place, b"2", b"1", b"1")
    assert await place.store.backup(claim, "q") == [b"2", b"1", b"1"]
    assert await place.store.backup(claim, "none") == []
    assert await place.state() == {**FRESH, BACKUP: [b"2", b"1", b"1"]}


# push


async def test_a_push_puts_every_job_in_its_place_in_the_order_of_the_call(place: Place) -> None:
    await place.put("queue:q", [b"0"])
    jobs = [
        Outgoing("q", b"1", "a"),
        Outgoing("p", b"2", "b"),
        Outgoing("later", b"3", "c", due=NOW + 0.654321),
        Outgoing("q", b"4", "d", lock=("t", 60)),
        Outgoing("q", b"4", "d"),
    ]
    assert await place.outbox.push(jobs) == {}
    assert await place.state() == {
        "queues": {b"q", b"p"},
        "queue:q": [b"4", b"4", b"1", b"0"],
        "queue:p": [b"2"],
        "schedule": {b"3": NOW + 0.654321},
        "unique:t": b"d",
    }
    assert await place.seconds_left("unique:t") == pytest.approx(60, abs=30)


async def test_ten_thousand_jobs_go_in_one_call(place: Place) -> None:
    payloads = [b"%d" % number for number in range(10_000)]
    assert await place.outbox.push([Outgoing("q", payload, payload.decode()) for payload in payloads]) == {}
    assert await place.state() == {"queues": {b"q"}, "queue:q": payloads[::-1]}


async def test_a_taken_lock_keeps_its_job_out_and_names_the_holder(place: Place) -> None:
    await place.put("unique:t", b"holder")
    jobs = [
        Outgoing("q", b"1", "a", lock=("t", 60)),
        Outgoing("q", b"2", "b"),
        Outgoing("q", b"3", "c", due=NOW, lock=("t", 60)),
        Outgoing("q", b"4", "d", due=NOW, lock=("new", 60)),
        Outgoing("q", b"5", "e", lock=("new", 60)),
    ]
    assert await place.outbox.push(jobs) == {0: "holder", 2: "holder", 4: "d"}
    assert await place.state() == {
        "queues": {b"q"},
        "queue:q": [b"2"],
        "schedule": {b"4": NOW},
        "unique:t": b"holder",
        "unique:new": b"d",
    }


async def test_a_lock_that_has_expired_is_free_and_its_old_holder_does_not_free_the_new_one(place: Place) -> None:
    claim = await claimed(place)
    assert await place.outbox.push([Outgoing("q", b"1", "old", lock=("t", 0.02))]) == {}
    await place.store.fetch(claim, "q", 1)
    await gone(place, "unique:t")
    assert await place.outbox.push([Outgoing("q", b"2", "new", lock=("t", 60))]) == {}
    await place.store.settle(claim, 1, [attrs.evolve(done(b"1"), unlock=("t", "old"))], NOW)
    assert (await place.state())["unique:t"] == b"new"
