"""SAQ: ``saq --quiet benchmarks.peers.saq.settings``."""

import asyncio
import contextlib

import uvloop
from saq import Queue

from . import driver

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(driver.URL)
# What a sweep finds that has run for longer than its timeout is stuck; ttl -1: no result is kept.
OPTIONS = {"ttl": -1, **({"timeout": 5, "retries": 10} if driver.SAFE else {})}


async def noop(ctx, *, sent_ns):
    driver.mark(sent_ns)


settings = {
    "queue": queue,
    "functions": [noop],
    "concurrency": 100,
    "timers": {"sweep": 5} if driver.SAFE else {},
}


@contextlib.asynccontextmanager
async def client():
    await queue.connect()

    async def enqueue(sent_ns):
        await queue.enqueue("noop", sent_ns=sent_ns, **OPTIONS)

    yield enqueue, None
    await queue.disconnect()


if __name__ == "__main__":
    driver.main(client)
