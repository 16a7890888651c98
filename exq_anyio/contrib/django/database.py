"""Connections to the database in the threads that perform jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import attrs
from django.db import close_old_connections

from ...worker import FunctionWorker, Registry


def tend_connections(workers: Registry) -> None:
    """Have each worker that blocks close, before and after a job, connections that are too old or have failed.

    Django does so around each request.  A thread that performs jobs would keep, for ever, one that the database has
    closed.  For a process that only performs jobs: the workers themselves are changed.
    """
    for worker in workers.workers.values():
        if not worker.is_async:
            tended = attrs.evolve(worker, call=functools.partial(_tended, worker.call))
            if isinstance(worker.code, FunctionWorker):
                worker.code.bound = tended
            else:
                worker.code.__bound_worker__ = tended  # type: ignore[attr-defined]  # where a class keeps it


def _tended(call: Callable[..., object], *args: object, **given: object) -> object:
    close_old_connections()
    try:
        return call(*args, **given)
    finally:
        close_old_connections()
