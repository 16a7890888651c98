"""A primary that dies and the replica that takes its place, and a cluster whose slots move."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import attrs
import pytest

import exq_anyio as exq

from ..exq.scene import but_counters
from .servers import Server, cluster, watched

pytestmark = pytest.mark.slow

RESUMES_WITHIN = 15.0
"""Seconds from the promotion to the next jobs, of which a busy machine takes most."""


@attrs.define
class Work:
    """Jobs that note their runs, some of which fail at first."""

    begun: Counter[str] = attrs.field(factory=Counter)
    done: Counter[str] = attrs.field(factory=Counter)
    released: anyio.Event = attrs.field(factory=anyio.Event)
    """Lets those that `hold` end."""

    @property
    def workers(self) -> list[object]:
        @exq.worker(name="nap")
        async def nap(name: str, seconds: float) -> None:
            self.begun[name] += 1
            await anyio.sleep(seconds)
            self.done[name] += 1

        @exq.worker(name="hold")
        async def hold(name: str) -> None:
            self.begun[name] += 1
            await self.released.wait()
            self.done[name] += 1

        @exq.worker(name="flaky")
        async def flaky(name: str) -> exq.Snooze | None:
            self.begun[name] += 1
            if self.begun[name] == 1:
                raise ValueError("not yet")
            if self.begun[name] == 2:
                return exq.Snooze(0.05)
            self.done[name] += 1
            return None

        return [nap, hold, flaky]

    async def until_done(self, wanted: int, seconds: float = 60) -> None:
        with anyio.fail_after(seconds):
            while len(self.done) < wanted:
                await anyio.sleep(0.01)


def settings(work: Work, **more: Any) -> dict[str, Any]:
    given = {"workers": work.workers, "scheduler_poll_timeout": 0.05, "backoff": lambda job, error: 0.05}
    return {**given, "concurrency": 10, **more}


# Sentinel


async def test_work_goes_on_at_the_replica_that_is_promoted(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    with watched() as (primary, replica, sentinel):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/ours"
        names = [f"job-{number}" for number in range(600)]
        async with exq.open(settings(work, url=url, redis_options={"timeout": 10, "connect_timeout": 2})) as q:
            await q.enqueue_all([exq.JobSpec(worker="nap", args=(name, 0.1)) for name in names])
            await work.until_done(50)
            assert primary.client.wait(1, 5000) == 1
            primary.kill()
            sentinel.client.execute_command("SENTINEL FAILOVER", "ours")
            with anyio.fail_after(20):
                while sentinel.client.sentinel_get_master_addr_by_name("ours")[1] != replica.port:
                    await anyio.sleep(0.01)
            with anyio.fail_after(RESUMES_WITHIN):
                at_promotion = len(work.done)
                while len(work.done) < at_promotion + 20:
                    await anyio.sleep(0.01)
            jid = await q.enqueue("default", "nap", ["afterwards", 0])
            await work.until_done(len(names) + 1)
        assert jid
        assert set(work.done) == {*names, "afterwards"}
        # What was settled in the last moments may not have reached the replica: that, at most, is done again.
        assert sum(count > 1 for count in work.done.values()) <= 30
        assert replica.client.keys("exq:queue:*") == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# Cluster


@pytest.mark.parametrize("nodes", [1, 3])
async def test_everything_works_in_a_cluster_whichever_node_is_asked(nodes: int) -> None:
    with cluster(nodes) as servers:
        for server in servers:
            await _work_through(Work(), server)
        left = {key for server in servers for key in server.client.keys("*")}
        assert but_counters(left) == {"{exq}:queues"}


async def _work_through(work: Work, server: Server) -> None:
    """Jobs that succeed, fail, snooze, are scheduled and unique, on an instance that is told of *server* alone."""
    url = f"redis+cluster://127.0.0.1:{server.port}"
    often = {"heartbeat_interval": 0.1, "missed_heartbeats_allowed": 1000}
    async with exq.open(settings(work, url=url, namespace="{exq}", **often)) as q:
        for number in range(10):
            await q.enqueue("default", "flaky", [f"flaky-{number}"])
            await q.enqueue_in("default", 0.1, "nap", [f"later-{number}", 0])
        unique: dict[str, Any] = {"unique_for": 60, "unique_token": "one"}
        await q.enqueue("default", "hold", ["unique"], **unique)
        with pytest.raises(exq.Conflict):
            await q.enqueue("default", "nap", ["refused", 0], **unique)
        work.released.set()
        await work.until_done(21)
        again = exq.JobSpec(worker="nap", args=("again", 0)).on(jid="again", **unique)
        with anyio.fail_after(10):
            while await q.enqueue_all([again]) != ["again"]:
                await anyio.sleep(0.01)  # the lock is freed when the outcome is written
        await work.until_done(22)
    assert set(work.done.values()) == {1}
    assert "refused" not in work.begun


async def test_work_goes_on_at_the_node_that_the_slot_moves_to(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    names = [f"job-{number}" for number in range(300)]
    with cluster(3) as servers:
        url = f"redis+cluster://127.0.0.1:{servers[0].port}"
        async with exq.open(settings(work, url=url, namespace="{exq}")) as q:
            await q.enqueue_all([exq.JobSpec(worker="nap", args=(name, 0.1)) for name in names])
            await work.until_done(30)
            _move_slot(servers, int(servers[0].client.execute_command("CLUSTER KEYSLOT", "{exq}")))
            await work.until_done(300)
        assert set(work.done.values()) == {1}
        left = {key for server in servers for key in server.client.keys("*")}
        assert but_counters(left) == {"{exq}:queues"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def _move_slot(servers: list[Server], slot: int) -> None:
    """Move *slot*, with all its keys, to another node, as an operator does."""
    ids = [server.client.execute_command("CLUSTER MYID") for server in servers]
    owner = next(
        at for at, server in enumerate(servers) if server.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
    )
    to = (owner + 1) % len(servers)
    source, target = servers[owner].client, servers[to].client
    target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[owner])
    source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[to])
    while keys := source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        source.execute_command("MIGRATE", "127.0.0.1", servers[to].port, "", 0, 5000, "KEYS", *keys)
    for client in (target, source):
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[to])
