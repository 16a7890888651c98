"""What wraps a job: async context managers, the first of a stack outermost, and what code inside a job may ask.

A middleware takes the :class:`~exq_anyio.job.Job` and returns an async context manager.  It sees failure as the
exception at its ``yield``; raising before ``yield``, or :class:`~exq_anyio.outcome.Halt`, ends the job without
performing it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from time import perf_counter
from typing import TypeAlias

import attrs

from .job import Job

logger: logging.Logger = logging.getLogger("exq_anyio")

Middleware: TypeAlias = Callable[[Job], AbstractAsyncContextManager[object, "bool | None"]]
"""Wraps one job."""


@attrs.define(eq=False)
class Run:
    """One run of one job, as the code inside it may see it."""

    job: Job
    """The job."""
    result: object = None
    """What the worker returned; None until then."""


current_run: ContextVar[Run] = ContextVar("exq_anyio_run")
"""The run that the calling code belongs to; each job's task, and a sync job's thread, has its own context."""


def worker_job() -> Job:
    """The job that is being performed, from anywhere inside its worker or a middleware.

    Raises:
        LookupError: no job is being performed here.
    """
    return _current("worker_job").job


def job_result() -> object:
    """What the worker returned, for a middleware after its ``yield``; None while it has not returned.

    Raises:
        LookupError: no job is being performed here.
    """
    return _current("job_result").result


def _current(asked: str) -> Run:
    try:
        return current_run.get()
    except LookupError:
        raise LookupError(f"{asked}() is called outside of a job") from None


class log_jobs:  # used like the functions that others write; a class costs a third of a generator
    """Log a line at level info for each job that succeeds; failures are logged where they are settled."""

    __slots__ = ("_job", "_started")

    def __init__(self, job: Job) -> None:
        self._job = job

    async def __aenter__(self) -> None:
        self._started = perf_counter()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None and logger.isEnabledFor(logging.INFO):
            job, took = self._job, perf_counter() - self._started
            logger.info("job done: jid=%s worker=%s queue=%s seconds=%.6f", job.jid, job.worker, job.queue, took)


default_middleware: tuple[Middleware, ...] = (log_jobs,)
"""The stack that ``Config.middleware`` replaces."""


async def through(
    stack: Sequence[Middleware], job: Job, perform: Callable[[], Awaitable[object]], at: int = 0
) -> object:
    """What *perform* returns, called inside the middlewares from number *at* on."""
    if at == len(stack):
        return await perform()
    result: object = None  # stays when a middleware takes a failure upon itself
    async with stack[at](job):
        result = await through(stack, job, perform, at + 1)
    return result
