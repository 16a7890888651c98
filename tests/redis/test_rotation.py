"""Queues beyond those that have a connection of their own are looked at together."""

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
        with anyio.fail_after(20):
            await last.wait()


async def test_who_looks_for_the_others_may_leave() -> None:
    async def lengths(queues: list[str]) -> list[int]:
        return [int(queue == "b" and "a" not in queues) for queue in queues]

    rotation = Rotation(lengths)
    looker = anyio.CancelScope()

    async def look() -> None:
        with looker:
            await rotation.wait("a", 60)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(rotation.wait, "b", 60)
            await anyio.wait_all_tasks_blocked()
            looker.cancel()
