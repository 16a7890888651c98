"""How fast the client alone can be: LMOVE one after another, from 32 tasks on one client, and in pipelines of 100."""

import time

import anyio
import coredis
from coredis.tokens import PureToken

from .contender import run_on

MOVES = 3_000
TASKS = 32
A_PIPELINE = 100
PIPELINES = 200

Figures = dict[str, float]


def measure(backend: str, url: str) -> Figures:
    """Moves a second of each manner, with coredis's ordinary client."""
    return run_on(backend, _measure, url)


async def _measure(url: str) -> Figures:
    async with coredis.Redis.from_url(url) as redis:
        await redis.rpush("from", [b"x" * 100] * 1000)

        async def move(times: int) -> None:
            for _ in range(times):
                await redis.lmove("from", "from", PureToken.LEFT, PureToken.RIGHT)

        await move(100)
        started = time.perf_counter()
        await move(MOVES)
        alone = MOVES / (time.perf_counter() - started)
        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(TASKS):
                tasks.start_soon(move, MOVES // TASKS)
        at_once = MOVES // TASKS * TASKS / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(PIPELINES):
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(A_PIPELINE):
                    pipeline.lmove("from", "from", PureToken.LEFT, PureToken.RIGHT)
        pipelined = PIPELINES * A_PIPELINE / (time.perf_counter() - started)
    return {"one_by_one": alone, "32_tasks": at_once, "pipelined": pipelined}
