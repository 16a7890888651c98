"""Every way in which a job can fail: each is recorded once, and costs no slot."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import attrs
import pytest

import exq_anyio as exq

from .scene import Scene, our_threads, payload, until


class Foundation(BaseException):
    """As libraries derive theirs."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("nothing to say")


class MuteForGood(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Odd(Exception):
    def __str__(self) -> str:
        return cast("str", 7)


@attrs.frozen
class Address:
    city: str


async def leaked_cancellation() -> None:
    """A cancellation of a scope that has ended, as from a future that somebody cancelled."""
    kept: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except BaseException as error:
            kept.append(error)
            raise
    raise kept[0]


async def raise_from_group() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail, KeyError("a"))
        tasks.start_soon(fail, ValueError("b"))


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work


def raising_in_thread(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


async def forever() -> None:
    await anyio.sleep_forever()


enough = threading.Event()


def until_it_is_enough() -> None:
    enough.wait(60)


@asynccontextmanager
async def threads_held() -> AsyncIterator[None]:
    """Until the end of this block it is not enough; then no thread of ours is left to the next test."""
    enough.clear()
    try:
        yield
    finally:
        enough.set()
    await until(lambda: not our_threads())


async def takes_one(number: int) -> None: ...


async def takes_address(address: Address) -> None: ...


async def deep() -> None:
    await deep()


WAYS: dict[str, tuple[Callable[..., object], list[object], str]] = {
    "an error": (raising(ValueError("boom")), [], "ValueError"),
    "an error without a message": (raising(ValueError()), [], "ValueError"),
    "a BaseException": (raising(Foundation("base")), [], "Foundation"),
    "SystemExit": (raising(SystemExit(3)), [], "SystemExit"),
    "GeneratorExit": (raising(GeneratorExit()), [], "GeneratorExit"),
    "StopIteration": (raising(StopIteration(1)), [], "RuntimeError"),
    "StopAsyncIteration": (raising(StopAsyncIteration()), [], "StopAsyncIteration"),
    "a leaked cancellation": (leaked_cancellation, [], ""),
    "asyncio's CancelledError": (raising(asyncio.CancelledError()), [], "CancelledError"),
    "a group of errors": (raise_from_group, [], "ExceptionGroup"),
    "a group of its own": (raising(BaseExceptionGroup("g", [SystemExit(1)])), [], "BaseExceptionGroup"),
    "an error that cannot be shown": (raising(Mute()), [], "Mute"),
    "an error that ends the process when shown": (raising(MuteForGood()), [], "MuteForGood"),
    "an error that is shown as a number": (raising(Odd()), [], "Odd"),
    "an error with half a character": (raising(ValueError("\ud800")), [], "ValueError"),
    "an error as long as a book": (raising(ValueError("x" * 1_000_000)), [], "ValueError"),
    "a recursion without an end": (deep, [], "RecursionError"),
    "too many arguments": (takes_one, [1, 2], "ArgumentError"),
    "too few arguments": (takes_one, [], "ArgumentError"),
    "an argument of the wrong type": (takes_address, ["Köln"], "ArgumentError"),
    "an argument without a field": (takes_address, [{"town": "x"}], "ArgumentError"),
    "a timeout": (forever, [], "JobTimeout"),
    "an error in a thread": (raising_in_thread(ValueError("boom")), [], "ValueError"),
    "SystemExit in a thread": (raising_in_thread(SystemExit()), [], "SystemExit"),
    "StopIteration in a thread": (raising_in_thread(StopIteration()), [], ""),
    "a cancelled future in a thread": (raising_in_thread(concurrent.futures.CancelledError()), [], "CancelledError"),
    "a timeout in a thread": (until_it_is_enough, [], "JobTimeout"),
    "no such worker": (takes_one, [], "UnknownWorker"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_is_recorded_once_and_costs_no_slot(scene: Scene, way: str) -> None:
    code, args, error_class = WAYS[way]
    foul = exq.worker(name="Foul")(code)
    ran: list[str] = []

    @exq.worker(name="Good")
    async def good() -> None:
        await anyio.sleep(0.001)
        ran.append("good")

    name = "Missing::Worker" if way == "no such worker" else "Foul"
    timeout = {"timeout": 0.05} if "timeout" in way else {}
    before = time.time()
    await scene.push("default", payload(name, *args, unknown=[1, None], **timeout), payload("Good"), payload("Good"))
    async with threads_held(), scene.open(foul, good, concurrency=1, scheduler_enable=False):
        await until(lambda: counted(scene, 3))
        assert ran == ["good", "good"]
    after = time.time()
    (job,) = await scene.entries("retry")
    ((_, score),) = await scene.scored("retry")
    assert before + 15 <= score <= after + 25
    assert before <= job.pop("failed_at") <= after
    found, message = job.pop("error_class"), job.pop("error_message")
    assert message
    assert len(message) <= 10_000
    if way == "a leaked cancellation":
        error_class = anyio.get_cancelled_exc_class().__name__
    assert found == error_class or not error_class
    assert job == {
        "class": name, "args": args, "jid": f"jid-{name}", "retry": True, "unknown": [1, None], "queue": "default",
        "retry_count": 0, **timeout,
    }  # fmt: skip
    assert (await scene.count("failed"), await scene.queue(), await scene.scored("dead")) == (1, [], [])


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_job_that_cancels_its_own_task_fails_and_the_next_ones_are_not_touched(scene: Scene) -> None:
    ran: list[int] = []

    @exq.worker(name="Suicide")
    async def suicide() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep(10)

    @exq.worker(name="Good")
    async def good(number: int) -> None:
        # Both kinds of timeout look at the cancellations that the task has seen.
        async with asyncio.timeout(10):
            await anyio.sleep(0.001)
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        with anyio.fail_after(10):
            await anyio.sleep(0.001)
        ran.append(number)

    async with scene.open(suicide, good, concurrency=1, scheduler_enable=False) as q:
        await q.enqueue_all([suicide.job(), good.job(1), suicide.job(), good.job(2), good.job(3)])
        await until(lambda: counted(scene, 5))
    assert ran == [1, 2, 3]
    assert [job["error_class"] for job in await scene.entries("retry")] == ["CancelledError"] * 2


async def test_a_cancellation_inside_a_job_is_its_own_affair(scene: Scene) -> None:
    ran: list[str] = []

    @exq.worker(name="Own")
    async def own() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        ran.append("done")

    async with scene.open(own, concurrency=1) as q:
        await q.enqueue_all([own.job(), own.job()])
        await until(lambda: counted(scene, 2))
    assert (ran, await scene.count("failed")) == (["done", "done"], 0)


async def test_what_a_job_returns_is_no_failure_even_if_it_is_an_error(scene: Scene) -> None:
    @exq.worker(name="Returns")
    async def returns() -> object:
        return ValueError("only returned")

    async with scene.open(returns) as q:
        await q.enqueue("default", returns)
        await until(lambda: counted(scene, 1))
    assert (await scene.count("failed"), await scene.scored("retry")) == (0, [])


async def test_a_job_is_retried_as_often_as_it_may_and_then_dead(scene: Scene) -> None:
    runs: list[int] = []

    @exq.worker(name="Foul")
    async def foul() -> None:
        runs.append(exq.worker_job().attempt)
        raise ValueError(f"failure {len(runs)}")

    waits: list[tuple[int | None, str]] = []

    def backoff(job: exq.Job, error: BaseException) -> float:
        waits.append((job.retry_count, str(error)))
        return 0.01

    async with scene.open(foul, backoff=backoff) as q:
        jid = await q.enqueue("default", foul, max_retries=3)
        await until(lambda: scene.scored("dead"))
    (job,) = await scene.entries("dead")
    assert runs == [1, 2, 3, 4]
    assert waits == [(0, "failure 1"), (1, "failure 2"), (2, "failure 3")]
    assert (job["jid"], job["retry_count"], job["retry"], job["error_message"]) == (jid, 3, 3, "failure 4")
    assert job["created_at"] < job["failed_at"] < job["retried_at"]
    assert (await scene.count("processed"), await scene.count("failed")) == (4, 4)


@pytest.mark.parametrize("broken", [-5, float("nan"), float("inf"), 1e300, "soon", ZeroDivisionError()])
async def test_a_backoff_that_is_of_no_use_loses_no_job(scene: Scene, broken: object) -> None:
    def backoff(job: exq.Job, error: BaseException) -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    foul = exq.worker(name="Foul")(raising(ValueError("boom")))
    before = time.time()
    async with scene.open(foul, backoff=backoff, scheduler_enable=False) as q:
        await q.enqueue("default", foul)
        await until(lambda: scene.scored("retry"))
    ((_, score),) = await scene.scored("retry")
    assert before <= score <= time.time() + 10 * 365 * 86400


async def test_all_ends_of_a_job_are_distinct(scene: Scene) -> None:
    ends: dict[str, object] = {
        "snooze": exq.Snooze(300), "discard": exq.Discard("not needed"), "dead": exq.Dead("hopeless"), "done": 7
    }  # fmt: skip

    @exq.worker(name="End")
    async def end(how: str) -> object:
        return ends[how]

    before = time.time()
    async with scene.open(end, scheduler_enable=False) as q:
        jids = {how: await q.enqueue("default", end, [how]) for how in ends}
        await until(lambda: counted(scene, 4))
    after = time.time()
    ((_, due),) = await scene.scored("schedule")
    (snoozed,) = await scene.entries("schedule")
    (dead,) = await scene.entries("dead")
    assert before + 300 <= due <= after + 300
    assert (snoozed["jid"], snoozed["snooze_count"], "retry_count" in snoozed) == (jids["snooze"], 1, False)
    assert (dead["jid"], dead["error_class"], dead["error_message"]) == (jids["dead"], "Dead", "hopeless")
    assert (await scene.scored("retry"), await scene.queue(), await scene.count("failed")) == ([], [], 1)


async def test_arguments_arrive_as_they_were_given(scene: Scene) -> None:
    got: list[object] = []

    class Applied(exq.Worker):
        worker_name = "A::B"

        async def perform(self, left: int, right: Address, *more: object) -> None:
            got.append((left, right, *more))

    @exq.worker(name="Sync")
    def sync(text: str, options: dict[str, list[float]]) -> None:
        got.append((text, options, threading.current_thread() is threading.main_thread()))

    async with scene.open(Applied, sync, concurrency=1) as q:
        await q.push(Applied.job(1, Address("Köln"), None, 12345678901234567890123, [1.5, {"x": True}]))
        await q.enqueue("default", "Sync", ["é\x00/", {"a": [1.0, 2.5]}])
        await until(lambda: len(got) == 2)
    assert got == [
        (1, Address("Köln"), None, 12345678901234567890123, [1.5, {"x": True}]),
        ("é\x00/", {"a": [1.0, 2.5]}, False),
    ]


async def test_a_backtrace_is_kept_where_the_job_asks_for_one(scene: Scene) -> None:
    foul = exq.worker(name="Foul")(raising(ValueError("boom")))
    await scene.push("default", payload("Foul", backtrace=True, jid="all"), payload("Foul", backtrace=1, jid="one"))
    async with scene.open(foul, scheduler_enable=False, concurrency=1):
        await until(lambda: counted(scene, 2))
    jobs = {str(job["jid"]): job for job in await scene.entries("retry")}
    kept = {jid: exq.Job(job, b"", "default").error_backtrace for jid, job in jobs.items()}
    everything, first = kept["all"], kept["one"]
    assert everything is not None
    assert "test_failures.py" in everything[0]
    assert first == everything[:1]


async def test_a_job_may_ask_who_it_is_and_nobody_else_may(scene: Scene) -> None:
    seen: list[tuple[str, str]] = []

    @exq.worker(name="Async")
    async def one() -> None:
        await anyio.sleep(0.001)
        seen.append(("Async", exq.worker_job().jid))

    @exq.worker(name="Sync")
    def other() -> None:
        seen.append(("Sync", exq.worker_job().jid))

    async with scene.open(one, other) as q:
        jids = [("Async", await q.enqueue("default", one)), ("Sync", await q.enqueue("default", other))]
        jids += [("Async", await q.enqueue("default", one))]
        await until(lambda: len(seen) == 3)
        with pytest.raises(LookupError, match="outside of a job"):
            exq.worker_job()
    assert sorted(seen) == sorted(jids)
