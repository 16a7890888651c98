"""When a silent node is dead, to the second, and what becomes of its jobs."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio
import msgspec
import pytest
import trio
import trio.testing

from exq_anyio import worker, worker_job
from exq_anyio.errors import RedisError
from exq_anyio.exchange import Beat, NodeSeen
from exq_anyio.job import Job
from exq_anyio.node.rescuer import finish_rescue
from exq_anyio.outcome import Policy
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import EPOCH, at, counted, elixir, lines, queue_and_backup, stranger, working


def job(jid: str, **fields: object) -> bytes:
    return msgspec.json.encode({"class": "quick", "args": [], "jid": jid, "queue": "q", **fields})


def left(world: World, node_id: str, *payloads: bytes) -> None:
    """The node's backup queue holds *payloads*, the newest first, and rescue looks there."""
    world.lists[f"queue:backup::{node_id}::q"].extend(payloads)
    world.sets["queues"].add("q")


@pytest.fixture
def ran() -> list[tuple[float, str]]:
    return []


@pytest.fixture
def quick(ran: list[tuple[float, str]]) -> object:
    @worker(name="quick")
    async def quick() -> None:
        ran.append((at(), worker_job().jid))

    return quick


async def test_a_node_is_dead_when_it_was_silent_for_longer_than_its_limit(
    world: World, quick: object, ran: list[tuple[float, str]], caplog: pytest.LogCaptureFixture
) -> None:
    await stranger(world, limit=30.0)
    left(world, "elsewhere#1", job("2"), job("1"))
    async with working(world, quick):
        await trio.sleep(60)
        # Looked at every five seconds from 5 s on; at 35 s seen unchanged for just 30, at 40 s for longer.
        assert ran == [(40, "1"), (40, "2")]
        assert lines(caplog, "node is dead") == [
            "node is dead, its jobs are back in their queues: node=elsewhere#1 jobs=2"
        ]
        assert world.sets["leases"] == {"host#1"}
        assert set(world.sorted_sets["heartbeats"]) == {b"host#1"}


async def test_an_old_score_alone_is_no_death(world: World, quick: object, ran: list[tuple[float, str]]) -> None:
    await stranger(world, limit=30.0)
    left(world, "elsewhere#1", job("1"))
    await trio.sleep(1000)
    # Silent for long by the server's clock; this node has to see it for itself all the same.
    async with working(world, quick):
        await trio.sleep(34)
        assert ran == []
        await trio.sleep(30)
    assert ran == [(1040, "1")]


async def test_seen_unchanged_for_long_is_no_death_by_the_servers_clock(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    # Its score lies in the future: the server's clock was set back.
    other = await stranger(world, limit=30.0)
    world.sorted_sets["heartbeats"][b"elsewhere#1"] = EPOCH + 100
    left(world, other.claim.node_id, job("1"))
    async with working(world, quick):
        await trio.sleep(130)
        assert ran == []
        await trio.sleep(30)
    assert ran == [(135, "1")]


async def test_after_an_outage_everybody_is_given_time_anew(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    await stranger(world, limit=30.0)
    left(world, "elsewhere#1", job("1"))
    async with working(world, quick) as site:
        await trio.sleep(33)
        site.store.away()
        await trio.sleep(3)
        site.store.back()
        await trio.sleep(100)
    # It was away from 33 to 36 s, and looked again at 41; at 71 s that is just 30 s ago.
    assert ran == [(76, "1")]


@pytest.mark.parametrize("hours", [1, -1])
async def test_after_a_failover_to_a_server_with_another_clock_nobody_robs_anybody(
    mock_clock: trio.testing.MockClock, quick: object, ran: list[tuple[float, str]], hours: int
) -> None:
    skew = [0.0]
    world = World(lambda: EPOCH + mock_clock.current_time() + skew[-1])
    other = await stranger(world, "elsewhere#1", limit=30.0)
    left(world, "elsewhere#1", job("1"))
    async with trio.open_nursery() as nursery, working(world, quick, heartbeat_interval=5) as site:
        nursery.start_soon(other.beat_every, 5)
        await trio.sleep(12)
        site.store.away()
        skew.append(hours * 3600.0)  # what is written there was written by the old clock
        await trio.sleep(1)
        site.store.back()
        await trio.sleep(200)
        assert (ran, site.node.claim.node_id, other.store.world.sets["leases"]) == (
            [], "host#1", {"host#1", "elsewhere#1"},
        )  # fmt: skip
        # Who beats no more by the new clock is dead by it.
        nursery.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await trio.sleep(60)
            assert [jid for _, jid in ran] == ["1"]


@pytest.mark.parametrize("hours", [1, -1])
async def test_who_is_silent_since_before_a_failover_is_not_taken_for_dead_by_the_clocks_alone(
    mock_clock: trio.testing.MockClock, quick: object, ran: list[tuple[float, str]], hours: int
) -> None:
    skew = [0.0]
    world = World(lambda: EPOCH + mock_clock.current_time() + skew[-1])
    await stranger(world, "elsewhere#1", limit=30.0)
    left(world, "elsewhere#1", job("1"))
    async with working(world, quick, heartbeat_interval=5) as site:
        await trio.sleep(12)
        site.store.away()
        skew.append(hours * 3600.0)
        await trio.sleep(1)
        site.store.back()
        await trio.sleep(25)
        assert ran == []  # an hour old, or in the future, by a clock that it was not written by
        await trio.sleep(4000)
        # Where the new clock is behind, it takes until that has caught up.
        ((at_second, _),) = ran
        assert at_second < 60 if hours == 1 else 3600 < at_second < 3700


async def test_exqs_nodes_get_six_minutes(world: World, quick: object, ran: list[tuple[float, str]]) -> None:
    await elixir(world)
    left(world, "elixir", job("1"))
    async with working(world, quick):
        await trio.sleep(500)
    assert ran == [(370, "1")]


async def test_a_node_that_beats_in_time_keeps_its_jobs(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    other = await stranger(world, limit=30.0)
    left(world, "elsewhere#1", job("1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.beat_every, 29)
        async with working(world, quick):
            await trio.sleep(1000)
        tasks.cancel_scope.cancel()
    assert ran == []


async def test_a_node_that_comes_back_at_the_last_moment_is_not_robbed(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    other = await stranger(world, limit=30.0)
    left(world, "elsewhere#1", job("1"))
    async with working(world, quick):
        condemn = world.condemn

        def beats_first(node_id: str, score: str, token: str) -> bool:
            world.beat(other.claim, Beat({}, []))
            return condemn(node_id, score, token)

        beats_first.__name__ = "condemn"
        world.condemn = beats_first  # type: ignore[method-assign]  # put between on purpose
        await trio.sleep(41)
        assert ran == []
        assert (await other.store.backup(other.claim, "q")) == [job("1")]
        await other.store.beat(other.claim, Beat({}, []))  # it still has its claim


async def test_a_node_without_a_heartbeat_is_not_taken_for_dead(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    await stranger(world)
    del world.sorted_sets["heartbeats"][b"elsewhere#1"]
    left(world, "elsewhere#1", job("1"))
    async with working(world, quick):
        await trio.sleep(1000)
    assert ran == []


async def test_a_rescue_that_its_rescuer_did_not_survive_is_finished_by_the_next(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    await stranger(world)
    left(world, "elsewhere#1", job("1"))
    world.hashes["elsewhere#1:lease"] = {"condemned": "1"}
    async with working(world, quick):
        await trio.sleep(6)
        assert ran == [(5, "1")]
        assert world.sets["leases"] == {"host#1"}


async def rescued(world: World, payload: bytes) -> None:
    """A node dies with *payload*, and is rescued, by a node that takes no jobs."""
    await stranger(world)
    left(world, "elsewhere#1", payload)
    world.hashes["elsewhere#1:lease"] = {"condemned": "1"}
    async with working(world, queues=[]):
        await trio.sleep(6)


async def test_a_rescued_job_says_how_often_and_when(world: World) -> None:
    await rescued(world, job("1", extra="kept"))
    (waiting,), _ = queue_and_backup(world)
    assert waiting == job("1", extra="kept", rescue_count=1, rescued_at=EPOCH + 5)


async def test_a_job_that_kills_its_node_again_and_again_is_dead(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    payload = job("killer", retry=5)
    for count in range(1, 4):
        await rescued(world, payload)
        (payload,), _ = queue_and_backup(world)
        assert msgspec.json.decode(payload)["rescue_count"] == count
        world.lists["queue:q"].clear()
    await rescued(world, payload)
    assert queue_and_backup(world) == ([], [])
    ((dead, score),) = world.sorted_sets["dead"].items()
    # Each of the four nodes looked five seconds after the one before had left after six.
    assert score == EPOCH + 18 + 5
    assert msgspec.json.decode(dead) == {
        "class": "quick", "args": [], "jid": "killer", "queue": "q", "retry": 5, "rescue_count": 4,
        "rescued_at": score, "error_class": "PoisonJob", "error_message": "its node died 4 times while it ran",
        "failed_at": score, "retry_count": 0,
    }  # fmt: skip
    assert lines(caplog, "job killed its node") == [
        "job killed its node 4 times, moved to dead: jid=killer worker=quick"
    ]
    assert counted(world) == (0, 0)


async def test_of_all_that_rescue_one_node_who_moves_a_job_tells_of_its_death(world: World) -> None:
    dead, told = await stranger(world), list[Job]()
    left(world, "elsewhere#1", job("killer", rescue_count=3, rescued_at=EPOCH), b"no job", job("other"))
    assert await dead.store.condemn(NodeSeen("elsewhere#1", "", {"token": dead.claim.token}), by_process=True)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(finish_rescue, MemoryStore(world), "elsewhere#1", Policy(), 3, told.append)

    assert [(one.jid, one.error_class, one.queue) for one in told] == [("killer", "PoisonJob", "q")]
    assert (len(world.lists["queue:q"]), len(world.sorted_sets["dead"])) == (1, 2)


async def test_a_job_dead_for_killing_its_node_frees_its_unique_lock(world: World) -> None:
    world.strings |= {"unique:mine": "killer", "unique:other": "somebody"}
    often: dict[str, Any] = {"rescue_count": 3, "rescued_at": EPOCH}
    await rescued(world, job("killer", unique_token="mine", **often))
    await rescued(world, job("late", unique_token="other", **often))
    assert len(world.sorted_sets["dead"]) == 2
    assert "unique:mine" not in world.strings
    assert world.strings["unique:other"] == "somebody"


@pytest.mark.parametrize(("ago", "count"), [(72 * 3600, 4), (72 * 3600 + 1, 1)])
async def test_rescues_add_up_within_72_hours(world: World, ago: int, count: int) -> None:
    # It is rescued five seconds after the epoch.
    await rescued(world, job("1", rescue_count=3, rescued_at=EPOCH + 5 - ago))
    waiting, dead = world.lists["queue:q"], list(world.sorted_sets["dead"])
    (payload,) = dead if count > 3 else waiting
    assert msgspec.json.decode(payload)["rescue_count"] == count


async def test_jobs_rescued_twice_run_with_no_other_such_job_beside_them(world: World) -> None:
    begun: list[tuple[float, str]] = []

    @worker
    async def ten_seconds(name: str) -> None:
        begun.append((at(), name))
        await anyio.sleep(10)

    def record(name: str, rescues: int) -> bytes:
        fields = {"class": "ten_seconds", "args": [name], "jid": name, "rescue_count": rescues, "rescued_at": EPOCH}
        return msgspec.json.encode(fields)

    async with working(world, ten_seconds) as site:
        twice = [record("a", 2), record("b", 2), record("c", 3)]
        world.lists["queue:q"].extend([record("once", 1), record("never", 0), *twice])
        world.notify()
        await trio.sleep(60)
        assert not site.node.performer.running
    assert sorted(begun[:3]) == [(0, "c"), (0, "never"), (0, "once")]
    assert begun[3:] == [(10, "b"), (20, "a")]


async def test_of_the_jobs_rescued_twice_only_the_one_that_ran_is_blamed(world: World) -> None:
    def record(name: str, rescues: int, **fields: object) -> bytes:
        return job(name, rescue_count=rescues, rescued_at=EPOCH, **fields)

    await stranger(world)
    left(world, "elsewhere#1", *(record(name, count) for name, count in (("a", 3), ("b", 2), ("killer", 3), ("c", 1))))
    world.hashes["elsewhere#1:lease"] = {"condemned": "1", "alone": "killer"}
    async with working(world, queues=[]):
        await trio.sleep(6)
    at_five = EPOCH + 5
    waiting, _ = queue_and_backup(world)
    assert sorted(waiting) == sorted([record("a", 3), record("b", 2), job("c", rescue_count=2, rescued_at=at_five)])
    ((dead, _),) = world.sorted_sets["dead"].items()
    assert (msgspec.json.decode(dead)["jid"], msgspec.json.decode(dead)["rescue_count"]) == ("killer", 4)


async def test_a_job_that_was_rescued_twice_says_that_it_runs_before_it_does(world: World) -> None:
    noted: list[str] = []

    @worker
    async def note() -> None:
        noted.append(world.hashes["host#1:lease"]["alone"])

    async with working(world, note) as site:
        assert world.hashes["host#1:lease"]["alone"] == ""
        fields = {"class": "note", "args": [], "rescued_at": EPOCH}
        payloads = [msgspec.json.encode({**fields, "jid": str(count), "rescue_count": count}) for count in range(4)]
        world.lists["queue:q"].extend(payloads)
        world.notify()
        await trio.sleep(1)
        assert not site.node.performer.running
    assert noted == ["", "", "3", "2"]


def condemned_and_cleared_away(world: World, node_id: str = "host#1") -> None:
    """Another node takes *node_id* for dead, and has nothing to put back."""
    assert world.condemn(node_id, "", "")
    assert world.leave(node_id, "")


async def test_a_job_that_comes_for_a_claim_that_is_lost_goes_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[float] = []

    @worker
    async def note() -> None:
        ran.append(at())

    async with working(world, note, heartbeat_interval=2, poll_timeout=6) as site:
        await trio.sleep(0.5)
        condemned_and_cleared_away(world)
        # The beat after two seconds finds out, and three seconds pass until there is a new claim.
        site.store.refuse("claim", *(RedisError("memory", "not now") for _ in range(3)))
        await trio.sleep(3.5)
        assert site.node.claim.token == ""
        await site.q.enqueue("q", note)
        await trio.sleep(0.1)
        assert (len(queue_and_backup(world)[0]), queue_and_backup(world)[1]) == (1, [])
        await trio.sleep(5)
    assert ran == [7]  # a poller without a claim looks each second
    assert counted(world) == (1, 0)
    assert lines(caplog, "job came for a claim") == ["job came for a claim that is lost, it goes back: queue=q"]
    assert lines(caplog, "outcome not counted") == []


async def test_what_comes_unseen_to_an_id_that_we_had_is_found(world: World) -> None:
    async with working(world, queues=[], heartbeat_interval=1) as site:
        await trio.sleep(0.5)
        condemned_and_cleared_away(world)
        other = await stranger(world, "host#1")
        await trio.sleep(4)
        assert site.node.claim.node_id == "host#2"
        assert world.leave("host#1", other.claim.token)
        left(world, "host#1", job("late"))
        await trio.sleep(2)
        (back,), _ = queue_and_backup(world)
        assert msgspec.json.decode(back)["jid"] == "late"


async def test_what_a_frozen_node_still_takes_when_it_wakes_is_put_back_though_it_dies_over_it(
    world: World, quick: object, ran: list[tuple[float, str]]
) -> None:
    # It was frozen between the answer to its fetch and the wait that it sent then, which asks for no claim.
    frozen = await stranger(world, limit=30.0)
    async with working(world, quick, queues=["other"]) as site:
        await trio.sleep(100)
        assert world.sets["leases"] == {"host#1"}
        world.sets["queues"].add("q")
        world.lists["queue:q"].append(job("1"))
        world.move(frozen.claim, "q")
        await trio.sleep(5)
        (back,) = world.lists["queue:q"]
        assert msgspec.json.decode(back)["jid"] == "1"
        assert world.lists["queue:backup::elsewhere#1::q"] == deque()
        # Who has the id by then keeps what it takes.
        again = await stranger(world)
        world.move(again.claim, "q")
        await trio.sleep(20)
        assert len(world.lists["queue:backup::elsewhere#1::q"]) == 1
        await trio.sleep(3800)
        assert site.node.rescues._former == {}
