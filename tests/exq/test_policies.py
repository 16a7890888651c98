"""What a worker says of its failures, at work: also for jobs that wait already, and told before it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.testing import Mock
from exq_anyio.worker import WorkerOptions

from .scene import Scene, payload, until


async def test_a_rule_applies_to_jobs_that_wait_already(scene: Scene) -> None:
    @exq.worker(name="work", backoff=lambda job, error: 0.01)
    async def before() -> None:
        raise KeyError

    @exq.worker(name="work", dead_on=KeyError)
    async def after() -> None:
        raise KeyError

    async with scene.open(before, scheduler_enable=False) as q:
        await q.push(before.job())
        await until(lambda: scene.entries("retry"))
    async with scene.open(after):
        (dead,) = await until(lambda: scene.entries("dead"))

    assert (dead["error_class"], dead["retry_count"]) == ("KeyError", 1)


async def test_who_gives_up_is_told_before_the_job_is_dead(scene: Scene) -> None:
    told: list[object] = []

    async def tell(job: exq.Job, error: BaseException) -> None:
        told.append((job.retry_count, job.error_message, str(error), exq.worker_job().jid))
        told.append((await scene.entries("dead"), len(await scene.backup(str(node_id)))))

    @exq.worker(max_retries=1, backoff=lambda job, error: 0.01, on_exhausted=tell)
    async def work() -> None:
        raise ValueError("no")

    async with scene.open(work) as q:
        node_id = q.node_id
        jid = await q.push(work.job())
        await until(lambda: scene.entries("dead"))

    assert told == [(1, "no", "no", jid), ([], 1)]


@pytest.mark.parametrize("options", [{"discard_on": ValueError}, {"dead_on": ValueError}, {"max_retries": False}])
async def test_every_end_by_failure_is_told(options: WorkerOptions, scene: Scene) -> None:
    told: list[str] = []

    async def perform() -> None:
        raise ValueError("no")

    def tell(job: exq.Job, error: BaseException) -> None:
        told.append(threading.current_thread().name)

    with_tell: WorkerOptions = {**options, "on_exhausted": tell}
    work = exq.worker(**with_tell)(perform)
    async with scene.open(work) as q:
        await q.push(work.job())
        await until(lambda: scene.count("failed"))

    assert len(told) == 1
    assert told != [threading.main_thread().name]  # a plain function may block


async def test_what_is_no_failure_is_not_told(scene: Scene) -> None:
    told: list[object] = []

    @exq.worker(max_retries=5, on_exhausted=lambda job, error: told.append(job))
    async def work(how: str) -> object:
        if how == "raise":
            raise ValueError
        if how == "halt":
            raise exq.Halt(exq.Dead("enough"))
        return exq.Dead("enough") if how == "dead" else None

    async with scene.open(work) as q:
        await q.enqueue_all(work.job(how) for how in ("raise", "halt", "dead", "return"))
        await until(lambda: processed(scene, 4))

    assert told == []


async def processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") == count


@pytest.mark.parametrize("broken", [RuntimeError("x"), SystemExit(3)])
async def test_one_that_fails_itself_costs_no_job(
    broken: BaseException, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(job: exq.Job, error: BaseException) -> None:
        raise broken

    @exq.worker(max_retries=0, on_exhausted=tell)
    async def work() -> None:
        raise ValueError

    async with scene.open(work) as q:
        jid = await q.push(work.job())
        await until(lambda: scene.entries("dead"))

    assert f"on_exhausted failed: jid={jid} worker=work" in caplog.messages


async def test_one_that_takes_longer_than_a_run_may_is_cut_short(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(job: exq.Job, error: BaseException) -> None:
        await anyio.sleep_forever()

    @exq.worker(max_retries=0, timeout=0.05, on_exhausted=tell)
    async def work() -> None:
        raise ValueError

    async with scene.open(work) as q:
        jid = await q.push(work.job())
        await until(lambda: scene.entries("dead"))

    assert f"on_exhausted took longer than 0.05 s: jid={jid} worker=work" in caplog.messages


async def test_a_stop_while_it_is_told_sends_the_job_back_and_it_is_told_again(scene: Scene) -> None:
    begun = anyio.Event()

    async def never(job: exq.Job, error: BaseException) -> None:
        begun.set()
        await anyio.sleep_forever()

    def worker(tell: Callable[[exq.Job, BaseException], object]) -> object:
        @exq.worker(name="work", max_retries=0, on_exhausted=tell)
        async def work() -> None:
            raise ValueError

        return work

    async with scene.open(worker(never), shutdown_timeout=0):
        await scene.push("default", payload("work"))
        await begun.wait()
    assert await scene.queue() == [payload("work")]

    told: list[str] = []
    async with scene.open(worker(lambda job, error: told.append(job.jid))):
        await until(lambda: scene.entries("dead"))
    assert told == ["jid-work"]


async def test_a_mock_judges_and_tells_as_a_node_does(exq_mock: Mock) -> None:
    told: list[str] = []

    @exq.worker(discard_on=KeyError, on_exhausted=lambda job, error: told.append(type(error).__name__))
    async def work() -> None:
        raise KeyError

    async with exq.open(workers=[work], mode="enqueuer") as q:
        await q.push(work.job())
        (performed,) = await exq_mock.drain(raises=False)

    assert (performed.outcome, told, exq_mock.jobs(place="dead")) == ("discarded", ["KeyError"], [])
