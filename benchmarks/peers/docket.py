"""pydocket: its worker in a program of a few lines, so that it runs on uvloop."""

import asyncio
import contextlib
import sys
from datetime import timedelta

import uvloop
from docket import Docket, Worker

from . import driver

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def noop(sent_ns: int) -> None:
    driver.mark(sent_ns)


def docket():
    # redis-py lets a pool have a hundred connections, fewer than a hundred tasks need: most jobs would fail.
    return Docket(name="bench", url=f"{driver.URL}?max_connections=1000", execution_ttl=timedelta(0))


async def work():
    async with docket() as taken:
        taken.register(noop)
        async with Worker(
            taken,
            concurrency=100,
            minimum_check_interval=timedelta(milliseconds=2),
            redelivery_timeout=timedelta(seconds=5) if driver.SAFE else timedelta(minutes=5),
        ) as worker:
            await worker.run_forever()


@contextlib.asynccontextmanager
async def client():
    async with docket() as into:
        into.register(noop)

        async def enqueue(sent_ns):
            await into.add(noop)(sent_ns)

        async def many(jobs):
            await into.add_many([into.call(noop)(0) for _ in range(jobs)])

        yield enqueue, many


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        asyncio.run(work())
    else:
        driver.main(client)
