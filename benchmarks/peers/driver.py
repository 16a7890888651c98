"""What the modules of the peers share: the mark that each job leaves, and the programs that enqueue.

A peer's module defines its job, which calls :func:`mark`, and ends with ``driver.main(...)``, so that
``python -m benchmarks.peers.NAME fill|enqueue|send N`` enqueues.  It runs where only the peer is installed: this module
needs nothing but Python.
"""

import argparse
import asyncio
import json
import logging
import os
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

URL = os.environ["BENCH_URL"]
"""The server."""
SAFE = os.environ["BENCH_SETTING"] == "safe"
"""Whether the settings are those against crashes, and not those for speed."""
PAUSE = float(os.environ["BENCH_PAUSE"])
"""Seconds between two jobs that are sent to an idle worker: long enough for it to be idle again."""
TASKS = 50
A_CALL = 500

# Some log two lines a job, and their command line cannot be told not to.
logging.disable(logging.INFO)

_marks = os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_pack = struct.Struct("=qqq").pack

Enqueue = Callable[[int], Any]
"""Enqueues one job that says when it was sent (ns, 0: not asked); awaitable for a peer that is async."""
EnqueueMany = Callable[[int], Any]
"""Enqueues that many jobs that were sent at 0, in one call."""
Client = Callable[[], AbstractAsyncContextManager[tuple[Enqueue, EnqueueMany | None]]]


def mark(sent_ns: int) -> None:
    """Note that a job runs: when it was sent, the time now and by whom, 24 bytes at the end of a shared file."""
    os.write(_marks, _pack(sent_ns, time.time_ns(), os.getpid()))


def main(client: Client | None = None, enqueue: Enqueue | None = None, many: EnqueueMany | None = None) -> None:
    """Do what the command line says, for a peer that is async (*client*) or one that blocks (*enqueue*)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["fill", "enqueue", "send"])
    parser.add_argument("jobs", type=int)
    options = parser.parse_args()
    if client is not None:
        figures = asyncio.run(_async(client, options.what, options.jobs))
    else:
        assert enqueue is not None
        figures = _blocking(enqueue, many, options.what, options.jobs)
    print(json.dumps(figures), flush=True)


async def _async(client: Client, what: str, jobs: int) -> dict[str, float]:
    async with client() as (enqueue, many):
        if what == "send":
            for _ in range(jobs):
                await asyncio.sleep(PAUSE)
                await enqueue(time.time_ns())
            return {}
        if what == "fill":
            await (_in_calls(many, jobs) if many else _at_once(enqueue, jobs))
            return {}
        figures = {"one_by_one": await _timed(_one_by_one(enqueue, jobs), jobs)}
        figures["50_tasks"] = await _timed(_at_once(enqueue, jobs), jobs)
        if many is not None:
            figures["by_500"] = await _timed(_in_calls(many, jobs), jobs)
        return figures


def _blocking(enqueue: Enqueue, many: EnqueueMany | None, what: str, jobs: int) -> dict[str, float]:
    if what == "send":
        for _ in range(jobs):
            time.sleep(PAUSE)
            enqueue(time.time_ns())
        return {}
    figures = {}
    if what == "enqueue" or many is None:
        started = time.perf_counter()
        for _ in range(jobs):
            enqueue(0)
        figures["one_by_one"] = jobs / (time.perf_counter() - started)
    if many is not None:
        started = time.perf_counter()
        for count in _calls(jobs):
            many(count)
        figures["by_500"] = jobs / (time.perf_counter() - started)
    return figures


async def _timed(work: Awaitable[None], jobs: int) -> float:
    started = time.perf_counter()
    await work
    return jobs / (time.perf_counter() - started)


async def _one_by_one(enqueue: Enqueue, jobs: int) -> None:
    for _ in range(jobs):
        await enqueue(0)


async def _at_once(enqueue: Enqueue, jobs: int) -> None:
    each, rest = divmod(jobs, TASKS)
    await asyncio.gather(*(_one_by_one(enqueue, each + (task < rest)) for task in range(TASKS)))


async def _in_calls(many: EnqueueMany, jobs: int) -> None:
    for count in _calls(jobs):
        await many(count)


def _calls(jobs: int) -> Sequence[int]:
    full, rest = divmod(jobs, A_CALL)
    return [A_CALL] * full + ([rest] if rest else [])
