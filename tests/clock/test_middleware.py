"""What middlewares see and may do, on a node."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
import trio

from exq_anyio import Halt, Snooze, job_result, worker, worker_job
from exq_anyio.job import Job
from exq_anyio.middleware import Middleware, default_middleware
from exq_anyio.testing.world import World

from .sites import at, counted, lines, queue_and_backup, working


@worker
async def adds(a: int, b: int) -> int:
    await anyio.sleep(1)
    if b == 0:
        raise ZeroDivisionError("no zero here")
    return a + b


def seeing(seen: list[str], name: str) -> Middleware:
    @contextlib.asynccontextmanager
    async def middleware(job: Job) -> AsyncIterator[None]:
        assert worker_job() is job
        seen.append(f"{at():g} {name} before {job.args} {job_result()}")
        try:
            yield
        except Exception as error:
            seen.append(f"{at():g} {name} failed {type(error).__name__}")
            raise
        seen.append(f"{at():g} {name} after {job_result()}")

    return middleware


async def test_the_first_is_outermost_and_each_sees_success_with_its_result_and_failure(world: World) -> None:
    seen: list[str] = []
    stack = (seeing(seen, "outer"), seeing(seen, "inner"))
    async with working(world, adds, middleware=stack) as site:
        await site.q.enqueue("q", adds, [2, 3])
        await trio.sleep(2)
        await site.q.enqueue("q", adds, [2, 0])
        await trio.sleep(2)
    assert seen == [
        "0 outer before [2, 3] None", "0 inner before [2, 3] None", "1 inner after 5", "1 outer after 5",
        "2 outer before [2, 0] None", "2 inner before [2, 0] None",
        "3 inner failed ZeroDivisionError", "3 outer failed ZeroDivisionError",
    ]  # fmt: skip
    assert counted(world) == (2, 1)


@pytest.mark.parametrize(
    ("raised", "count", "place"),
    [
        (Halt, (1, 0), None),
        (lambda: Halt(Snooze(100)), (1, 0), "schedule"),
        (lambda: ValueError("not today"), (1, 1), "retry"),
    ],
    ids=["halt", "halt with an outcome", "an error"],
)
async def test_a_middleware_ends_a_job_before_it_is_performed(
    world: World, raised: Callable[[], Exception], count: tuple[int, int], place: str | None
) -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def halts(job: Job) -> AsyncIterator[None]:
        raise raised()
        yield  # type: ignore[unreachable]  # makes it a generator

    async with working(world, adds, middleware=(halts, seeing(seen, "inner"))) as site:
        await site.q.enqueue("q", adds, [2, 3])
        await trio.sleep(0.5)
        assert (seen, counted(world), queue_and_backup(world)) == ([], count, ([], []))
        full = [name for name in ("retry", "schedule", "dead") if world.sorted_sets[name]]
        assert full == ([place] if place else [])


async def test_a_middleware_may_take_a_failure_upon_itself(world: World) -> None:
    @contextlib.asynccontextmanager
    async def forgives(job: Job) -> AsyncIterator[None]:
        with contextlib.suppress(ZeroDivisionError):
            yield

    async with working(world, adds, middleware=(forgives,)) as site:
        await site.q.enqueue("q", adds, [2, 0])
        await trio.sleep(2)
    assert (counted(world), world.sorted_sets["retry"]) == ((1, 0), {})


async def test_by_default_a_line_is_logged_for_each_job_that_ends_well_and_for_each_that_fails(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exq_anyio")
    async with working(world, adds, middleware=default_middleware) as site:
        well = await site.q.enqueue("q", adds, [2, 3])
        await trio.sleep(2)
        badly = await site.q.enqueue("q", adds, [2, 0])
        await trio.sleep(2)
    (done,) = lines(caplog, "job done")
    assert done.startswith(f"job done: jid={well} worker=adds queue=q seconds=")
    assert lines(caplog, "job retry") == [
        f"job retry: jid={badly} worker=adds queue=q seconds=1.000000 reason=ZeroDivisionError"
    ]
