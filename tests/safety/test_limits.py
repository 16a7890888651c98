"""How many jobs of a queue run at a time, when that is changed while they do."""

from __future__ import annotations

import logging

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.job import Job
from exq_anyio.node.dequeuer import LocalLimit
from exq_anyio.redis.embedded import EmbeddedServer


def _job() -> Job:
    return Job.decode(b'{"class":"W","args":[]}')


async def test_a_job_on_its_way_when_the_limit_is_lowered_frees_nobody_elses_slot() -> None:
    limit, running, on_its_way = LocalLimit(2), _job(), _job()
    limit.dispatched(running)

    limit.resize(1)
    limit.dispatched(on_its_way)
    limit.processed(on_its_way)

    assert await limit.available() == 0
    limit.failed(running)
    assert await limit.available() == 1


async def test_the_jobs_that_run_count_towards_a_limit_that_is_lowered(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "exq_anyio")
    running = 0
    beside: list[int] = []
    ends = [anyio.Event() for _ in range(6)]
    begun = [anyio.Event() for _ in range(6)]

    @exq.worker
    async def hold(number: int) -> None:
        nonlocal running
        running += 1
        beside.append(running)
        begun[number].set()
        await ends[number].wait()
        running -= 1

    with anyio.fail_after(20):
        async with exq.open(url=valkey.url, namespace=namespace, queues={"default": 4}, workers=[hold]) as q:
            await q.enqueue_all([hold.job(number) for number in range(4)])
            for event in begun[:4]:
                await event.wait()
            await q.subscribe("default", concurrency=2)
            await q.enqueue_all([hold.job(4), hold.job(5)])
            for number in range(4):
                ends[number].set()
                if number >= 2:
                    await begun[number + 2].wait()
            ends[4].set()
            ends[5].set()

    assert beside == [1, 2, 3, 4, 2, 2]
    assert [line for name, _, line in caplog.record_tuples if name == "exq_anyio"] == []
