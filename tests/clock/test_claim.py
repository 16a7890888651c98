"""A node that others took for dead: its jobs are theirs now, and it begins anew."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest
import trio

from exq_anyio import worker
from exq_anyio.errors import RedisUnavailable, WrongType
from exq_anyio.exchange import Claim
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import EPOCH, at, counted, lines, queue_and_backup, working


async def condemn(world: World, node_id: str = "host#1") -> None:
    """Take the node's claim, as another node would that has not heard of it for too long."""
    _, nodes = await MemoryStore(world).nodes()
    (node,) = (node for node in nodes if node.node_id == node_id)
    assert await MemoryStore(world).condemn(node, by_process=False)


async def test_a_node_beats_at_once_and_then_every_interval(world: World) -> None:
    async with working(world, heartbeat_interval=5):
        beats = []
        await trio.sleep(0.5)
        for _ in range(4):
            beats.append(world.sorted_sets["heartbeats"][b"host#1"] - EPOCH)
            assert world.hashes["host#1"]["beat"] == repr(EPOCH + beats[-1])
            await trio.sleep(5)
    assert beats == [0, 5, 10, 15]


async def test_a_lost_claim_stops_the_jobs_counts_nothing_and_the_node_claims_anew(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[tuple[float, str]] = []

    @worker
    async def lasts(seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
            ended.append((at(), "done"))
        except trio.Cancelled:
            ended.append((at(), "cancelled"))
            raise

    async with working(world, lasts) as site:
        jids = [await site.q.enqueue("q", lasts, [100]) for _ in range(2)]
        await trio.sleep(12)
        await condemn(world)
        # A job is on its way when it is found out; its payload is another's by then.
        await trio.sleep(20)
        assert ended[:2] == [(15, "cancelled")] * 2
        # The next beat found out, at 15 s.  Its old id is not free until somebody has put the jobs back; that was
        # ourselves, a beat later.
        assert site.node.claim.node_id == "host#2"
        assert lines(caplog, "claim lost") == ["claim lost, running jobs are stopped: node=host#1 jobs=2"]
        stopped = lines(caplog, "run stopped")
        assert sorted(stopped) == sorted(
            f"run stopped, another node has taken the job: jid={jid} worker=lasts" for jid in jids
        )
        assert counted(world) == (0, 0)
        assert len(site.node.performer.running) == 2
        assert queue_and_backup(world, node_id="host#1") == ([], [])
        await trio.sleep(120)
    assert counted(world) == (2, 0)
    assert len(ended) == 4


async def test_an_outcome_that_is_written_without_the_claim_is_said_once_and_counted_never(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    @worker
    async def lasts(seconds: float) -> None:
        await anyio.sleep(seconds)

    async with working(world, lasts, heartbeat_interval=30) as site:
        jid = await site.q.enqueue("q", lasts, [2])
        other = await site.q.enqueue("q", lasts, [50])
        await trio.sleep(1.25)
        await condemn(world)
        await trio.sleep(1)
        assert counted(world) == (0, 0)
        assert lines(caplog, "claim lost") == ["claim lost, running jobs are stopped: node=host#1 jobs=2"]
        assert lines(caplog, "outcome not counted") == [
            f"outcome not counted, the job is no longer ours: jid={jid} worker=lasts"
        ]
        assert lines(caplog, "run stopped") == [
            f"run stopped, another node has taken the job: jid={other} worker=lasts"
        ]
        assert len(world.lists["queue:backup::host#1::q"]) == 2


async def test_while_it_cannot_claim_anew_it_loses_nothing_again_and_claims_but_one_id(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[float] = []

    @worker
    async def quick() -> None:
        begun.append(at())

    async with working(world, quick) as site:
        await trio.sleep(1)
        refusals = [WrongType("memory", "host#2:lease", "string", "hash")] * 10
        site.store.refuse("claim", *refusals)
        await condemn(world)
        await trio.sleep(30)
        assert len(lines(caplog, "claim lost")) == 1
        assert world.sets["leases"] == {site.node.claim.node_id}
        await site.q.enqueue("q", quick)
        await trio.sleep(1)
    assert begun == [31]


async def test_a_claim_lost_during_an_outage_is_found_out_after_it(world: World) -> None:
    @worker
    async def lasts() -> None:
        await anyio.sleep(20)

    async with working(world, lasts) as site:
        await site.q.enqueue("q", lasts)
        await trio.sleep(1)
        site.store.away()
        await condemn(world)
        with pytest.raises(RedisUnavailable):
            await site.store.nodes()
        await trio.sleep(60)
        # It has ended at 20 s, and nobody may count it.
        assert len(site.node.performer.running) == 1
        site.store.back()
        await trio.sleep(60)
        # Put back by this node itself, and run once more under its new claim.
        assert counted(world) == (1, 0)
        assert world.sets["leases"] == {site.node.claim.node_id}
    assert queue_and_backup(world) == ([], [])


async def test_no_wait_lasts_so_long_that_it_could_outlive_the_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait = MemoryStore.wait

    async def noting(self: MemoryStore, claim: Claim, queue: str, seconds: float) -> bytes | None:
        waits.append(seconds)
        return await wait(self, claim, queue, seconds)

    monkeypatch.setattr(MemoryStore, "wait", noting)
    async with working(world, poll_timeout=3600, heartbeat_interval=5, missed_heartbeats_allowed=5):
        await trio.sleep(100)
    assert set(waits) == {15}


@pytest.mark.parametrize("when", ["at the start", "later"])
async def test_a_claim_whose_reply_was_lost_leaves_no_lease_behind(
    world: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another node is host#1, so that the claim that is lost is not the first one asked for.
    assert world.claim(Claim("host#1", "other"), {"pid": "1"})
    claim, lose, lost = MemoryStore.claim, [when == "at the start"], list[str]()

    async def losing(self: MemoryStore, asked: Claim, owner: Mapping[str, str]) -> bool:
        if lose[-1] and asked.node_id != "host#1":
            lost.append(asked.node_id)
            lose.append(False)
            self.lose_reply("claim")
            world.leave("host#1", "other")  # a lower number is free when it asks again
        return await claim(self, asked, owner)

    monkeypatch.setattr(MemoryStore, "claim", losing)
    async with working(world) as site:
        await trio.sleep(1)
        if when == "later":
            lose.append(True)
            await condemn(world, "host#2")
            await trio.sleep(30)
        assert lost == [site.node.claim.node_id]
        assert world.sets["leases"] == set(lost)
    assert world.sets["leases"] == set()
