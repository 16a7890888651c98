"""How fast jobs go in: one by one, from 50 tasks at once, and 500 a call; the library, or a bare coredis script.

To run one contender alone, on a private server (it prints one JSON object)::

    python -m benchmarks.enqueue --contender bare|engine --jobs 5000 --backend asyncio|uvloop|trio
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import anyio
import coredis

from . import server
from .contender import NAMESPACE, QUEUE, QUEUES, arguments, payload, run_on

TASKS = 50
A_CALL = 500

# The least that an enqueue must do: the queue's name is known to the web UIs, and the job lies in the queue.
ENQUEUE = """
redis.call('SADD', KEYS[1], 'default')
return redis.call('LPUSH', KEYS[2], unpack(ARGV))
"""

Enqueue = Callable[[int], Awaitable[object]]
"""Enqueues that many jobs in one call."""


@contextlib.asynccontextmanager
async def bare(url: str) -> AsyncIterator[Enqueue]:
    """An EVALSHA by coredis's ordinary client, with the payload encoded here."""
    async with coredis.Redis.from_url(url) as redis:
        sha = await redis.script_load(ENQUEUE)

        async def enqueue(jobs: int) -> object:
            return await redis.evalsha(sha, [QUEUES, QUEUE], [payload() for _ in range(jobs)])

        yield enqueue


@contextlib.asynccontextmanager
async def engine(url: str) -> AsyncIterator[Enqueue]:
    """The library's ``enqueue`` for one job, its ``enqueue_all`` for many."""
    import exq_anyio as exq

    @exq.worker(name="Noop")
    async def noop() -> None: ...

    async with exq.open(url=url, namespace=NAMESPACE, mode="enqueuer", workers=[noop]) as q:

        async def enqueue(jobs: int) -> object:
            if jobs == 1:
                return await q.enqueue("default", noop, [])
            return await q.enqueue_all([noop.job() for _ in range(jobs)])

        yield enqueue


CONTENDERS = {"bare": bare, "engine": engine}


async def one_by_one(enqueue: Enqueue, jobs: int) -> None:
    """Each call waits for the one before."""
    for _ in range(jobs):
        await enqueue(1)


async def at_once(enqueue: Enqueue, jobs: int) -> None:
    """``TASKS`` tasks, one job a call."""
    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(one_by_one, enqueue, jobs // TASKS)


async def in_bulk(enqueue: Enqueue, jobs: int) -> None:
    """``A_CALL`` jobs a call."""
    for _ in range(0, jobs, A_CALL):
        await enqueue(A_CALL)


MANNERS: Sequence[tuple[str, Callable[[Enqueue, int], Awaitable[None]], int]] = (
    ("one_by_one", one_by_one, 1),
    ("50_tasks", at_once, 1),
    ("by_500", in_bulk, 5),
)
"""Name, function, and by how much more jobs it is measured, since it is that much faster."""


async def measure(url: str, contender: str, jobs: int) -> dict[str, float]:
    """Jobs a second of each manner; *jobs* must be a multiple of ``A_CALL``."""
    figures: dict[str, float] = {}
    async with coredis.Redis.from_url(url) as redis:
        for name, run, factor in MANNERS:
            await redis.flushall()
            async with CONTENDERS[contender](url) as enqueue:
                await enqueue(1)  # the first call connects
                started = time.perf_counter()
                await run(enqueue, jobs * factor)
                figures[name] = jobs * factor / (time.perf_counter() - started)
            assert await redis.llen(QUEUE) == jobs * factor + 1
    return figures


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--contender", choices=sorted(CONTENDERS), default="bare")
    options = parser.parse_args()
    with contextlib.nullcontext(options.url) if options.url else server.running() as server_url:
        print(json.dumps(run_on(options.backend, measure, server_url, options.contender, options.jobs)), flush=True)
