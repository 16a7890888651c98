"""Redis goes away, by a crash, and comes back with what it kept: the worker waits and resumes, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.address import Address
from exq_anyio.node import node

from ..conftest import PrivateValkey
from .scene import PATIENT, Scene, records, until

KEEPS_EVERYTHING = ("--appendonly", "yes", "--appendfsync", "always")

StartValkey = Callable[..., PrivateValkey]


class Crash:
    """A worker whose jobs wait until they are let go."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.ended: list[int] = []
        self.go_on = anyio.Event()

        @exq.worker(name="Job")
        async def job(number: int) -> None:
            self.started.append(number)
            await self.go_on.wait()
            self.ended.append(number)

        self.worker = job


def scene_of(server: PrivateValkey, redis: coredis.Redis[bytes]) -> Scene:
    return Scene(server.url, redis, "outage")


def client_of(server: PrivateValkey) -> coredis.Redis[bytes]:
    return coredis.Redis(unix_socket_path=server.socket, decode_responses=False)


def settings(server: PrivateValkey) -> dict[str, object]:
    return {"url": server.url, "namespace": "outage", "redis_options": PATIENT, "scheduler_poll_timeout": 0.02}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Connecting, and a command, may take no longer while this block runs."""
    # Only here, where the server does not answer at all: elsewhere it may be slow to, on a busy machine.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Address, "connect_timeout", seconds)
        patch.setattr(Address, "timeout", seconds)
        yield


async def killed(server: PrivateValkey) -> None:
    """Kill the server, and return when its clients have seen that their connections are closed."""
    await anyio.to_thread.run_sync(server.kill)
    await anyio.wait_all_tasks_blocked()


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


async def test_a_worker_waits_for_redis_and_resumes_and_nothing_is_lost(
    private_valkey: StartValkey, caplog: pytest.LogCaptureFixture
) -> None:
    server, crash = private_valkey(*KEEPS_EVERYTHING), Crash()
    async with exq.open(settings(server), workers=[crash.worker], concurrency=2) as q:
        jids = [await q.enqueue("default", crash.worker, [number]) for number in range(4)]
        jids.append(await q.enqueue_in("default", 0.1, crash.worker, [4]))
        await until(lambda: len(crash.started) == 2)
        server.kill()
        crash.go_on.set()  # they end while Redis is away, and their outcomes wait
        await until(lambda: len(crash.ended) == 2)
        server.start()
        await until(lambda: len(crash.ended) == 5)
        async with client_of(server) as redis:
            scene = scene_of(server, redis)
            await until(partial(counted, scene, 5))
            assert len(jids) == 5
            assert await scene.backup(str(q.node_id)) == []
            assert (await scene.count("failed"), await scene.queue()) == (0, [])
        assert sorted(crash.ended) == sorted(crash.started) == [0, 1, 2, 3, 4]
    away, back = (line for line in caplog.messages if "Redis is" in line)
    assert away.startswith(f"Redis is away, waiting for it: error=Redis at unix://{server.socket}?db=0: ")
    assert back == f"Redis is back: address=unix://{server.socket}?db=0"


async def test_an_enqueue_meanwhile_says_that_nothing_was_sent_within_the_connect_timeout(
    private_valkey: StartValkey,
) -> None:
    server, crash = private_valkey(*KEEPS_EVERYTHING), Crash()
    crash.go_on.set()
    async with (
        exq.open(settings(server), workers=[crash.worker]) as q,
        exq.open(settings(server), workers=[], mode="enqueuer") as only,
    ):
        assert await q.enqueue("default", crash.worker, [0])
        assert await only.enqueue("default", "Job", [1])
        await until(lambda: len(crash.ended) == 2)
        await killed(server)
        with within(0.3):
            for instance in (q, only, q, only):
                with anyio.fail_after(20), pytest.raises(exq.RedisUnavailable) as away:
                    await instance.enqueue("default", "Job", [99])
                assert not away.value.maybe_done
                assert not isinstance(away.value, exq.EnqueueUncertain)
                assert server.socket in str(away.value)
        server.start()
        # An enqueue waits as long as connecting may take, and so bridges a short outage by itself.
        await until(partial(goes_in, only, 2))
        await until(partial(goes_in, q, 3))
        await until(lambda: len(crash.ended) == 4)
    assert sorted(crash.ended) == [0, 1, 2, 3]


async def goes_in(q: exq.Exq, number: int) -> bool:
    """Whether a job goes in; an uncertain one, which might then be there twice, is an error."""
    try:
        await q.enqueue("default", "Job", [number])
    except exq.EnqueueUncertain:
        raise
    except exq.RedisUnavailable:
        return False
    return True


async def test_a_blocked_wait_and_a_signal_survive_many_outages_each_told_once(
    private_valkey: StartValkey, caplog: pytest.LogCaptureFixture
) -> None:
    server, crash = private_valkey(*KEEPS_EVERYTHING), Crash()
    crash.go_on.set()
    often = 0.02  # the beat, which has a connection of its own, meets each outage too
    async with exq.open(
        settings(server), workers=[crash.worker], queues=["default", "other"], heartbeat_interval=often
    ) as q:
        for number in range(5):
            await killed(server)
            server.start()
            await until(partial(goes_in, q, number))
            await until(partial(ended_up_to, crash, number))
        async with client_of(server) as redis:
            await redis.lpush(f"outage:{q.node_id}-signals", ["TSTP"])
        await until(lambda: q.subscriptions() == {})
    assert sum("Redis is away" in line for line in caplog.messages) == 5


def ended_up_to(crash: Crash, number: int) -> bool:
    return crash.ended == list(range(number + 1))


async def test_a_stop_while_redis_is_away_takes_its_bounded_time_and_the_jobs_are_recovered(
    private_valkey: StartValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "CLEANUP", 1.0)
    server, crash = private_valkey(*KEEPS_EVERYTHING), Crash()
    async with exq.open(settings(server), workers=[crash.worker], shutdown_timeout=0.2) as q:
        node_id = str(q.node_id)
        await q.enqueue_all([crash.worker.job(number) for number in range(3)])
        await until(lambda: len(crash.started) == 3)
        server.kill()
        began = time.monotonic()
    assert time.monotonic() - began < 15  # about 1.3 s; a command that is not cut short would take a minute
    server.start()
    async with client_of(server) as redis:
        scene = scene_of(server, redis)
        taken, queue = await scene.backup(node_id), await scene.queue()
        assert sorted(job["args"] for job in records(taken + queue)) == [[0], [1], [2]]


async def test_a_server_that_hangs_is_noticed_and_nothing_runs_twice_or_is_lost(private_valkey: StartValkey) -> None:
    server, crash = private_valkey(*KEEPS_EVERYTHING), Crash()
    async with exq.open(settings(server), workers=[crash.worker], poll_timeout=0.2) as q:
        await q.enqueue_all([crash.worker.job(number) for number in range(20)])
        await until(lambda: len(crash.started) == 20)
        os.kill(server.pid, signal.SIGSTOP)
        crash.go_on.set()
        try:
            with within(1), pytest.raises(exq.RedisUnavailable):
                await q.enqueue("default", crash.worker, [99], jid="perhaps")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until(partial(goes_in, q, 20))
        async with client_of(server) as redis:
            scene = scene_of(server, redis)
            await until(lambda: {*range(21)} <= {*crash.ended})
            await until(partial(idle, scene, str(q.node_id)))
            ended = [number for number in crash.ended if number != 99]
            assert sorted(ended) == list(range(21))
            # The one that is uncertain ran once or not at all.
            assert crash.ended.count(99) <= 1
            assert await scene.count("processed") == len(crash.ended)


async def idle(scene: Scene, node_id: str) -> bool:
    keys = [scene.key("queue:default"), scene.key(f"queue:backup::{node_id}::default")]
    return not await scene.redis.exists(keys)  # both at once, as jobs go from one to the other, and back
