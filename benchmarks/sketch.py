"""The smallest worker that loses no job: how fast Python with coredis can be.

To run it alone, on a private server (it prints one JSON object)::

    python -m benchmarks.sketch --jobs 50000 --backend asyncio|uvloop|trio

It does what no crash-safe worker can leave out, and nothing else: jobs move from the queue to a backup list, as many
at once as there are free slots; each runs in a task of its own, decoded, inside three middlewares; when it is done it
waits for its settle, which takes it out of the backup list and counts it, and only then frees its slot.  No retries,
no records, no leases, no argument checks.  The engine is measured against this bound.
"""

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import coredis
import msgspec
from anyio.abc import TaskGroup
from coredis.connection import BaseConnection
from coredis.tokens import PureToken

from .contender import PROCESSED, QUEUE, fill, latency_figures, main

CONCURRENCY = 100
BLOCK = 5.0
"""Seconds that one wait for an empty queue lasts."""
BACKUP = "bench:queue:backup::sketch#1::default"

# RPOP and LPUSH rather than LMOVE: one call moves many, and works at maxmemory too.
FETCH = """
local taken = redis.call('RPOP', KEYS[1], ARGV[1])
if not taken then return {} end
redis.call('LPUSH', KEYS[2], unpack(taken))
return taken
"""

# What was taken first lies at the tail of the backup list, and is most often done first: search from there.
SETTLE = """
local removed = 0
for _, payload in ipairs(ARGV) do removed = removed + redis.call('LREM', KEYS[1], -1, payload) end
redis.call('INCRBY', KEYS[2], removed)
return removed
"""

Job = dict[str, Any]
decode_job = msgspec.json.Decoder(Job).decode
delays_ns: list[int] = []


async def noop() -> None:
    """Do nothing."""


async def latency(sent_ns: int) -> None:
    """Note how long ago the job was enqueued."""
    delays_ns.append(time.time_ns() - sent_ns)


WORKERS: dict[str, Callable[..., Awaitable[None]]] = {"Noop": noop, "Latency": latency}


@contextlib.asynccontextmanager
async def middleware(job: Job) -> AsyncIterator[None]:
    """Wrap a job and do nothing, as the cheapest middleware that a user can write."""
    yield


class Connection:
    """One coredis connection, on which the calls of all tasks share writes and reads.

    ``client.evalsha`` would build a command object, and take a connection from the pool and give it back, at each call.
    """

    def __init__(self, connection: BaseConnection) -> None:
        self._send = connection.create_request

    async def script(self, sha: bytes, keys: Sequence[str], args: Sequence[bytes | int]) -> Any:
        """Call a loaded script."""
        return await self._send(b"EVALSHA", sha, len(keys), *keys, *args)


class Group:
    """The jobs that one settle takes out of the backup list, and the event that their tasks wait for."""

    __slots__ = ("payloads", "settled")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.settled = anyio.Event()


class Worker:
    """Takes jobs, performs them and settles them until *total* are settled."""

    def __init__(
        self, redis: coredis.Redis[bytes], connection: Connection, shas: tuple[bytes, bytes], total: int
    ) -> None:
        self._redis, self._connection, self._total = redis, connection, total
        self._fetch_sha, self._settle_sha = shas
        self._free = CONCURRENCY
        self._freed = anyio.Event()
        self._done = Group()
        self._some_done = anyio.Event()

    async def run(self) -> None:
        """Return when all are settled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._poll, tasks)
            await self._settle()
            tasks.cancel_scope.cancel()

    async def _poll(self, tasks: TaskGroup) -> None:
        """Start a task for each job, as many as there are free slots; wait for jobs where there are none."""
        while True:
            if not self._free:
                self._freed = anyio.Event()
                await self._freed.wait()
            payloads = await self._connection.script(self._fetch_sha, [QUEUE, BACKUP], [self._free])
            if not payloads:
                payloads = await self._wait_for_one()
            self._free -= len(payloads)
            self._start(tasks, payloads)

    def _start(self, tasks: TaskGroup, payloads: list[bytes]) -> None:
        for payload in payloads:
            tasks.start_soon(self._perform, payload)

    async def _wait_for_one(self) -> list[bytes]:
        payload = await self._redis.blmove(QUEUE, BACKUP, PureToken.RIGHT, PureToken.LEFT, BLOCK)
        return [] if payload is None else [payload]

    async def _perform(self, payload: bytes) -> None:
        job = decode_job(payload)
        async with middleware(job), middleware(job), middleware(job):
            await WORKERS[job["class"]](*job["args"])
        group = self._done
        group.payloads.append(payload)
        self._some_done.set()
        await group.settled.wait()

    async def _settle(self) -> None:
        """Settle whatever was done while the settle before was under way."""
        while self._total:
            await self._some_done.wait()
            group, self._done, self._some_done = self._done, Group(), anyio.Event()
            self._total -= await self._connection.script(self._settle_sha, [BACKUP, PROCESSED], group.payloads)
            group.settled.set()
            self._free += len(group.payloads)
            self._freed.set()


async def drain(kind: type[Worker], redis: coredis.Redis[bytes], jobs: int) -> float:
    """Run a worker of that *kind* until *jobs* are settled; return the seconds that it took."""
    shas = (await redis.script_load(FETCH), await redis.script_load(SETTLE))
    async with redis.connection_pool.acquire() as connection:
        worker = kind(redis, Connection(connection), shas, jobs)
        started = time.perf_counter()
        await worker.run()
        return time.perf_counter() - started


async def measure_throughput(kind: type[Worker], url: str, jobs: int) -> dict[str, float]:
    """Jobs a second, from the first fetch to the last settle."""
    async with coredis.Redis.from_url(url) as redis:
        await fill(redis, jobs)
        seconds = await drain(kind, redis, jobs)
        assert await redis.llen(QUEUE) == await redis.llen(BACKUP) == 0
        assert int(await redis.get(PROCESSED) or 0) == jobs
    return {"jobs_per_second": jobs / seconds}


async def measure_latency(kind: type[Worker], url: str, jobs: int) -> dict[str, float]:
    """How long a job of another process waits for an idle worker."""
    async with coredis.Redis.from_url(url) as redis:
        await drain(kind, redis, jobs)
    return latency_figures(delays_ns)


def measure(description: str | None, kind: type[Worker]) -> None:
    """Measure a worker of that *kind*, as the command line says."""
    main(description, functools.partial(measure_throughput, kind), functools.partial(measure_latency, kind))


if __name__ == "__main__":
    measure(__doc__, Worker)
