"""Jobs for later: when they become due, and how many at a time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

import exq_anyio as exq

from .scene import Scene, payload, records, until


@exq.worker(name="Job")
async def job(number: int) -> None: ...


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


async def empty(scene: Scene, name: str) -> bool:
    return not await scene.redis.zcard(scene.key(name))


async def test_a_job_becomes_due_at_its_instant_and_not_before(scene: Scene) -> None:
    ran: list[float] = []

    @exq.worker(name="Note")
    async def note() -> None:
        ran.append(time.time())

    async with scene.open(note) as q:
        due = datetime.now(UTC) + timedelta(seconds=0.3)
        await q.enqueue_at("default", due, note)
        await until(lambda: ran)
    assert due.timestamp() <= ran[0]


@pytest.mark.parametrize(("microsecond", "due"), [("123456", True), ("123457", False)])
async def test_what_is_due_at_this_very_microsecond_is_due_and_at_the_next_is_not(
    scene: Scene, microsecond: str, due: bool
) -> None:
    # The script as it is, with the server's clock stopped.
    folder = files("exq_anyio.redis") / "lua"
    due_script = (folder / "due.lua").read_text()
    stopped = due_script.replace("redis.call('TIME')", "{'1795486358', '123456'}")
    assert stopped != due_script
    stopped = f"{(folder / 'head.lua').read_text()}\n{stopped}"
    key = scene.key("schedule")
    add = "return redis.call('ZADD', KEYS[1], ARGV[1], 'member')"  # coredis would round the score
    await scene.redis.eval(add, [key], [f"1795486358.{microsecond}"])
    assert await scene.redis.eval(stopped, [key], [10]) == [b"1795486358.123456", [b"member"] if due else []]


@pytest.mark.parametrize("name", ["schedule", "retry"])
async def test_more_due_jobs_than_a_page_become_due_at_once_in_order(scene: Scene, name: str) -> None:
    past = time.time() - 5000
    jobs = {number: payload("Other", number, queue="late", unknown=number) for number in range(1203)}
    await scene.redis.zadd(scene.key(name), {job: past + number for number, job in jobs.items()})
    before = time.time()
    async with scene.open(queues=[]):
        await until(lambda: empty(scene, name))
    found = records(await scene.queue("late"))
    assert [(job["args"], job["unknown"]) for job in found] == [([number], number) for number in range(1203)]
    assert all(before - 1 <= job["enqueued_at"] <= time.time() + 1 for job in found)
    assert await scene.redis.smembers(scene.key("queues")) == {b"late"}


async def test_an_entry_that_names_no_queue_goes_to_default(scene: Scene) -> None:
    await scene.redis.zadd(scene.key("schedule"), {payload("Other", 1): 1.0, payload("Other", 2, queue=7): 2.0})
    async with scene.open(queues=[]):
        await until(lambda: empty(scene, "schedule"))
    assert [(job["args"], job["queue"]) for job in records(await scene.queue())] == [([1], "default"), ([2], "default")]


async def test_two_schedulers_move_each_job_once(scene: Scene) -> None:
    past = time.time() - 5000
    await scene.redis.zadd(scene.key("schedule"), {payload("Other", number): past + number for number in range(2000)})
    async with scene.open(queues=[]), scene.open(queues=[]), scene.open(queues=[]):
        await until(lambda: empty(scene, "schedule"))
    assert sorted(job["args"][0] for job in records(await scene.queue())) == list(range(2000))


async def test_a_node_without_a_scheduler_leaves_due_jobs_where_they_are(scene: Scene) -> None:
    await scene.redis.zadd(scene.key("schedule"), {payload("Job", 1): 1.0})
    async with scene.open(job, scheduler_enable=False) as q:
        await q.enqueue("default", job, [2])
        await until(lambda: counted(scene, 1))
    assert len(await scene.scored("schedule")) == 1


async def test_a_retried_job_goes_to_its_retry_queue(scene: Scene) -> None:
    @exq.worker(name="Foul")
    async def foul() -> None:
        raise ValueError

    await scene.push("default", payload("Foul", retry_queue="second", queue="says otherwise"))
    async with scene.open(foul, scheduler_enable=False):
        await until(lambda: counted(scene, 1))
    ((member, _),) = await scene.scored("retry")
    assert records([member])[0]["queue"] == "second"
    await scene.redis.zadd(scene.key("retry"), {member: 1.0})
    async with scene.open(queues=[]):
        await until(lambda: empty(scene, "retry"))
    assert len(await scene.queue("second")) == 1


async def test_a_snoozed_job_comes_again_with_its_count_and_no_attempt_used(scene: Scene) -> None:
    runs: list[tuple[int, int]] = []

    @exq.worker(name="Sleepy")
    async def sleepy() -> exq.Snooze | None:
        job = exq.worker_job()
        runs.append((job.snooze_count, job.attempt))
        return exq.Snooze(timedelta(milliseconds=10)) if job.snooze_count < 3 else None

    async with scene.open(sleepy) as q:
        await q.enqueue("default", sleepy, max_retries=0)
        await until(lambda: counted(scene, 4))
    assert runs == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert (await scene.count("failed"), await scene.scored("schedule"), await scene.scored("dead")) == (0, [], [])
