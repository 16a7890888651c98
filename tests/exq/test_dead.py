"""How many dead jobs are kept, and for how long."""

from __future__ import annotations

import time

import pytest

import exq_anyio as exq

from .scene import Scene, payload, until


@exq.worker(name="Foul")
async def foul(number: int) -> None:
    raise ValueError("no")


async def failed(scene: Scene, count: int) -> bool:
    return await scene.count("failed") == count


@pytest.mark.parametrize(("limit", "kept"), [(10_000, 10), (5, 5), (0, 0)])
async def test_of_ten_failures_as_many_are_dead_as_may_be_kept(scene: Scene, limit: int, kept: int) -> None:
    async with scene.open(foul, dead_max_jobs=limit, concurrency=1) as q:
        for number in range(10):
            await q.enqueue("default", foul, [number], max_retries=0)
        await until(lambda: failed(scene, 10))
    dead = await scene.entries("dead")
    assert [job["args"] for job in dead] == [[number] for number in range(10 - kept, 10)]
    assert await scene.scored("retry") == []
    assert await scene.count("processed") == 10


async def test_a_dead_job_tells_why_and_when_it_died(scene: Scene) -> None:
    before = time.time()
    async with scene.open(foul) as q:
        jid = await q.enqueue("default", foul, [1], max_retries=0)
        await until(lambda: scene.scored("dead"))
    after = time.time()
    ((_, score),) = await scene.scored("dead")
    (job,) = await scene.entries("dead")
    assert before <= score == job["failed_at"] <= after
    assert {field: job[field] for field in ("jid", "class", "args", "queue", "error_class", "error_message")} == {
        "jid": jid, "class": "Foul", "args": [1], "queue": "default", "error_class": "ValueError", "error_message": "no"
    }  # fmt: skip
    assert job["retry_count"] == 0
    assert "retried_at" not in job


async def test_dead_jobs_that_are_too_old_go_at_the_next_death(scene: Scene) -> None:
    now = time.time()
    async with scene.open(foul, dead_timeout_in_seconds=3600, scheduler_enable=False) as q:
        await scene.redis.zadd(scene.key("dead"), {payload("Old"): now - 3700, payload("Young"): now - 3500})
        await q.enqueue("default", foul, [1], max_retries=0)
        await until(lambda: failed(scene, 1))
    assert [job["class"] for job in await scene.entries("dead")] == ["Young", "Foul"]


async def test_dead_jobs_that_are_too_old_or_too_many_go_at_the_start_though_nothing_fails(scene: Scene) -> None:
    now = time.time()
    await scene.redis.zadd(scene.key("dead"), {payload("Old", number): now - 3700 - number for number in range(1200)})
    await scene.redis.zadd(scene.key("dead"), {payload("Young", number): now - 3000 + number for number in range(700)})
    async with scene.open(foul, dead_timeout_in_seconds=3600, dead_max_jobs=100):
        await until(lambda: size(scene, "dead", 100))
    assert [job["args"] for job in await scene.entries("dead")] == [[number] for number in range(600, 700)]


async def size(scene: Scene, name: str, count: int) -> bool:
    return await scene.redis.zcard(scene.key(name)) == count


async def test_retry_false_and_dead_false_leave_no_dead_job(scene: Scene) -> None:
    async with scene.open(foul) as q:
        await q.enqueue("default", foul, [1], max_retries=False)
        await q.push(foul.job(2).on(max_retries=0, dead=False))
        await until(lambda: failed(scene, 2))
    assert (await scene.scored("dead"), await scene.scored("retry")) == ([], [])
