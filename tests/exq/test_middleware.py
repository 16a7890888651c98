"""What wraps a job sees how it goes, and may keep it from being performed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
import pytest

import exq_anyio as exq

from .scene import Scene, payload, until

Seen = list[tuple[object, ...]]


def watching(seen: Seen, name: str) -> exq.Middleware:
    """A middleware that notes what it sees as *name*."""

    @asynccontextmanager
    async def watch(job: exq.Job) -> AsyncIterator[None]:
        seen.append((name, "before", job.worker))
        try:
            yield
        except BaseException as error:
            seen.append((name, type(error).__name__, str(error)))
            raise
        seen.append((name, "after", exq.job_result()))

    return watch


@exq.worker(name="Good")
async def good(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return number + 1


@exq.worker(name="Foul")
async def foul() -> None:
    raise ValueError("boom")


@exq.worker(name="Sync")
def sync() -> str:
    return exq.worker_job().jid


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


async def test_success_and_its_result_are_seen_the_first_outermost(scene: Scene) -> None:
    seen: Seen = []
    async with scene.open(good, middleware=[watching(seen, "outer"), watching(seen, "inner")]) as q:
        await q.enqueue("default", good, [1])
        await until(partial(counted, scene, 1))
    assert seen == [
        ("outer", "before", "Good"), ("inner", "before", "Good"), ("inner", "after", 2), ("outer", "after", 2)
    ]  # fmt: skip


async def test_failure_is_seen_as_the_error_itself(scene: Scene) -> None:
    seen: Seen = []
    async with scene.open(foul, middleware=[watching(seen, "only")], scheduler_enable=False) as q:
        await q.enqueue("default", foul)
        await until(partial(counted, scene, 1))
    assert seen == [("only", "before", "Foul"), ("only", "ValueError", "boom")]
    assert [job["error_message"] for job in await scene.entries("retry")] == ["boom"]


async def test_the_result_of_a_sync_job_is_seen_too(scene: Scene) -> None:
    seen: Seen = []
    async with scene.open(sync, middleware=[watching(seen, "only")]) as q:
        jid = await q.enqueue("default", sync)
        await until(partial(counted, scene, 1))
    assert seen[1] == ("only", "after", jid)


async def test_a_timeout_is_seen_as_a_cancellation_and_recorded_as_a_timeout(scene: Scene) -> None:
    seen: Seen = []

    @exq.worker(name="Slow", timeout=0.05)
    async def slow() -> None:
        await anyio.sleep_forever()

    async with scene.open(slow, middleware=[watching(seen, "only")], scheduler_enable=False) as q:
        await q.enqueue("default", slow)
        await until(partial(counted, scene, 1))
    assert seen[1][1] == anyio.get_cancelled_exc_class().__name__
    assert [job["error_class"] for job in await scene.entries("retry")] == ["JobTimeout"]


@pytest.mark.parametrize(
    ("verdict", "places"),
    [
        (None, {}),
        (exq.Discard("unwanted"), {}),
        (exq.Snooze(60), {"schedule": "Good"}),
        (exq.Dead("hopeless"), {"dead": "Good"}),
    ],
)
async def test_a_middleware_can_halt_a_job_with_any_verdict(
    scene: Scene, verdict: exq.Snooze | exq.Discard | exq.Dead | None, places: dict[str, str]
) -> None:
    seen: Seen = []

    @asynccontextmanager
    async def halting(job: exq.Job) -> AsyncIterator[None]:
        if job.worker == "Good":
            raise exq.Halt(verdict)
        yield

    stack = [watching(seen, "outer"), halting, watching(seen, "inner")]
    async with scene.open(good, middleware=stack, scheduler_enable=False) as q:
        await q.enqueue("default", good, [1])
        await until(partial(counted, scene, 1))
    assert [(name, event) for name, event, _ in seen] == [("outer", "before"), ("outer", "Halt")]
    found = {name: await scene.entries(name) for name in ("schedule", "dead", "retry")}
    assert {name: jobs[0]["class"] for name, jobs in found.items() if jobs} == places
    assert await scene.queue() == []
    assert await scene.count("failed") == (1 if "dead" in places else 0)


@pytest.mark.parametrize("when", ["on being called", "before", "after"])
async def test_an_error_of_a_middleware_is_a_failure_of_the_job_and_costs_no_slot(scene: Scene, when: str) -> None:
    @asynccontextmanager
    async def inner(job: exq.Job) -> AsyncIterator[None]:
        if when == "before" and job.worker == "Good":
            raise KeyError("middleware")
        yield
        if when == "after" and job.worker == "Good":
            raise KeyError("middleware")

    def broken(job: exq.Job) -> AbstractAsyncContextManager[None]:
        if when == "on being called" and job.worker == "Good":
            raise KeyError("middleware")
        return inner(job)

    await scene.push("default", payload("Good", 1), payload("Sync"))
    async with scene.open(good, sync, middleware=[broken], concurrency=1, scheduler_enable=False):
        await until(partial(counted, scene, 2))
    (job,) = await scene.entries("retry")
    assert (job["class"], job["error_class"], job["error_message"]) == ("Good", "KeyError", "'middleware'")


async def test_a_middleware_may_take_a_failure_upon_itself(scene: Scene) -> None:
    @asynccontextmanager
    async def forgiving(job: exq.Job) -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    async with scene.open(foul, middleware=[forgiving]) as q:
        await q.enqueue("default", foul)
        await until(partial(counted, scene, 1))
    assert (await scene.count("failed"), await scene.scored("retry")) == (0, [])


async def test_runs_are_counted_and_retried_without_any_middleware(scene: Scene) -> None:
    async with scene.open(good, foul, middleware=[], scheduler_enable=False) as q:
        await q.enqueue_all([good.job(1), foul.job()])
        await until(partial(counted, scene, 2))
    assert (await scene.count("failed"), len(await scene.scored("retry"))) == (1, 1)


async def test_client_middleware_wraps_the_enqueue_and_may_keep_a_job_out(scene: Scene) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def checking(spec: exq.JobSpec) -> AsyncIterator[None]:
        seen.append(f"before {spec.worker}")
        if spec.worker == "Foul":
            raise PermissionError("not this one")
        yield
        seen.append(f"after {spec.worker}")

    async with scene.enqueuer(client_middleware=[checking]) as q:
        await q.enqueue("default", good, [1])
        with pytest.raises(PermissionError, match="not this one"):
            await q.enqueue_all([good.job(2), foul.job()])
    assert seen == ["before Good", "after Good", "before Good", "before Foul"]
    assert len(await scene.queue()) == 1
