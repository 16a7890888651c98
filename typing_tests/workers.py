"""What a type checker must say about workers: each `ignore` here is an error that it has to find.

An `ignore` that hides nothing is itself an error, to mypy (`warn_unused_ignores`) and to pyright (the line below, which
holds for `type: ignore` as well): a wrong call that is no longer caught fails the check.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from exq_anyio.spec import JobSpec
from exq_anyio.worker import FunctionWorker, Registry, Worker, to_spec, worker


@worker
async def send(user_id: int, template: str = "hi", *ccs: str) -> bytes:
    return b""


@worker(queue="mail", max_retries=5, timeout=timedelta(minutes=1), tags=["slow"], unique_until="start")
def report(month: str) -> int:
    return 1


class Resize(Worker):
    worker_name = "Images::Resize"
    queue = "images"
    max_retries = 3
    timeout = 5
    unique_until = "start"

    async def perform(self, path: str, width: int = 100) -> None: ...

    @staticmethod
    def backoff(job: Any, error: BaseException) -> float:
        return 1.0


class Static(Worker):
    @staticmethod
    def perform(a: int) -> int:
        return a


class Base(Worker):
    queue = "low"


class Derived(Base):
    def perform(self, a: int) -> int:
        return a


# Functions are called as before, and make jobs of the same calls.
async def calls() -> None:
    assert_type(await send(7, "x", "y"), bytes)
    assert_type(report("may"), int)
    await send("7")  # type: ignore[arg-type]
    report()  # type: ignore[call-arg]


assert_type(send.job(7), JobSpec)
send.job(7, template="x")
send.job(7, "x", "a", "b")
send.job("7")  # type: ignore[arg-type]
send.job()  # type: ignore[call-arg]
send.job(7, tempalte="x")  # type: ignore[call-arg]
send.job(7, "x", 5)  # type: ignore[arg-type]
report.job("may", 1)  # type: ignore[call-arg]

# Classes: what `perform` takes.
assert_type(Resize.job("a.png"), JobSpec)
Resize.job("a.png", width=5)
Resize().job("a.png")
Derived.job(1)
Static.job(1)
Resize.job(5)  # type: ignore[arg-type]
Resize.job("a.png", "5")  # type: ignore[arg-type]
Resize.job()  # type: ignore[call-arg]
Resize.job("a.png", height=5)  # type: ignore[call-arg]
Derived.job("a")  # type: ignore[arg-type]
Static.job("a")  # type: ignore[arg-type]
Base.job()  # type: ignore[arg-type]

# Options.
send.job(7).on(queue="low", after=5, max_retries=False, backtrace=3)
send.job(7).on(at=datetime.now(UTC), unique_for=timedelta(hours=1), timeout=None)
send.job(7).on(queue=5)  # type: ignore[arg-type]
send.job(7).on(after="5")  # type: ignore[arg-type]
send.job(7).on(unique_until="later")  # type: ignore[arg-type]
worker(quene="low")  # type: ignore[call-overload]
worker(max_retries="5")  # type: ignore[call-overload]

# By class, function or name.
registry = Registry.build([send, Resize])
assert_type(to_spec(send, [1], registry), JobSpec)
to_spec(Resize, (1, "a"), None)
to_spec("Ruby::Job", [], registry)
to_spec(5, [], None)  # type: ignore[arg-type]


def takes_any_worker(code: FunctionWorker[..., object]) -> None: ...


takes_any_worker(send)
takes_any_worker(report)
