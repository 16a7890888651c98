"""Jobs that use a database, whose pool is smaller than the concurrency: they have a queue with a limit of its own.

::

    pip install "exq-anyio[embedded]" "sqlalchemy[asyncio]" aiosqlite
    python examples/sqlalchemy/orders.py

A job that waits for a connection holds its slot, and fails when the pool's patience is over.  So the queue of such jobs
has as many slots as the pool has connections.  Each job is given a session.
"""

import os
import tempfile
from collections.abc import AsyncIterator

import anyio
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import exq_anyio as exq

POOL = 3


class Base(DeclarativeBase):
    """Of all tables."""


class Invoice(Base):
    """An order has at most one, so that a job that runs twice does no harm."""

    __tablename__ = "invoices"
    order: Mapped[int] = mapped_column(primary_key=True)


all_done = anyio.Event()


@exq.resource
async def engine() -> AsyncIterator[AsyncEngine]:
    """A pool that gives up at once, which shows that nobody ever waits for it."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{os.path.join(directory, 'shop')}"
        made = create_async_engine(url, pool_size=POOL, max_overflow=0, pool_timeout=0.01)
        async with made.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield made
        await made.dispose()


@exq.resource(per="job")
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """One transaction, which is committed before the job is done, and rolled back if it fails."""
    async with AsyncSession(engine) as made, made.begin():
        yield made


@exq.worker(queue="database")
async def invoice(order: int, *, session: AsyncSession = exq.given) -> None:
    """Store that an order has an invoice."""
    await session.execute(insert(Invoice).values(order=order).on_conflict_do_nothing())
    count = await session.scalar(select(func.count()).select_from(Invoice))
    print(f"{count} of 20 invoices, with {POOL} connections")
    if count == 20:
        all_done.set()


async def main() -> None:
    """Twenty jobs share the connections."""
    async with exq.open(url="embedded://", queues={"database": POOL}, resources=[engine, session]) as q:
        await q.enqueue_all(invoice.job(order) for order in range(20))
        with anyio.fail_after(10):
            await all_done.wait()


if __name__ == "__main__":
    anyio.run(main)
