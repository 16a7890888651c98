"""The engine as a contender: the library itself, with the same jobs, middlewares and concurrency as ``sketch.py``.

To run it alone, on a private server (it prints one JSON object)::

    python -m benchmarks.engine --jobs 50000 --backend asyncio|uvloop|trio
"""

import contextlib
import time
from collections.abc import AsyncIterator

import anyio
import coredis

import exq_anyio as exq

from .contender import NAMESPACE, PROCESSED, fill, latency_figures, main

CONCURRENCY = 100
DEADLINE = 120.0
"""Seconds after which a run has failed."""
POLL = 0.005
"""Seconds between two looks at the server's count: the error of the measured time."""


class Countdown:
    """Counts performed jobs; the event is set by the last one."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.reached = anyio.Event()

    def count(self) -> None:
        """Note that one more was performed."""
        self.left -= 1
        if not self.left:
            self.reached.set()


delays_ns: list[int] = []
countdown: Countdown


@exq.worker(name="Noop")
async def noop() -> None:
    """Do nothing."""
    countdown.count()


@exq.worker(name="Latency")
async def latency(sent_ns: int) -> None:
    """Note how long ago the job was enqueued."""
    delays_ns.append(time.time_ns() - sent_ns)
    countdown.count()


@contextlib.asynccontextmanager
async def middleware(job: exq.Job) -> AsyncIterator[None]:
    """Wrap a job and do nothing, as the sketch's does."""
    yield


async def drain(redis: coredis.Redis[bytes], url: str, jobs: int) -> float:
    """Run the engine until *jobs* are settled; return the seconds from its start to then."""
    global countdown
    countdown = Countdown(jobs)
    with anyio.fail_after(DEADLINE):
        started = time.perf_counter()
        async with exq.open(
            url=url,
            namespace=NAMESPACE,
            queues={"default": CONCURRENCY},
            workers=[noop, latency],
            middleware=[middleware] * 3,
        ):
            await countdown.reached.wait()
            while int(await redis.get(PROCESSED) or 0) < jobs:  # noqa: ASYNC110 (the server sets no event)
                await anyio.sleep(POLL)
            return time.perf_counter() - started


async def measure_throughput(url: str, jobs: int) -> dict[str, float]:
    """Jobs a second, from the start of the engine to its last settle (the start alone is a few milliseconds)."""
    async with coredis.Redis.from_url(url) as redis:
        await fill(redis, jobs)
        seconds = await drain(redis, url, jobs)
    return {"jobs_per_second": jobs / seconds}


async def measure_latency(url: str, jobs: int) -> dict[str, float]:
    """How long a job of another process waits for an idle worker."""
    async with coredis.Redis.from_url(url) as redis:
        await drain(redis, url, jobs)
    return latency_figures(delays_ns)


if __name__ == "__main__":
    main(__doc__, measure_throughput, measure_latency)
