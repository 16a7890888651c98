"""What every contender shares: its arguments, its event loop, its keys and the jobs that it finds in its queue.

A contender is a module that runs as a process of its own and prints one JSON object; see ``sketch.py``.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import coredis

from . import server

BACKENDS = ("asyncio", "uvloop", "trio")
NAMESPACE = "bench"
QUEUE = f"{NAMESPACE}:queue:default"
QUEUES = f"{NAMESPACE}:queues"
PROCESSED = f"{NAMESPACE}:stat:processed"
PAYLOADS_A_COMMAND = 1000

T = TypeVar("T")


def payload(worker: str = "Noop", args: list[Any] | None = None) -> bytes:
    """The bytes of one job, as Sidekiq's client writes them."""
    now = time.time()
    job = {
        "class": worker,
        "args": args or [],
        "jid": os.urandom(12).hex(),
        "queue": "default",
        "retry": True,
        "created_at": now,
        "enqueued_at": now,
    }
    return json.dumps(job, separators=(",", ":")).encode()


async def fill(redis: coredis.Redis[bytes], jobs: int) -> None:
    """Empty the server, then put *jobs* no-op jobs into the queue."""
    await redis.flushall()
    await redis.sadd(QUEUES, ["default"])
    for start in range(0, jobs, PAYLOADS_A_COMMAND):
        await redis.lpush(QUEUE, [payload() for _ in range(min(PAYLOADS_A_COMMAND, jobs - start))])


async def server_counts(redis: coredis.Redis[bytes]) -> tuple[int, int]:
    """How many commands the server has executed, those inside of scripts among them, and how often it read."""
    info = await redis.info("stats")
    return int(str(info["total_commands_processed"])), int(str(info["total_reads_processed"]))


def percentile(values: list[float], fraction: float) -> float:
    """The smallest of *values* that at least *fraction* of them do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * fraction))]


def latency_figures(delays_ns: list[int]) -> dict[str, float]:
    """The figures of the delays between an enqueue and the first line of perform, in milliseconds."""
    delays = [delay / 1e6 for delay in delays_ns]
    return {"p50_ms": percentile(delays, 0.50), "p99_ms": percentile(delays, 0.99), "max_ms": max(delays)}


def run_on(backend: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """``anyio.run`` on one of ``BACKENDS``."""
    if backend == "trio":
        return anyio.run(function, *args, backend="trio")
    return anyio.run(function, *args, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of the arguments that each contender takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the server, which is emptied first (default: a private one)")
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--backend", choices=BACKENDS, default="asyncio")
    return parser


def main(
    description: str | None,
    throughput: Callable[[str, int], Awaitable[dict[str, float]]],
    latency: Callable[[str, int], Awaitable[dict[str, float]]],
) -> None:
    """Run a worker that can be measured both ways, and print its figures."""
    parser = arguments(description)
    parser.add_argument("--latency", action="store_true", help="wait for jobs of another process instead")
    options = parser.parse_args()
    measure = latency if options.latency else throughput
    with contextlib.nullcontext(options.url) if options.url else server.running() as url:
        print(json.dumps(run_on(options.backend, measure, url, options.jobs)), flush=True)
