"""What the body of ``async with exq.open(...)`` raises leaves it as itself, and so does a bug in a service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.node import heartbeat, lines, node, rescues, scheduler
from exq_anyio.node.settler import Settler

from .scene import Scene, our_threads, records, until


class Foundation(BaseException): ...


class Bug(Exception): ...


class Held:
    """A worker whose jobs never end by themselves."""

    def __init__(self) -> None:
        self.started = 0

        @exq.worker(name="Held")
        async def held() -> None:
            self.started += 1
            await anyio.sleep_forever()

        self.worker = held


async def enqueue_and_stay(instance: AbstractAsyncContextManager[exq.Exq], held: Held) -> None:
    """The body of a program that ends only from outside."""
    async with instance as q:
        await q.enqueue("default", held.worker)
        await anyio.sleep_forever()


ERRORS: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: ValueError("mine"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "a BaseException": Foundation,
    "GeneratorExit": GeneratorExit,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "a group": lambda: ExceptionGroup("mine", [ValueError(1), TypeError(2)]),
    "a group of one": lambda: ExceptionGroup("mine", [ValueError(1)]),
    "a group of what ends programs": lambda: BaseExceptionGroup("mine", [SystemExit(1)]),
    "an error of ours": lambda: exq.RedisUnavailable("here", "mine"),
}


@pytest.mark.parametrize("mode", ["default", "enqueuer"])
@pytest.mark.parametrize("kind", ERRORS)
async def test_what_the_body_raises_leaves_as_itself_and_the_jobs_go_back(scene: Scene, kind: str, mode: str) -> None:
    error, held = ERRORS[kind](), Held()
    cause = KeyError("the cause")
    caught: BaseException | None = None
    try:
        async with scene.open(held.worker, mode=mode, shutdown_timeout=0) as q:
            await q.enqueue("default", held.worker)
            if mode == "default":
                await until(lambda: held.started == 1)
            raise error from cause
    except BaseException as leaving:
        caught = leaving
    assert caught is error
    assert (caught.__cause__, caught.__suppress_context__) == (cause, True)
    assert len(await scene.queue()) == 1
    assert await scene.keys() == {"queues", "queue:default"}
    await until(lambda: scene.connected(0))


async def test_a_cancelled_caller_gets_its_cancellation_and_the_jobs_go_back(scene: Scene) -> None:
    held, reached = Held(), False
    with anyio.CancelScope() as scope:
        async with scene.open(held.worker, shutdown_timeout=0.1) as q:
            await q.enqueue("default", held.worker)
            await until(lambda: held.started == 1)
            scope.cancel()
            await anyio.sleep_forever()
        reached = True
    assert scope.cancelled_caught
    assert not reached
    assert len(await scene.queue()) == 1
    assert await scene.keys() == {"queues", "queue:default"}


async def test_a_timeout_of_the_caller_is_a_timeout(scene: Scene) -> None:
    held = Held()

    async def program() -> None:
        with anyio.fail_after(60) as timeout:
            async with scene.open(held.worker, shutdown_timeout=0) as q:
                await q.enqueue("default", held.worker)
                await until(lambda: held.started == 1)
                timeout.deadline = anyio.current_time()
                await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await program()
    assert held.started == 1
    assert len(await scene.queue()) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncio_that_is_cancelled_is_cancelled_and_the_jobs_go_back(scene: Scene) -> None:
    held = Held()

    async def program() -> None:
        async with scene.open(held.worker, shutdown_timeout=0.05) as q:
            await q.enqueue("default", held.worker)
            await asyncio.Event().wait()

    task = asyncio.create_task(program())
    await until(lambda: held.started == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert len(await scene.queue()) == 1
    assert await scene.keys() == {"queues", "queue:default"}


async def test_an_error_beside_the_instance_reaches_the_caller_as_it_would_without_it(scene: Scene) -> None:
    held = Held()

    async def fail() -> None:
        await until(lambda: held.started == 1)
        raise ValueError("beside")

    async def program() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            await enqueue_and_stay(scene.open(held.worker, shutdown_timeout=0), held)

    with pytest.raises(ExceptionGroup) as caught:
        await program()
    assert [repr(error) for error in caught.value.exceptions] == ["ValueError('beside')"]
    assert len(await scene.queue()) == 1


async def test_nothing_can_be_enqueued_through_an_instance_that_is_closed(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        await q.enqueue("default", "Job")
    with pytest.raises(exq.ExqError, match="closed"):
        await q.enqueue("default", "Job")
    assert len(await scene.queue()) == 1


async def bug(*args: object, **kwargs: object) -> None:
    raise Bug


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (node, "schedule"),
        (scheduler, "promote_all"),
        (Settler, "run"),
        (heartbeat, "beat"),
        (heartbeat, "tick"),
        (node, "obey_signals"),
        (rescues.Rescues, "_look"),
        (lines, "poll"),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
async def test_a_bug_in_a_service_leaves_as_itself_and_loses_no_job(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    held = Held()
    instance = scene.open(held.worker, heartbeat_interval=0.05, node_identifier="box", shutdown_timeout=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, bug)
        with pytest.raises(Bug):
            await enqueue_and_stay(instance, held)
    places = [*await scene.queue(), *await scene.backup("box#1")]
    assert len(places) <= 1
    await until(lambda: scene.connected(0))
    # Had it not been enqueued yet, there would be nothing; else it is there, whole.
    assert await scene.count("processed") == 0


async def test_a_bug_in_a_service_while_jobs_run_sends_them_back_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, break_now = Held(), anyio.Event()
    real = scheduler.promote_all

    async def breaks(*args: object) -> None:
        if break_now.is_set():
            raise Bug
        await real(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(scheduler, "promote_all", breaks)

    async def program() -> None:
        async with scene.open(held.worker, node_identifier="box") as q:
            for _ in range(3):
                await q.enqueue("default", held.worker)
            await until(lambda: held.started == 3)
            break_now.set()
            await anyio.sleep_forever()

    with pytest.raises(Bug):
        await program()
    assert (len(await scene.queue()), await scene.backup("box#1")) == (3, [])
    assert not any("rescue_count" in job for job in records(await scene.queue()))
    break_now = anyio.Event()
    # Whoever is up next works them off, although the process that had them lives.
    async with scene.open(held.worker, heartbeat_interval=0.05, shutdown_timeout=0):
        await until(lambda: held.started == 6)
        await until(lambda: no_node(scene, "box#1"))  # its traces go with the next look


async def no_node(scene: Scene, node_id: str) -> bool:
    return not {key for key in await scene.keys() if key.startswith(node_id)}


async def test_a_bug_in_a_service_leaves_what_a_thread_is_at_work_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, break_now = threading.Event(), threading.Event(), anyio.Event()
    real = scheduler.promote_all

    async def breaks(*args: object) -> None:
        if break_now.is_set():
            raise Bug
        await real(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(scheduler, "promote_all", breaks)

    @exq.worker(name="Thread")
    def in_a_thread() -> None:
        began.set()
        go_on.wait(60)

    async def program() -> None:
        async with scene.open(in_a_thread, node_identifier="box") as q:
            await q.enqueue("default", in_a_thread)
            await until(began.is_set)
            break_now.set()
            await anyio.sleep_forever()

    with pytest.raises(Bug):
        await program()
    assert (await scene.queue(), len(await scene.backup("box#1"))) == ([], 1)
    go_on.set()
    await until(lambda: not our_threads())  # none is left to the next test
