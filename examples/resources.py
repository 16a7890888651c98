"""What jobs need beside their arguments: one pool of connections for the process, a transaction for each job.

::

    pip install "exq-anyio[embedded]"
    python examples/resources.py
"""

from collections.abc import AsyncIterator

import anyio

import exq_anyio as exq

opened: list["Pool"] = []
paid: list[int] = []
all_paid = anyio.Event()


class Pool:
    """Stands for the connections to a database."""


class Transaction:
    """Stands for one transaction: what is written is there when it is committed."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.written: list[int] = []


@exq.resource
async def pool() -> AsyncIterator[Pool]:
    """Opened before the first job is taken, closed after the last one."""
    opened.append(Pool())
    yield opened[-1]


@exq.resource(per="job")
async def transaction(pool: Pool) -> AsyncIterator[Transaction]:
    """Begun inside the middleware of the job; a job that fails raises at the ``yield``, and nothing is committed."""
    begun = Transaction(pool)
    yield begun
    paid.extend(begun.written)
    if len(paid) == 3:
        all_paid.set()


@exq.worker(max_retries=1, backoff=lambda job, error: 0)
async def pay(order: int, *, transaction: Transaction = exq.given) -> None:
    """What is given has only a name, and no place among the arguments: ``pay.job(7)``."""
    transaction.written.append(order)
    if exq.worker_job().retry_count is None:
        raise ConnectionError("fails the first time, and is rolled back")


async def main() -> None:
    """Pay three orders."""
    settings = {"resources": [pool, transaction], "scheduler_poll_timeout": 0.05}
    async with exq.open(url="embedded://", **settings) as q:
        await q.enqueue_all(pay.job(order) for order in (7, 8, 9))
        with anyio.fail_after(10):
            await all_paid.wait()
    print(f"{len(paid)} orders paid with {len(opened)} pool")


if __name__ == "__main__":
    anyio.run(main)
