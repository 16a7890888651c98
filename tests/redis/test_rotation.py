"""Queues beyond those that have a connection of their own are looked at together."""

import time

import anyio
import coredis

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.rotation import Rotation


async def test_every_queue_is_worked_though_only_two_have_a_connection_to_wait_on(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    done: set[int] = set()
    last = anyio.Event()

    @exq.worker(name="Count")
    async def count(number: int) -> None:
        done.add(number)
        if len(done) == 20:
            last.set()

    queues = {f"q{number}": 1 for number in range(20)}
    async with exq.open(url=valkey.url, namespace=namespace, queues=queues, max_waiting_queues=2, workers=[count]) as q:
        for number, queue in enumerate(queues):
            await q.enqueue(queue, count, [number])
        with anyio.fail_after(10):
            await last.wait()


async def test_all_waits_share_one_look() -> None:
    looks: list[list[str]] = []
    full: set[str] = set()

    async def lengths(queues: list[str]) -> list[int]:
        looks.append(queues)
        return [int(queue in full) for queue in queues]

    rotation = Rotation(lengths)
    ended: dict[str, float] = {}

    async def wait(queue: str, seconds: float) -> None:
        started = time.monotonic()
        await rotation.wait(queue, seconds)
        ended[queue] = time.monotonic() - started

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(wait, f"q{number}", 1.0)
        while len(looks) < 3:
            await anyio.sleep(0.01)
        assert sorted(looks[2]) == sorted(f"q{number}" for number in range(50))
        full.add("q7")
        rotation.end("q8")
    assert ended.pop("q8") < 0.9
    assert ended.pop("q7") < 1.0
    assert all(1.0 <= seconds < 1.5 for seconds in ended.values())
    assert len(looks) <= 6


async def test_who_looks_for_the_others_may_leave() -> None:
    async def lengths(queues: list[str]) -> list[int]:
        return [int(queue == "b") for queue in queues]

    rotation = Rotation(lengths)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rotation.wait, "a", 0.1)
            await rotation.wait("b", 4.0)
