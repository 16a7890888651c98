"""arq: ``arq benchmarks.peers.arq.WorkerSettings``."""

import asyncio
import contextlib

import arq
import uvloop
from arq.connections import RedisSettings

from . import driver

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
REDIS = RedisSettings.from_dsn(driver.URL)


async def noop(ctx, sent_ns):
    driver.mark(sent_ns)


class WorkerSettings:
    functions = (noop,)
    redis_settings = REDIS
    max_jobs = 100
    poll_delay = 0.01  # the default, 0.5, is all that it waits for when it is idle, and between batches
    keep_result = 0
    job_timeout = 2 if driver.SAFE else 300  # what a dead worker had is run again ten seconds after that
    log_results = False


@contextlib.asynccontextmanager
async def client():
    pool = await arq.create_pool(REDIS)

    async def enqueue(sent_ns):
        await pool.enqueue_job("noop", sent_ns)

    yield enqueue, None
    await pool.aclose()


if __name__ == "__main__":
    driver.main(client)
