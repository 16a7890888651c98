"""Pausing, quieting, stopping and cancelling: on the wire, and how soon nodes obey."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.api import Api, BusyJob, Cancelled
from exq_anyio.errors import InvalidQueue
from exq_anyio.node import dequeuer

from ..exq.scene import Scene, until
from .conftest import NOW, Site, decoded, job

PROMPT = 10.0
"""Seconds within which every effect has to be there.  Whoever did not hear of it would look after 30, or 60."""


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes ask a paused queue again only when they are told to."""
    monkeypatch.setattr(dequeuer, "RECHECK", 60.0)


class Work:
    """A worker that notes what has begun and ended, and waits."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.release = anyio.Event()

    @property
    def worker(self) -> object:
        async def sleep(name: str) -> None:
            self.began.append(name)
            try:
                await self.release.wait()
            except BaseException:
                self.cancelled.append(name)
                raise

        return exq.worker(name="sleep")(sleep)


@asynccontextmanager
async def fleet(scene: Scene, work: Work, number: int = 3, **settings: object) -> AsyncIterator[list[exq.Exq]]:
    """Nodes ``host0#1`` and so on, all of them working on ``q``, and asking it only every 30 seconds."""
    async with AsyncExitStack() as stack:
        given = {"queues": ["q"], "poll_timeout": 30, "shutdown_timeout": 0.2, **settings}
        yield [
            await stack.enter_async_context(scene.open(work.worker, node_identifier=f"host{at}", **given))
            for at in range(number)
        ]


async def waiting(scene: Scene, number: int) -> None:
    """Return when that many nodes wait for a job."""

    async def enough() -> bool:
        clients = await scene.redis.client_list()
        return sum(client["cmd"] == "blmove" and "b" in client["flags"] for client in clients) == number

    await until(enough)


async def unblocked(scene: Scene) -> int:
    """How often a wait was ended on the server."""
    stats: dict[str, Any] = dict(await scene.redis.info("commandstats"))
    return int(stats.get("cmdstat_client|unblock", {"calls": 0})["calls"])


# On the wire


async def test_a_signal_to_a_node_that_is_not_there_is_not_sent(site: Site) -> None:
    for act in (site.api.quiet, site.api.stop):
        assert await act("gone#1") == []
        assert await act() == []
    assert await site.api.cancel("none") == Cancelled(nodes=(), running_on=())
    assert await site.state() == {}


@pytest.mark.parametrize(("act", "signal"), [("quiet", b"TSTP"), ("stop", b"TERM")])
async def test_a_signal_is_sent_as_sidekiq_sends_it(site: Site, act: str, signal: bytes) -> None:
    await site.put(processes={b"vm:28795:000d11a0dd6f", b"vm"}, leases={b"host#1"})
    await site.put_at("vm:28795:000d11a0dd6f", {b"busy": b"0"})
    await site.put_at("vm", {b"busy": b"0"})
    await site.put_at("host#1:lease", {b"token": b"t"})
    before = await site.state()
    assert await getattr(site.api, act)("vm") == ["vm"]
    assert await getattr(site.api, act)() == ["host#1", "vm", "vm:28795:000d11a0dd6f"]
    assert await site.state() == {
        **before, "vm-signals": [signal, signal], "host#1-signals": [signal], "vm:28795:000d11a0dd6f-signals": [signal],
    }  # fmt: skip
    assert 30 < await site.redis.ttl(site.key("vm-signals")) <= 60


async def test_signals_that_are_ours_alone_go_to_no_other_program(site: Site) -> None:
    # Sidekiq kills itself with a signal that it does not know.
    await site.put(processes={b"vm:1:a", b"vm"}, leases={b"host#1"})
    await site.put_at("vm:1:a", {b"busy": b"1"})
    await site.put_at("vm:1:a:work", {b"t1": json.dumps({"queue": "q", "payload": job("a").decode()}).encode()})
    await site.put_at("vm", {b"busy": b"1"})
    payload = {"host": "vm", "pid": "#PID<0.162.0>", "queue": "q", "payload": job("a").decode(), "run_at": NOW}
    await site.put_at("vm:workers", {b"#PID<0.162.0>": json.dumps(payload).encode()})
    await site.put_at("host#1:lease", {b"token": b"t"})
    before = await site.state()
    assert await site.api.pause("q") == ["host#1"]
    assert await site.api.resume("q") == ["host#1"]
    assert await site.api.cancel("a") == Cancelled(nodes=("host#1", "vm"), running_on=("vm", "vm:1:a"))
    assert await site.api.cancel("b") == Cancelled(nodes=("host#1",), running_on=())
    after = await site.state()
    (exqs,) = after.pop("vm-signals")
    assert after == {**before, "host#1-signals": [b"CANCEL b", b"CANCEL a", b"RESUME q", b"PAUSE q"]}
    word, _, rest = exqs.partition(b":")
    assert (word, json.loads(rest)) == (b"CANCEL", {"jid": "a", "pid": "#PID<0.162.0>"})


async def test_signals_of_another_type_hide_no_node(site: Site) -> None:
    await site.put(leases={b"host#1", b"host#2"})
    for number in (1, 2):
        await site.put_at(f"host#{number}:lease", {b"token": b"t"})
    await site.put_at("host#1-signals", b"text")
    assert await site.api.pause("q") == ["host#2"]


# Pause and resume


async def test_a_paused_queue_is_marked_until_it_is_resumed(site: Site) -> None:
    await site.api.pause("q")
    await site.api.pause("q")
    assert await site.state() == {"paused": {b"q"}}
    await site.api.resume("q")
    await site.api.resume("q")
    assert await site.state() == {}
    with pytest.raises(InvalidQueue):
        await site.api.pause("")


async def test_nodes_that_wait_for_jobs_take_none_of_a_paused_queue_and_take_them_when_it_is_resumed(
    scene: Scene,
) -> None:
    work = Work()
    async with fleet(scene, work) as nodes:
        api = nodes[0].api
        await waiting(scene, 3)
        assert await api.pause("q") == ["host0#1", "host1#1", "host2#1"]
        with anyio.fail_after(PROMPT):
            await waiting(scene, 0)
        await nodes[0].enqueue("q", "sleep", ["a"])
        await nodes[1].enqueue("q", "sleep", ["b"])
        assert (await api.queue("q")).size == 2
        # Every node has asked, and was told that the queue is paused.
        assert work.began == []
        await api.resume("q")
        await until(lambda: sorted(work.began) == ["a", "b"], PROMPT)
        await waiting(scene, 3)


async def test_resuming_wakes_nodes_at_once(scene: Scene) -> None:
    work = Work()
    async with fleet(scene, work, 1) as (q,):
        for number in range(5):
            work.began.clear()
            await waiting(scene, 1)
            await q.api.pause("q")
            await waiting(scene, 0)
            await q.enqueue("q", "sleep", [str(number)])
            await q.api.resume("q")
            await until(lambda: work.began, PROMPT)


async def test_a_pause_that_is_taken_back_at_once_leaves_nodes_working(scene: Scene) -> None:
    work = Work()
    async with fleet(scene, work, 2) as (one, two):
        before = await unblocked(scene)
        for number in range(20):
            await one.api.pause("q")
            await one.api.resume("q")
            await one.enqueue("q", "sleep", [str(number)])
        await until(lambda: len(work.began) == 20, PROMPT)
        # The signals are all obeyed, and none unblocks more than the wait that it met: another one is heard.
        assert await unblocked(scene) - before <= 2 * 2 * 20 * 2
        assert await one.api.quiet("host1#1") == ["host1#1"]
        await until(lambda: not two.subscriptions(), PROMPT)


async def test_other_queues_go_on_while_one_is_paused(scene: Scene) -> None:
    work = Work()
    async with fleet(scene, work, 1, queues=["q", "other"]) as (q,):
        await waiting(scene, 2)
        await q.api.pause("q")
        await waiting(scene, 1)
        await q.enqueue("q", "sleep", ["paused"])
        await q.enqueue("other", "sleep", ["goes on"])
        await until(lambda: work.began == ["goes on"])


async def test_a_node_that_starts_later_keeps_to_the_pause(scene: Scene) -> None:
    work = Work()
    async with scene.open(mode=("api", "enqueuer")) as q:
        await q.api.pause("q")
        await q.enqueue("q", "sleep", ["a"])
        async with fleet(scene, work, 1):
            await until(lambda: q.api.nodes())
            assert (await q.api.queue("q")).size == 1
            await q.api.resume("q")
            await until(lambda: work.began == ["a"])


# Quiet and stop


async def test_one_node_is_quieted_and_another_stopped_at_once(scene: Scene) -> None:
    work = Work()
    async with fleet(scene, work, 3) as (one, two, three):
        await waiting(scene, 3)
        await one.api.quiet("host1#1")
        await one.api.stop("host2#1")
        await until(lambda: not two.subscriptions() and not three.subscriptions(), PROMPT)
        assert one.subscriptions() == {"q": 100}
        await waiting(scene, 1)


async def test_all_nodes_are_quieted(scene: Scene) -> None:
    work = Work()
    async with fleet(scene, work, 3) as nodes:
        assert await nodes[0].api.quiet() == ["host0#1", "host1#1", "host2#1"]
        await until(lambda: not any(node.subscriptions() for node in nodes), PROMPT)


# Cancel


async def cancelled(api: Api) -> list[dict[str, object]]:
    return [decoded(entry.payload) async for entry in api.dead()]


@pytest.mark.parametrize("signal", ["ours", "exq's"])
async def test_a_running_job_is_cancelled_wherever_it_runs(scene: Scene, signal: str) -> None:
    work = Work()
    async with fleet(scene, work, 3, concurrency=1) as nodes:
        jids = [await nodes[0].enqueue("q", "sleep", [str(number)]) for number in range(3)]
        await until(lambda: len(work.began) == 3)
        if signal == "ours":
            told = await nodes[0].api.cancel(jids[1])
            assert told.nodes == ("host0#1", "host1#1", "host2#1")
        else:
            text = "CANCEL:" + json.dumps({"jid": jids[1], "pid": "#PID<0.162.0>"})
            for number in range(3):
                await scene.redis.lpush(scene.key(f"host{number}#1-signals"), [text])
        await until(lambda: _dead(nodes[0].api, 1), PROMPT)
        assert work.cancelled == ["1"]
        (record,) = await cancelled(nodes[0].api)
        assert (record["jid"], record["error_class"], record["error_message"], record["retry_count"]) == (
            jids[1], "JobCancelled", "Canceled", 0,
        )  # fmt: skip
        stats = await nodes[0].api.stats()
        assert (stats.processed, stats.failed, stats.retry, stats.enqueued) == (1, 1, 0, 0)
        # The slot is free again.
        await nodes[0].enqueue("q", "sleep", ["next"])
        await until(lambda: work.began[3:] == ["next"])


async def _dead(api: Api, number: int) -> bool:
    return await api.dead().size() == number


async def test_a_cancelled_job_that_waits_in_a_thread_is_dead_at_once(scene: Scene) -> None:
    release, began = threading.Event(), threading.Event()

    def block(name: str) -> None:
        began.set()
        release.wait(20)

    async with scene.open(exq.worker(name="block")(block), queues=["q"], shutdown_timeout=0.2) as q:
        try:
            jid = await q.enqueue("q", "block", ["a"])
            await until(began.is_set)
            await q.api.cancel(jid)
            await until(lambda: _dead(q.api, 1), PROMPT)
        finally:
            release.set()


async def test_a_job_may_end_otherwise_when_it_is_cancelled(scene: Scene) -> None:
    began = anyio.Event()

    async def stubborn() -> exq.Snooze:
        began.set()
        with anyio.CancelScope(shield=True), anyio.move_on_after(0.05):
            await anyio.sleep_forever()
        return exq.Snooze(1000)

    async with scene.open(exq.worker(name="stubborn")(stubborn), queues=["q"]) as q:
        jid = await q.enqueue("q", "stubborn", [])
        await began.wait()
        await q.api.cancel(jid)
        await until(lambda: _scheduled(q.api))
        assert (await q.api.stats()).dead == 0


async def _scheduled(api: Api) -> bool:
    return await api.scheduled().size() == 1


@pytest.mark.parametrize(
    "signal", ["CANCEL", "CANCEL:", "CANCEL:{", "CANCEL:[1]", "CANCEL:{}", 'CANCEL:{"jid":7}', "PAUSE", "?", ""]
)
async def test_a_signal_that_nobody_understands_stops_nothing(scene: Scene, signal: str) -> None:
    work = Work()
    async with fleet(scene, work, 1) as (q,):
        jid = await q.enqueue("q", "sleep", ["a"])
        await until(lambda: work.began == ["a"])
        await scene.redis.lpush(scene.key("host0#1-signals"), [signal])
        await q.api.cancel("another")
        await q.api.cancel(jid)
        await until(lambda: _dead(q.api, 1))


# What is busy


async def test_running_jobs_are_shown_by_node_once_each(scene: Scene) -> None:
    work = Work()
    # None is to take the other for dead, should both be held up for a while.
    often = {"heartbeat_interval": 0.05, "missed_heartbeats_allowed": 1_000}
    async with fleet(scene, work, 2, concurrency=1, **often) as nodes:
        jids = [await nodes[0].enqueue("q", "sleep", [str(number)]) for number in range(2)]
        await until(lambda: len(work.began) == 2)
        busy = await until(lambda: _busy(nodes[0].api, 2))
        assert [one.node_id for one in busy] == ["host0#1", "host1#1"]
        assert {one.jid for one in busy} == set(jids)
        assert all(one.queue == "q" and one.worker == "sleep" and one.started is not None for one in busy)
        assert all(one.job is not None and one.job.payload == one.payload for one in busy)
        told = await nodes[1].api.cancel(jids[0])
        assert told.running_on == tuple(one.node_id for one in busy if one.jid == jids[0])


async def _busy(api: Api, number: int) -> list[BusyJob]:
    busy = await api.busy()
    return busy if len(busy) == number else []
