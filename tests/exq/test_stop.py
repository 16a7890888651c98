"""The end of an instance: running jobs end or go back, and nothing of it is left anywhere."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import threading
import time
from functools import partial
from types import SimpleNamespace

import anyio
import pytest
import trio

import exq_anyio as exq
from exq_anyio import process
from exq_anyio.node import node

from .scene import Scene, but_counters, our_threads, payload, stops, until


class Sleeper:
    """A worker whose jobs sleep, and tell when they begin and end."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []

        @exq.worker(name="Sleep")
        async def sleep(seconds: float, name: str) -> None:
            self.started.append(name)
            try:
                await anyio.sleep(seconds)
            except anyio.get_cancelled_exc_class():
                self.cancelled.append(name)
                raise
            self.ended.append(name)

        self.worker = sleep


async def test_a_stop_waits_for_running_jobs_and_leaves_the_rest_in_the_queue(scene: Scene) -> None:
    started: list[str] = []
    ended: list[str] = []

    @exq.worker(name="Ends")
    async def ends(name: str) -> None:
        started.append(name)
        await until(lambda: stops(q))
        await anyio.sleep(0.05)
        ended.append(name)

    async with scene.open(ends, concurrency=2, shutdown_timeout=30) as q:
        await q.enqueue_all([ends.job(name) for name in "abcd"])
        await until(lambda: len(started) == 2)
    assert sorted(started) == sorted(ended) == ["a", "b"]
    assert await scene.count("processed") == 2
    assert len(await scene.queue()) == 2


async def test_a_long_job_goes_back_untouched_and_first_in_line_and_a_short_one_ends(scene: Scene) -> None:
    sleeper = Sleeper()
    long, other_long = payload("Sleep", 60, "long", field={"kept": 1.50}), payload("Sleep", 60, "other")
    waiting = payload("Sleep", 0, "waiting")

    @exq.worker(name="Short")
    async def short() -> None:
        sleeper.started.append("short")
        await until(lambda: stops(q))  # the stop has begun, and takes no job for the place that is free now
        sleeper.ended.append("short")

    began = time.monotonic()
    async with scene.open(sleeper.worker, short, concurrency=3, shutdown_timeout=1) as q:
        await scene.push("default", long, payload("Short"), other_long, waiting)
        await until(lambda: len(sleeper.started) == 3)
    assert time.monotonic() - began < 30
    assert (sleeper.ended, sorted(sleeper.cancelled)) == (["short"], ["long", "other"])
    queue = await scene.queue()
    assert sorted(queue[:2]) == sorted([long, other_long])
    assert queue[2:] == [waiting]
    assert (await scene.count("processed"), await scene.count("failed")) == (1, 0)
    assert await scene.scored("retry") == []


async def test_after_a_stop_only_jobs_and_counters_are_left(scene: Scene) -> None:
    sleeper = Sleeper()
    async with scene.open(sleeper.worker, concurrency=1, shutdown_timeout=0, heartbeat_interval=0.02) as q:
        node = str(q.node_id)
        await q.enqueue_all([sleeper.worker.job(*job) for job in ((0, "first"), (600, "second"), (600, "third"))])
        await until(lambda: works_on(scene, node, "second"))
        assert but_counters(await scene.keys()) == {
            "queues", "queue:default", f"queue:backup::{node}::default", "heartbeats", "processes", "leases",
            node, f"{node}:lease", f"{node}:taken", f"{node}:work", f"{node}:workers",
        }  # fmt: skip
    assert but_counters(await scene.keys()) == {"queues", "queue:default"}
    assert len(await scene.queue()) == 2


async def works_on(scene: Scene, node_id: str, name: str) -> bool:
    """Whether the node's entry says so."""
    return any(name in said for said in (await scene.hash(f"{node_id}:work")).values())


async def test_a_stop_ends_the_wait_for_a_job_on_the_server(scene: Scene) -> None:
    async with scene.open(Sleeper().worker, shutdown_timeout=0):
        await until(lambda: waits(scene))
    assert await scene.keys() == set()  # who had to cut it short would have left its traces


async def waits(scene: Scene) -> bool:
    return "blmove" in [client["cmd"] for client in await scene.redis.client_list()]


def tasks() -> int:
    """Tasks of this event loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


def children() -> set[str]:
    """Ids of the processes that this one has started, whatever their group."""
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,comm="], capture_output=True, text=True, check=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()]
    return {pid for parent, pid, name in rows if parent == str(os.getpid()) and name.strip() != "ps"}


async def test_after_a_stop_no_task_socket_thread_or_file_is_left(scene: Scene) -> None:
    sleeper = Sleeper()

    @exq.worker(name="Sync")
    def sync() -> None:
        time.sleep(0.01)

    async def work() -> None:
        async with scene.open(sleeper.worker, sync, heartbeat_interval=0.02, shutdown_timeout=0) as q:
            await q.enqueue_all([sleeper.worker.job(0, "short"), sleeper.worker.job(60, "long"), sync.job()])
            await until(lambda: counted(scene, 2))
            await until(our_threads)
            assert not await scene.connected(0)
        await scene.redis.flushall()

    await work()  # what is made once in a process is made now
    gc.collect()  # what other tests have left goes now too
    before = tasks(), len(os.listdir("/dev/fd")), children()
    await work()
    assert (tasks(), len(os.listdir("/dev/fd")), children()) == before
    assert our_threads() == {}
    await until(lambda: scene.connected(0))


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


@pytest.mark.parametrize("queues", [[], ["default"], ["a", "b", "c"]])
async def test_what_is_opened_and_closed_at_once_leaves_nothing(scene: Scene, queues: list[str]) -> None:
    for _ in range(10):
        async with scene.open(queues=queues):
            pass
        async with scene.enqueuer():
            pass
    assert await scene.keys() == set()
    await until(lambda: scene.connected(0))
    assert our_threads() == {}


async def test_an_embedded_server_is_gone_with_its_instance() -> None:
    sleeper = Sleeper()
    before = children()
    async with exq.open(url="embedded://", workers=[sleeper.worker]) as q:
        await q.enqueue("default", sleeper.worker, [0, "x"])
        await until(lambda: sleeper.ended == ["x"])
        assert len(children()) > len(before)
    assert children() == before


async def test_a_sync_job_ends_in_its_grace_like_any_other(scene: Scene) -> None:
    began = threading.Event()
    ended: list[str] = []

    @exq.worker(name="Sync")
    def sync() -> None:
        began.set()
        while not stops(q):
            time.sleep(0.001)
        time.sleep(0.05)
        ended.append("sync")

    async with scene.open(sync, shutdown_timeout=30) as q:
        await q.enqueue("default", sync)
        await until(began.is_set)
    assert ended == ["sync"]
    assert await scene.count("processed") == 1


async def test_a_job_whose_thread_does_not_end_stays_for_recovery_and_is_named(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "CLEANUP", 1.0)
    began, go_on = threading.Event(), threading.Event()

    @exq.worker(name="Stuck")
    def stuck() -> None:
        began.set()
        go_on.wait(60)

    try:
        async with scene.open(stuck, shutdown_timeout=0.05) as q:
            node_id = str(q.node_id)
            jid = await q.enqueue("default", stuck)
            await until(began.is_set)
    finally:
        go_on.set()
    assert len(await scene.backup(node_id)) == 1
    assert f"{node_id}:lease" in await scene.keys()
    assert [record for record in caplog.messages if jid in record and "stays for recovery" in record]
    await until(lambda: not our_threads())  # none is left to the next test


async def test_a_job_that_swallows_its_cancellation_and_ends_well_is_done(scene: Scene) -> None:
    started = anyio.Event()

    @exq.worker(name="Stubborn")
    async def stubborn() -> None:
        started.set()
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():  # as one must not, and many do
            return

    async with scene.open(stubborn, shutdown_timeout=0.05) as q:
        await q.enqueue("default", stubborn)
        await started.wait()
    assert (await scene.count("processed"), await scene.queue()) == (1, [])


async def test_a_job_that_fails_while_it_is_stopped_goes_back_uncounted(scene: Scene) -> None:
    started = anyio.Event()

    @exq.worker(name="Breaks")
    async def breaks() -> None:
        started.set()
        try:
            await anyio.sleep(60)
        finally:
            raise ValueError("on the way out")

    async with scene.open(breaks, shutdown_timeout=0.05) as q:
        await q.enqueue("default", breaks)
        before = await until(partial(scene.backup, str(q.node_id)))
        await started.wait()
    assert await scene.queue() == before
    assert (await scene.count("processed"), await scene.scored("retry")) == (0, [])


def test_the_last_resort_waits_while_jobs_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE", 0.2)
    left, began = threading.Event(), time.monotonic()
    served = process._Served(last_resort=left.set)
    named: list[float] = []
    node = SimpleNamespace(unburdened=began + 0.3, name_unended=lambda: named.append(time.monotonic()))
    served.node = node  # type: ignore[assignment]  # all that is asked of it
    served.time_out(0)
    assert left.wait(10)
    (at,) = named
    assert at - began >= 0.5


async def test_a_signal_in_redis_stops_the_node_which_leaves_the_instance_open(scene: Scene) -> None:
    began = anyio.Event()
    ended: list[str] = []

    @exq.worker(name="Ends")
    async def ends(name: str) -> None:
        began.set()
        await until(lambda: stops(q))
        await anyio.sleep(0.05)
        ended.append(name)

    async with scene.open(ends, shutdown_timeout=30) as q:
        node_id = str(q.node_id)
        await q.enqueue("default", ends, ["x"])
        await began.wait()
        await scene.redis.lpush(scene.key(f"{node_id}-signals"), ["TERM"])
        await until(lambda: lease_gone(scene, node_id))
        assert ended == ["x"]
        await q.enqueue("default", ends, ["later"])
    assert len(await scene.queue()) == 1


async def lease_gone(scene: Scene, node: str) -> bool:
    return f"{node}:lease" not in await scene.keys()
