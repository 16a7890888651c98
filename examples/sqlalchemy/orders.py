"""Jobs that use a database, whose pool is smaller than the concurrency: they have a queue with a limit of its own.

::

    pip install "exq-anyio[embedded]" "sqlalchemy[asyncio]" aiosqlite
    python examples/sqlalchemy/orders.py

A job that waits for a connection holds its slot, and fails when the pool's patience is over.  So a queue of jobs that
use the database gets no more slots than the pool has connections; all other queues keep theirs.
"""

import os
import tempfile

import anyio
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import exq_anyio as exq

POOL = 3
directory = tempfile.TemporaryDirectory()
# A pool that gives up at once shows that nobody ever waits for it.
engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.path.join(directory.name, 'shop')}", pool_size=POOL, max_overflow=0, pool_timeout=0.01
)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """Of all tables."""


class Invoice(Base):
    """An order has at most one, so that a job that runs twice does no harm."""

    __tablename__ = "invoices"
    order: Mapped[int] = mapped_column(primary_key=True)


all_done = anyio.Event()


async def count(session: AsyncSession) -> int:
    """How many orders have an invoice."""
    return await session.scalar(select(func.count()).select_from(Invoice)) or 0


@exq.worker(queue="database")
async def invoice(order: int) -> None:
    """One transaction, which is committed before the job is done."""
    async with Session.begin() as session:
        await session.execute(insert(Invoice).values(order=order).on_conflict_do_nothing())
        if await count(session) == 20:
            all_done.set()


async def main() -> None:
    """Twenty jobs share the connections."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with exq.open(url="embedded://", queues={"database": POOL, "default": 100}) as q:
        await q.enqueue_all(invoice.job(order) for order in range(20))
        with anyio.fail_after(10):
            await all_done.wait()
    async with Session() as session:
        print(f"{await count(session)} invoices with {POOL} connections")
    await engine.dispose()
    directory.cleanup()


if __name__ == "__main__":
    anyio.run(main)
