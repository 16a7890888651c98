"""A worker process.  The job that it is given enqueues another one, in the same trace."""

from collections.abc import AsyncIterator

import anyio
from tracing import trace_to_collector

import exq_anyio as exq
from exq_anyio.contrib.opentelemetry import instrument


@exq.resource
async def queues() -> AsyncIterator[exq.Exq]:
    """To enqueue with, from a job."""
    async with exq.open(instrument(mode="enqueuer")) as q:
        yield q


@exq.worker(queue="payments")
async def charge(order: int, *, q: exq.Exq = exq.given) -> None:
    """Stands for a call of the bank."""
    await q.push(receipt.job(order))


@exq.worker(queue="mail")
async def receipt(order: int) -> None:
    """Stands for a mail."""
    print(f"receipt of order {order}", flush=True)


def main(backend: str = "asyncio") -> None:
    """Work until SIGTERM; what is left to send is sent then."""
    trace_to_collector()
    anyio.run(exq.serve, instrument(queues=["payments", "mail"], resources=[queues]), backend=backend)


if __name__ == "__main__":
    main()
