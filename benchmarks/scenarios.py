"""The engine in situations of its own: many sleeping jobs, many waiting ones, many queues, none at all.

To run one alone, on a private server (it prints one JSON object)::

    python -m benchmarks.scenarios sleeping --backend asyncio|uvloop|trio
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping

import anyio
import coredis

import exq_anyio as exq
from exq_anyio.cli.work import ease_collector

from . import engine, server
from .contender import NAMESPACE, PROCESSED, QUEUE, QUEUES, fill, payload, run_on, server_counts
from .contender import arguments as parser_of_all

Figures = dict[str, float]
DEADLINE = 100.0
IDLE = 8.0
"""Seconds in which a node without work is watched."""
SETTLE_DOWN = 2.0
"""Seconds after its start before that."""
POLL = 0.002


# Made by the server, since a million payloads take this client ten seconds.
FILL = """
for at = 1, tonumber(ARGV[1]) do
  local form = '{"class":"Noop","args":[],"jid":"%s%015d","queue":"default","retry":true,"created_at":1.5}'
  local job = string.format(form, ARGV[2], at)
  if ARGV[3] == '' then redis.call('LPUSH', KEYS[1], job) else redis.call('ZADD', KEYS[1], ARGV[3] + at / 1e3, job) end
end
"""
A_FILL = 50_000


async def made(redis: coredis.Redis[bytes], key: str, jobs: int, score: float | None = None) -> None:
    """Have *key* hold that many more no-op jobs, scheduled from *score* on where that is given."""
    for start in range(0, jobs, A_FILL):
        tag = os.urandom(4).hex()
        await redis.eval(FILL, [key], [min(A_FILL, jobs - start), tag, "" if score is None else repr(score)])


class Stage:
    """What the jobs of a scenario count, and those who wait for it."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0
        self.first = math.inf
        self.last = 0.0

    def begin(self) -> None:
        """Note that a job begins."""
        self.began += 1
        self.first = min(self.first, time.perf_counter())

    def end(self) -> None:
        """Note that a job ends."""
        self.ended += 1
        self.last = time.perf_counter()


stage = Stage()


@exq.worker(name="Noop")
async def noop(*args: object) -> None:
    """Count, and do nothing."""
    stage.begin()
    stage.end()


@exq.worker(name="Sleep")
async def sleeps(seconds: float) -> None:
    """Sleep."""
    stage.begin()
    await anyio.sleep(seconds)
    stage.end()


@exq.worker(name="Thread")
def thread() -> None:
    """Do nothing, in a thread."""


def node(
    url: str, queues: Mapping[str, float] | None = None, **settings: object
) -> contextlib.AbstractAsyncContextManager[exq.Exq]:
    """The engine on *queues*."""
    return exq.open(
        url=url, namespace=NAMESPACE, queues=queues or {"default": 100}, workers=[noop, sleeps, thread], **settings
    )


async def until(condition: Callable[[], Awaitable[bool]], interval: float = POLL) -> None:
    """Return when *condition* holds."""
    with anyio.fail_after(DEADLINE):
        while not await condition():  # noqa: ASYNC110 (what happens in Redis sets no event)
            await anyio.sleep(interval)


async def settled(redis: coredis.Redis[bytes], jobs: int) -> None:
    """Return when so many jobs are settled."""

    async def done() -> bool:
        return int(await redis.get(PROCESSED) or 0) >= jobs

    await until(done, engine.POLL)


async def pushed(redis: coredis.Redis[bytes], worker: str, jobs: int, *args: object, queue: str = "default") -> None:
    """Put *jobs* jobs of *worker* in *queue*."""
    await redis.sadd(QUEUES, [queue])
    for start in range(0, jobs, 1000):
        key = f"{NAMESPACE}:queue:{queue}"
        await redis.lpush(key, [payload(worker, list(args)) for _ in range(min(1000, jobs - start))])


async def drained(redis: coredis.Redis[bytes], url: str, jobs: int, **settings: object) -> float:
    """Jobs a second until *jobs* are settled, from the start of the engine on."""
    started = time.perf_counter()
    async with node(url, **settings):  # type: ignore[arg-type]  # queues among them
        await settled(redis, jobs)
        return jobs / (time.perf_counter() - started)


def resident_mb() -> float:
    """Memory of this process."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -- the scenarios


async def sleeping(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """Many jobs that sleep at once, and a stop that sends them all back; in a process that is set as ``exq run`` is."""
    ease_collector()
    size = size or 10_000
    await pushed(redis, "Sleep", size, 600)

    async def all_began() -> bool:
        return stage.began >= size

    started = time.perf_counter()
    async with node(url, {"default": size}, shutdown_timeout=0.2):
        await until(all_began)
        figures = {"all_started_s": time.perf_counter() - started, "rss_mb": resident_mb()}
        stopping = time.perf_counter()
    figures["pushed_back_s"] = time.perf_counter() - stopping - 0.2
    figures["left_behind"] = float(size - await redis.llen(QUEUE))
    return figures


async def backlog(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """Speed above that many waiting and as many scheduled jobs, which stay."""
    jobs = 20_000
    await made(redis, QUEUE, jobs + size)
    await made(redis, f"{NAMESPACE}:schedule", size, time.time() + 1e6)
    return {"jobs_per_second": await drained(redis, url, jobs)}


async def scheduler(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """Due jobs that are moved to a queue which nobody takes from."""
    size = size or 100_000
    schedule = f"{NAMESPACE}:schedule"
    await made(redis, schedule, size, time.time() - 1e6)

    async def moved() -> bool:
        return not await redis.zcard(schedule)

    started = time.perf_counter()
    async with node(url, {"other": 1}):
        await until(moved)
        figures = {"moves_per_second": size / (time.perf_counter() - started)}
    assert await redis.llen(QUEUE) == size
    return figures


async def queues(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """That many queues, five of them busy."""
    jobs, busy = 20_000, 5
    names = [f"q{number:03}" for number in range(size or 200)]
    for name in names[:busy]:
        await pushed(redis, "Noop", jobs // busy, queue=name)
    return {"jobs_per_second": await drained(redis, url, jobs, queues=dict.fromkeys(names, 100))}


async def idle(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """That many queues, all of them empty."""
    async with node(url, {f"q{number:03}": 100 for number in range(size or 5)}):
        await anyio.sleep(SETTLE_DOWN)
        counts = [await server_counts(redis)]
        used, started = time.process_time(), time.perf_counter()
        await anyio.sleep(IDLE)
        used, took = time.process_time() - used, time.perf_counter() - started
        counts.append(await server_counts(redis))
    # Our own look is one of them.
    commands, reads = (after - before - 1 for before, after in zip(*counts, strict=True))
    return {
        "commands_a_second": commands / took,
        "round_trips_a_second": reads / took,
        "cpu_percent": used / took * 100,
    }


async def round_trips(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """What a job costs the server."""
    jobs = size or 30_000
    await fill(redis, jobs)
    async with node(url):
        counts = [await server_counts(redis)]
        while int(await redis.get(PROCESSED) or 0) < jobs:  # noqa: ASYNC110 (the server sets no event)
            await anyio.sleep(0.05)  # few looks, since they count
        counts.append(await server_counts(redis))
    commands, reads = ((after - before) / jobs for before, after in zip(*counts, strict=True))
    return {"commands_a_job": commands, "round_trips_a_job": reads}


async def threads(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """Jobs that are plain functions."""
    jobs = size or 10_000
    await pushed(redis, "Thread", jobs)
    return {"jobs_per_second": await drained(redis, url, jobs)}


async def fifty_ms(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """2,000 jobs that sleep 50 ms, 100 at a time: from the first line of the first to the last line of the last."""
    jobs = size or 2_000
    await pushed(redis, "Sleep", jobs, 0.05)
    await drained(redis, url, jobs)
    return {"share_of_ideal": jobs / 100 * 0.05 / (stage.last - stage.first)}


async def middlewares(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """What a middleware adds to a job: five more of them than one, in turns; the least of three."""
    jobs = size or 15_000
    took: dict[int, list[float]] = {1: [], 6: []}
    for _ in range(3):
        for number, times in took.items():
            await fill(redis, jobs)
            times.append(1 / await drained(redis, url, jobs, middleware=[engine.middleware] * number))
    return {"us_a_middleware": (min(took[6]) - min(took[1])) / 5 * 1e6}


async def concurrency(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """No-op jobs, that many at a time."""
    jobs = 3_000 if size < 10 else 20_000
    await fill(redis, jobs)
    return {"jobs_per_second": await drained(redis, url, jobs, queues={"default": size or 100})}


async def payloads(redis: coredis.Redis[bytes], url: str, size: int) -> Figures:
    """No-op jobs of that many bytes."""
    jobs = max(100, min(20_000, 100_000_000 // size))
    rest = size - len(payload("Noop", [""]))
    await redis.sadd(QUEUES, ["default"])
    for _ in range(jobs):
        await redis.lpush(QUEUE, [payload("Noop", ["x" * rest] if rest > 0 else [])])
    return {"jobs_per_second": await drained(redis, url, jobs)}


SCENARIOS: dict[str, Callable[[coredis.Redis[bytes], str, int], Awaitable[Figures]]] = {
    function.__name__: function
    for function in (
        sleeping, backlog, scheduler, queues, idle, round_trips, threads, fifty_ms, middlewares, concurrency, payloads,
    )
}  # fmt: skip


async def measure(url: str, name: str, size: int) -> Figures:
    """The figures of one scenario, on an empty server."""
    async with coredis.Redis.from_url(url) as redis:
        await redis.flushall()
        return await SCENARIOS[name](redis, url, size)


if __name__ == "__main__":
    parser = parser_of_all(__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--size", type=int, default=0, help="how many of what it is about; 0: its default")
    options = parser.parse_args()
    with contextlib.nullcontext(options.url) if options.url else server.running() as server_url:
        print(json.dumps(run_on(options.backend, measure, server_url, options.scenario, options.size)), flush=True)
