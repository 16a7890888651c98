"""The library itself, measured as the others are: ``exq run benchmarks.peers.exq_anyio``."""

import contextlib

import exq_anyio as exq

from . import driver


@exq.worker
async def noop(sent_ns: int) -> None:
    """Leave a mark."""
    driver.mark(sent_ns)


@contextlib.asynccontextmanager
async def client():
    """What enqueues."""
    async with exq.open(url=driver.URL, mode="enqueuer") as q:

        async def enqueue(sent_ns):
            await q.push(noop.job(sent_ns))

        async def many(jobs):
            await q.enqueue_all([noop.job(0) for _ in range(jobs)])

        yield enqueue, many


if __name__ == "__main__":
    driver.main(client)
