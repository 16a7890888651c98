"""When jobs run again, and when they begin: in exact seconds."""

from __future__ import annotations

import math
from typing import Any

import anyio
import msgspec
import pytest
import trio

from exq_anyio import Discard, Snooze, worker, worker_job
from exq_anyio.job import Job
from exq_anyio.outcome import sidekiq_backoff
from exq_anyio.testing.world import World

from .sites import CHANCE, EPOCH, at, counted, queue_and_backup, stranger, working


def record(payload: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(payload)
    return decoded


@pytest.fixture
def runs() -> list[float]:
    return []


async def test_retries_begin_at_the_very_second_of_sidekiqs_backoff(world: World, runs: list[float]) -> None:
    @worker
    async def fails() -> None:
        runs.append(at())
        raise ValueError("no")

    async with working(world, fails, max_retries=3) as site:
        jid = await site.q.enqueue("q", fails)
        await trio.sleep(1)
        ((payload, due),) = world.sorted_sets["retry"].items()
        assert due == EPOCH + sidekiq_backoff(0, CHANCE) == EPOCH + 20
        assert record(payload) == {
            "retry": True, "queue": "q", "class": "fails", "args": [], "jid": jid,
            "created_at": EPOCH, "enqueued_at": EPOCH,
            "error_class": "ValueError", "error_message": "no", "failed_at": EPOCH, "retry_count": 0,
        }  # fmt: skip
        assert (queue_and_backup(world), counted(world)) == (([], []), (1, 1))
        await trio.sleep(200)
        ((payload, died),) = world.sorted_sets["dead"].items()
    waits = [sidekiq_backoff(count, CHANCE) for count in range(3)]
    assert waits == [20, 26, 46]
    assert runs == [0, 20, 46, 92]
    assert died == EPOCH + 92
    last = record(payload)
    assert (last["retry_count"], last["failed_at"], last["retried_at"]) == (3, EPOCH, EPOCH + 92)
    assert last["enqueued_at"] == EPOCH + 92
    assert counted(world) == (4, 4)


async def test_the_users_backoff_is_obeyed_and_that_of_the_worker_comes_first(world: World) -> None:
    begun: dict[str, list[float]] = {"plain": [], "own": []}

    @worker
    async def plain() -> None:
        begun["plain"].append(at())
        raise ValueError

    @worker(backoff=lambda job, error: 7)
    async def own() -> None:
        begun["own"].append(at())
        raise ValueError

    def backoff(job: Job, error: BaseException) -> float:
        assert isinstance(error, ValueError)
        return 3 * (1 + (job.retry_count or 0))

    async with working(world, plain, own, backoff=backoff) as site:
        await site.q.enqueue("q", plain, max_retries=2)
        await site.q.enqueue("q", own, max_retries=2)
        await trio.sleep(30)
    assert begun == {"plain": [0, 3, 9], "own": [0, 7, 14]}


async def test_a_scheduled_job_begins_when_it_is_due(world: World, runs: list[float]) -> None:
    @worker
    async def later() -> None:
        runs.append(at())

    async with working(world, later) as site:
        await site.q.enqueue_in("q", 10, later)
        await site.q.enqueue_in("q", 10.25, later)
        await trio.sleep(9.5)
        assert (runs, len(world.sorted_sets["schedule"])) == ([], 2)
        await trio.sleep(5)
    # The scheduler looks once a second.
    assert runs == [10, 11]


async def test_the_scheduler_looks_the_more_seldom_the_more_nodes_do(world: World, runs: list[float]) -> None:
    @worker
    async def later() -> None:
        runs.append(at())

    async with anyio.create_task_group() as others:
        for number in range(3):
            other = await stranger(world, f"elsewhere#{number}")
            others.start_soon(other.beat_every, 5)
        # It counts the others after half a second, and looks after one, then after five, nine, ...
        async with working(world, later, heartbeat_interval=0.5) as site:
            for after in (0.5, 2, 5, 5.5):
                await site.q.enqueue_in("q", after, later)
            await trio.sleep(20)
        others.cancel_scope.cancel()
    assert runs == [1, 5, 5, 9]


async def test_a_snoozed_job_comes_again_and_uses_no_attempt(world: World) -> None:
    begun: list[tuple[float, int, int]] = []

    @worker
    async def sleepy() -> Snooze | None:
        job = worker_job()
        begun.append((at(), job.snooze_count, job.attempt))
        return Snooze(30) if job.snooze_count < 2 else None

    async with working(world, sleepy) as site:
        jid = await site.q.enqueue("q", sleepy, max_retries=0)
        await trio.sleep(1)
        ((payload, due),) = world.sorted_sets["schedule"].items()
        assert (due, record(payload)["snooze_count"], record(payload)["jid"]) == (EPOCH + 30, 1, jid)
        await trio.sleep(100)
    assert begun == [(0, 0, 1), (30, 1, 1), (60, 2, 1)]
    assert counted(world) == (3, 0)
    assert not world.sorted_sets["schedule"]


async def test_a_job_fails_when_its_timeout_is_over(world: World, runs: list[float]) -> None:
    @worker(timeout=3)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            runs.append(at())

    async with working(world, slow) as site:
        await site.q.enqueue("q", slow)
        await site.q.enqueue("q", slow, timeout=1.5)
        await trio.sleep(4)
        failed = {record(payload)["error_message"]: due - EPOCH for payload, due in world.sorted_sets["retry"].items()}
    assert runs == [1.5, 3]
    assert failed == {
        "the job ran longer than its timeout of 1.5 s": 21.5,
        "the job ran longer than its timeout of 3 s": 23,
    }


async def test_a_job_that_is_done_at_the_last_moment_is_done(world: World) -> None:
    @worker(timeout=3)
    async def just_in_time() -> Discard:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return Discard("it went on under a shield")

    async with working(world, just_in_time) as site:
        await site.q.enqueue("q", just_in_time)
        await trio.sleep(6)
    assert (counted(world), world.sorted_sets["retry"]) == ((1, 0), {})


async def test_the_third_job_waits_at_a_concurrency_of_two_while_another_queue_goes_on(world: World) -> None:
    begun: list[tuple[float, str]] = []

    @worker
    async def ten_seconds(name: str) -> None:
        begun.append((at(), name))
        await anyio.sleep(10)

    async with working(world, ten_seconds, queues={"q": 2, "other": 2}) as site:
        for name in ("1", "2", "3"):
            await site.q.enqueue("q", ten_seconds, [name])
        await trio.sleep(1)
        waiting, taken = queue_and_backup(world)
        assert (len(waiting), len(taken)) == (1, 2)
        await site.q.enqueue("other", ten_seconds, ["another"])
        await trio.sleep(30)
    assert begun == [(0, "1"), (0, "2"), (1, "another"), (10, "3")]


async def test_without_a_limit_all_jobs_run_at_once(world: World, runs: list[float]) -> None:
    @worker
    async def ten_seconds() -> None:
        runs.append(at())
        await anyio.sleep(10)

    async with working(world, ten_seconds, concurrency=math.inf) as site:
        for _ in range(2_500):
            await site.q.enqueue("q", ten_seconds)
        await trio.sleep(11)
    assert runs == [0] * 2_500
