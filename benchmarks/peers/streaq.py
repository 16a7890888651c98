"""streaq on asyncio with uvloop: ``streaq run benchmarks.peers.streaq:worker``."""

import contextlib
import os

from streaq import Worker

from . import driver

TRIO = os.environ.get("BENCH_BACKEND") == "trio"
worker = Worker(
    redis_url=driver.URL,
    concurrency=100,
    idle_timeout=5 if driver.SAFE else 60,  # seconds until what a dead worker had is taken back
    anyio_backend="trio" if TRIO else "asyncio",
    anyio_kwargs={} if TRIO else {"use_uvloop": True},
)


@worker.task(ttl=0)
async def noop(sent_ns: int) -> None:
    driver.mark(sent_ns)


@contextlib.asynccontextmanager
async def client():
    async def enqueue(sent_ns):
        await noop.enqueue(sent_ns)

    async def many(jobs):
        await worker.enqueue_many([noop.enqueue(0) for _ in range(jobs)])

    async with worker:
        yield enqueue, many


if __name__ == "__main__":
    driver.main(client)
