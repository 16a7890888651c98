"""What only a real server refuses: a key of the wrong type, and whatever needs memory when there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import anyio
import coredis
import pytest

from exq_anyio.errors import RedisFull, WrongType
from exq_anyio.exchange import Beat, Claim, Fetched, Move, NodeSeen, Outgoing
from exq_anyio.metrics import Batch, Count, WorkerBatch
from exq_anyio.outcome import Settlement
from exq_anyio.redis.embedded import EmbeddedServer

from .places import InRedis, State, redis_place

NODE = "host#1"
NOW = 1_790_000_000.25
BACKUP, OTHER_BACKUP = f"queue:backup::{NODE}::q", f"queue:backup::{NODE}::p"
CLAIM = Claim(NODE, "token")

Step: TypeAlias = Callable[[InRedis], Awaitable[object]]

SETTLED = [
    Settlement("done", "q", b"1", processed=1),
    Settlement("retry", "q", b"2", b"2", NOW, 1, 1),
    Settlement("schedule", "q", b"3", b"3", NOW, 1),
    Settlement("dead", "q", b"4", b"4", NOW, 1, 1, unlock=("t", "jid")),
    Settlement("push_back", "p", b"5", b"5"),
]
MOVES = [Move(b"1", b"1", "q"), Move(b"2", b"2", "p"), Move(b"3", b"3", None)]
PUSHED = [
    Outgoing("q", b"1", "a"),
    Outgoing("p", b"2", "b", lock=("t", 60)),
    Outgoing("q", b"3", "c", due=NOW),
]

STEPS: dict[str, tuple[Step, dict[str, str]]] = {
    "fetch": (
        lambda place: place.store.fetch(CLAIM, "q", 5),
        {f"{NODE}:lease": "hash", "queue:q": "list", BACKUP: "list", "paused": "set"},
    ),
    "settle": (
        lambda place: place.store.settle(CLAIM, 1, SETTLED, NOW),
        {
            f"{NODE}:lease": "hash", BACKUP: "list", OTHER_BACKUP: "list", "queue:p": "list",
            "retry": "zset", "schedule": "zset", "dead": "zset", "unique:t": "string",
        },
    ),
    "rename": (
        lambda place: place.store.rename(CLAIM, "q", [(b"1", b"one")]),
        {f"{NODE}:lease": "hash", BACKUP: "list"},
    ),
    "unlock": (lambda place: place.store.unlock("t", "jid"), {"unique:t": "string"}),
    "due": (lambda place: place.store.due("retry", 5), {"retry": "zset"}),
    "promote": (
        lambda place: place.store.promote("retry", MOVES, NOW),
        {"retry": "zset", "dead": "zset", "queues": "set", "queue:q": "list", "queue:p": "list"},
    ),
    "trim_dead": (lambda place: place.store.trim_dead(5), {"dead": "zset"}),
    "claim": (
        lambda place: place.store.claim(Claim("host#2", "new"), {"pid": "1"}),
        {"host#2:lease": "hash", "leases": "set", "heartbeats": "zset"},
    ),
    "taking": (
        lambda place: place.store.taking(CLAIM, "q"),
        {f"{NODE}:lease": "hash", f"{NODE}:taken": "set"},
    ),
    "beat": (
        lambda place: place.store.beat(CLAIM, Beat({"busy": "1"}, [("a", b"A", b"AA")])),
        {f"{NODE}:lease": "hash", "leases": "set", "heartbeats": "zset"},
    ),
    "leave": (
        lambda place: place.store.leave(CLAIM),
        {f"{NODE}:lease": "hash", "leases": "set", "processes": "set", "heartbeats": "zset"},
    ),
    "nodes": (lambda place: place.store.nodes(), {"heartbeats": "zset", "leases": "set"}),
    "condemn": (
        lambda place: place.store.condemn(NodeSeen(NODE, "5", {"token": "token"}), by_process=False),
        {f"{NODE}:lease": "hash", "leases": "set", "heartbeats": "zset"},
    ),
    "rescue": (
        lambda place: place.store.rescue("dead#1", "q", MOVES, NOW),
        {
            "dead#1:lease": "hash", "queue:backup::dead#1::q": "list", "queue:q": "list",
            "dead": "zset", "queues": "set",
        },
    ),
    "push": (
        lambda place: place.outbox.push(PUSHED),
        {"queues": "set", "schedule": "zset", "queue:q": "list", "queue:p": "list", "unique:t": "string"},
    ),
}  # fmt: skip
"""Each step, and the keys that it touches with the type that each must have."""

READY: State = {
    f"{NODE}:lease": {b"token": b"token"},
    "leases": {NODE.encode()},
    "heartbeats": {NODE.encode(): 5.0},
    "queue:q": [b"waits"],
    BACKUP: [b"4", b"3", b"2", b"1"],
    OTHER_BACKUP: [b"5"],
    "queue:backup::dead#1::q": [b"3", b"2", b"1"],
    "retry": {b"1": 1.0, b"2": 2.0, b"3": 3.0},
    "dead": {b"%d" % number: 1.0 for number in range(9)},
}

CASES = [
    pytest.param(step, key, kind, id=f"{name} {key}")
    for name, (step, keys) in STEPS.items()
    for key, kind in keys.items()
]


async def prepare(place: InRedis, state: State) -> None:
    for key, held in state.items():
        await place.put(key, held)


@pytest.fixture
async def place(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> AsyncIterator[InRedis]:
    async with redis_place(valkey.socket, redis, namespace) as place:
        yield place


@pytest.mark.parametrize(("step", "key", "kind"), CASES)
async def test_a_key_of_another_type_is_named_and_nothing_is_changed(
    place: InRedis, step: Step, key: str, kind: str
) -> None:
    wrong: Any = [b"other"] if kind == "string" else b"other"
    await prepare(place, {**READY, key: wrong})
    before = await place.state()
    with pytest.raises(WrongType) as caught:
        await step(place)
    found = "list" if kind == "string" else "string"
    assert (caught.value.key, caught.value.expected, caught.value.found) == (f"{place.namespace}:{key}", kind, found)
    assert await place.state() == before


@pytest.mark.parametrize(
    ("key", "kind"), [("processes", "set"), (NODE, "hash"), (f"{NODE}:work", "hash"), (f"{NODE}:workers", "hash")]
)
async def test_a_node_lives_though_what_it_does_cannot_be_written(place: InRedis, key: str, kind: str) -> None:
    await prepare(place, {**READY, key: b"other"})
    before = await place.state()
    with pytest.raises(WrongType) as caught:
        await place.store.beat(CLAIM, Beat({"busy": "1"}, [("a", b"A", b"AA")]))
    assert (caught.value.key, caught.value.expected) == (f"{place.namespace}:{key}", kind)
    after = await place.state()
    assert after["heartbeats"][NODE.encode()] > before["heartbeats"][NODE.encode()]
    assert {**after, "heartbeats": 0} == {**before, "heartbeats": 0}


@pytest.mark.parametrize("key", ["j|20260921|14:13", "j|260921|14:1", "A-21-14:13"])
async def test_a_node_lives_and_counts_the_rest_though_somebody_broke_a_count(
    place: InRedis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    counts = ("j|20260921|14:13", "j|260921|14:1", "A-21-14:13")
    await prepare(place, {**READY, key: [b"other"]})
    for number in (1, 2):
        batch = Batch(number, NOW, "seconds", [WorkerBatch("A", Count(1, 0, 5), {0: 0x9000})])
        await place.store.beat(CLAIM, Beat({"busy": "1"}, [], batch))
    state = await place.state()
    assert state[key] == [b"other"]
    expected = {b"A|p": b"2", b"A|ms": b"10"}
    # A bucket that is full stays so.
    assert [state[other] for other in counts if other != key] == [
        held for other, held in zip(counts, (expected, expected, b"\xff\xff"), strict=True) if other != key
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"counter cannot count, rename or delete it: key='{place.namespace}:{key}'"
    ]


@pytest.mark.parametrize("name", sorted(STEPS))
async def test_the_same_steps_are_taken_when_every_type_is_right(place: InRedis, name: str) -> None:
    await prepare(place, READY)
    await STEPS[name][0](place)


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (lambda place: place.store.signal(CLAIM, 1), f"{NODE}-signals"),
        (lambda place: place.store.backup(CLAIM, "q"), BACKUP),
        (lambda place: place.store.left_page(NODE, "q", 5), BACKUP),
    ],
    ids=["signal", "backup", "left_page"],
)
async def test_a_plain_read_of_another_type_names_the_key_too(place: InRedis, step: Step, key: str) -> None:
    await place.put(key, b"other")
    with pytest.raises(WrongType) as caught:
        await step(place)
    assert (caught.value.key, caught.value.expected) == (f"{place.namespace}:{key}", "list")


async def test_a_counter_that_somebody_broke_undoes_no_outcome(place: InRedis) -> None:
    await prepare(place, READY)
    await place.put("stat:processed", [b"broken"])
    await place.put("stat:failed:2026-09-21", b"no number")
    assert await place.store.settle(CLAIM, 1, SETTLED[:2], NOW) == [True, True]
    state = await place.state()
    # The bytes are those of a job that is there already: both stay.
    assert (state[BACKUP], sorted(state["retry"].values()), state["stat:processed"]) == (
        [b"4", b"3"], [1.0, 2.0, 3.0, NOW], [b"broken"],
    )  # fmt: skip
    assert (state["stat:processed:2026-09-21"], state["stat:failed"]) == (b"2", b"1")


@pytest.mark.parametrize("key", ["broken:lease", "broken"])
async def test_a_node_whose_keys_are_broken_hides_no_other(place: InRedis, key: str) -> None:
    await prepare(place, READY)
    await place.put("heartbeats", {b"broken": 1.0})
    await place.put(key, b"other")
    _, nodes = await place.store.nodes()
    assert nodes == [NodeSeen("broken", "1", {}), NodeSeen(NODE, "5", {"token": "token"})]


async def test_a_backup_queue_of_another_type_hides_no_other(place: InRedis) -> None:
    await prepare(place, READY)
    await place.put("queues", {b"q", b"x"})
    await place.put("queue:backup::dead#1::x", b"other")
    assert await place.store.left_behind("dead#1") == {"q": 3}


# At maxmemory


Full: TypeAlias = Callable[[State], AbstractAsyncContextManager[InRedis]]


@pytest.fixture
def full(private_valkey: Callable[..., Any], namespace: str) -> Full:
    """A place of the given state on a server that then takes no more."""

    @asynccontextmanager
    async def fill(state: State) -> AsyncIterator[InRedis]:
        server = private_valkey("--maxmemory-policy", "noeviction")
        async with (
            coredis.Redis(unix_socket_path=server.socket, decode_responses=False) as redis,
            redis_place(server.socket, redis, namespace) as place,
        ):
            await prepare(place, state)
            await redis.config_set({"maxmemory": "1"})
            with pytest.raises(RedisFull):
                await place.outbox.push([Outgoing("q", b"1", "a")])
            yield place

    return fill


async def test_a_full_server_takes_no_job_and_no_lock(full: Full) -> None:
    async with full(READY) as place:
        before = await place.state()
        with pytest.raises(RedisFull):
            await place.outbox.push(PUSHED[1:])
        assert await place.state() == before


async def test_a_full_server_is_worked_off(full: Full) -> None:
    async with full(READY) as place:
        assert await place.store.fetch(CLAIM, "q", 5) == Fetched([b"waits"], 5)
        assert await place.store.settle(CLAIM, 1, SETTLED, NOW) == [True] * 5
        state = await place.state()
        assert state[BACKUP] == [b"waits"]
        assert (state["schedule"], state["queue:p"], sorted(state["retry"].values())) == (
            {b"3": NOW},
            [b"5"],
            [1.0, 2.0, 3.0, NOW],
        )
        assert state["stat:processed"] == b"4"


async def test_a_blocking_wait_on_a_full_server_takes_nothing_and_goes_on(full: Full) -> None:
    async with full({**READY, "queue:q": [b"waits"]}) as place:
        with anyio.fail_after(10):
            assert await place.store.wait(CLAIM, "q", 5) is None
        assert (await place.state())["queue:q"] == [b"waits"]


@pytest.mark.parametrize(
    "name",
    [
        "fetch",
        "settle",
        "rename",
        "promote",
        "trim_dead",
        "claim",
        "taking",
        "beat",
        "leave",
        "condemn",
        "rescue",
    ],
)
async def test_on_a_full_server_every_step_of_a_node_works(full: Full, name: str) -> None:
    async with full(READY) as place:
        before = await place.state()
        await STEPS[name][0](place)
        assert await place.state() != before
