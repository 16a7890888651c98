"""Which queues are worked on, and how many jobs of each at a time."""

from __future__ import annotations

import math

import anyio
import pytest

import exq_anyio as exq

from .scene import Scene, payload, until


class Gate:
    """A worker whose jobs wait until they are let through."""

    def __init__(self) -> None:
        self.started: list[object] = []
        self.ended: list[object] = []
        self.open = anyio.Event()

        @exq.worker(name="Gate")
        async def gate(number: int) -> None:
            self.started.append(number)
            await self.open.wait()
            self.ended.append(number)

        self.worker = gate


async def test_jobs_wait_while_no_worker_is_up(scene: Scene) -> None:
    gate = Gate()
    gate.open.set()
    async with scene.enqueuer() as q:
        for number in range(3):
            await q.enqueue("default", gate.worker, [number])
    assert len(await scene.queue()) == 3
    async with scene.open(gate.worker, concurrency=1):
        await until(lambda: len(gate.ended) == 3)
    assert gate.ended == [0, 1, 2]
    assert (await scene.queue(), await scene.count("processed")) == ([], 3)


async def test_two_queues_drain(scene: Scene) -> None:
    gate = Gate()
    gate.open.set()
    async with scene.open(gate.worker, queues=["a", "b"]) as q:
        for number in range(20):
            await q.enqueue("ab"[number % 2], gate.worker, [number])
        await until(lambda: len(gate.ended) == 20)
    assert (await scene.queue("a"), await scene.queue("b")) == ([], [])
    assert sorted(map(str, gate.ended)) == sorted(map(str, range(20)))


async def test_a_queue_can_be_taken_up_and_left_again_at_run_time(scene: Scene) -> None:
    gate = Gate()
    gate.open.set()
    async with scene.open(gate.worker, queues=["a"]) as q:
        await q.enqueue("new", gate.worker, [1])
        assert q.subscriptions() == {"a": 100}
        await q.subscribe("new", concurrency=10)
        assert q.subscriptions() == {"a": 100, "new": 10}
        await until(lambda: gate.ended == [1])
        await q.unsubscribe("new")
        assert q.subscriptions() == {"a": 100}
        await q.enqueue("new", gate.worker, [2])
        await q.enqueue("a", gate.worker, [3])
        await until(lambda: gate.ended == [1, 3])
        assert len(await scene.queue("new")) == 1
        await q.subscribe("new")
        await until(lambda: gate.ended == [1, 3, 2])
        await q.unsubscribe_all()
        assert q.subscriptions() == {}
        await q.enqueue_all([gate.worker.job(number).on(queue="a") for number in range(4, 6)])
        assert len(await scene.queue("a")) == 2
        # Nobody waits for a queue any more: only commands and signals keep a connection, and the heartbeat its own.
        await until(lambda: scene.connected(3))
    assert len(await scene.queue("a")) == 2


async def test_a_queue_that_is_taken_up_twice_is_worked_on_once_with_the_last_limit(scene: Scene) -> None:
    gate = Gate()
    async with scene.open(gate.worker, queues=["a"], concurrency=1) as q:
        await q.subscribe("a", concurrency=3)
        assert q.subscriptions() == {"a": 3}
        await q.enqueue_all([gate.worker.job(number).on(queue="a") for number in range(5)])
        await until(lambda: len(gate.started) == 3)
        assert len(await scene.queue("a")) == 2
        gate.open.set()
        await until(lambda: sorted(map(str, gate.ended)) == list("01234"))


async def test_what_is_not_taken_up_can_be_left_and_a_bad_name_or_limit_is_refused(scene: Scene) -> None:
    async with scene.open(Gate().worker, queues=[]) as q:
        await q.unsubscribe("never")
        await q.unsubscribe_all()
        with pytest.raises(exq.InvalidQueue):
            await q.subscribe("a\nb")
        with pytest.raises(exq.ConfigError, match=r"queues\.concurrency: must be 1 or more"):
            await q.subscribe("a", concurrency=0)
        assert q.subscriptions() == {}


async def test_the_third_job_waits_at_concurrency_two_while_another_queue_goes_on(scene: Scene) -> None:
    gate, quick = Gate(), Gate()
    quick.open.set()
    quick_worker = exq.worker(name="Quick")(quick.worker._function)
    async with scene.open(gate.worker, quick_worker, queues={"slow": 2, "fast": 1}) as q:
        await q.enqueue_all([gate.worker.job(number).on(queue="slow") for number in range(3)])
        await until(lambda: len(gate.started) == 2)
        await q.enqueue_all([quick_worker.job(number).on(queue="fast") for number in range(30)])
        await until(lambda: len(quick.ended) == 30)
        assert sorted(map(str, gate.started)) == ["0", "1"]
        assert len(await scene.queue("slow")) == 1
        assert len(await scene.backup(str(q.node_id), "slow")) == 2
        gate.open.set()
        await until(lambda: sorted(map(str, gate.ended)) == ["0", "1", "2"])


async def test_a_queue_without_a_limit_takes_all_there_is(scene: Scene) -> None:
    gate = Gate()
    async with scene.open(gate.worker, queues={"all": math.inf}) as q:
        await q.enqueue_all([gate.worker.job(number).on(queue="all") for number in range(1500)])
        await until(lambda: len(gate.started) == 1500)
        assert q.subscriptions() == {"all": math.inf}
        gate.open.set()
        await until(lambda: len(gate.ended) == 1500)


async def test_jobs_that_run_when_their_queue_is_left_end_and_count(scene: Scene) -> None:
    gate = Gate()
    async with scene.open(gate.worker) as q:
        await q.enqueue("default", gate.worker, [1])
        await until(lambda: gate.started == [1])
        await q.unsubscribe("default")
        gate.open.set()
        await until(lambda: scene.count("processed"))
        assert gate.ended == [1]
        assert await scene.backup(str(q.node_id)) == []


async def test_a_queue_that_is_paused_keeps_its_jobs_until_it_is_resumed(scene: Scene) -> None:
    gate = Gate()
    gate.open.set()
    await scene.redis.sadd(scene.key("paused"), ["default"])
    await scene.push("default", payload("Gate", 1))
    async with scene.open(gate.worker, queues=["default", "other"]) as q:
        await q.enqueue("other", gate.worker, [2])
        await until(lambda: gate.ended == [2])
        assert len(await scene.queue()) == 1
        await scene.redis.srem(scene.key("paused"), ["default"])
        await until(lambda: gate.ended == [2, 1])


async def test_an_idle_queue_starts_a_new_job_within_milliseconds_whatever_the_poll_timeout(scene: Scene) -> None:
    gate = Gate()
    gate.open.set()
    took: list[float] = []
    async with scene.open(gate.worker, poll_timeout=60) as q:
        with anyio.fail_after(30):
            for number in range(20):
                began = anyio.current_time()
                await q.enqueue("default", gate.worker, [number])
                while len(gate.ended) <= number:
                    await anyio.sleep(0.0005)
                took.append(anyio.current_time() - began)
    # A machine may be busy with others now and then; a queue that is looked at again takes a second each time.
    assert sorted(took)[5] < 0.5, took
