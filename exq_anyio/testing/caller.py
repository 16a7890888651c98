"""Blocking callers under a mock: their thread waits for the event loop, and meanwhile performs jobs that block.

A worker that is no ``async def`` runs in a thread.  Where the caller blocks too, that is the caller's own thread: there
it sees what is bound to it, such as the open transaction of a Django test.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import anyio.to_thread
import attrs

from ..worker import Registry

T = TypeVar("T")

_Errands: TypeAlias = "SimpleQueue[Callable[[], object] | None]"

_errands: ContextVar[_Errands | None] = ContextVar("exq_anyio_errands", default=None)
"""What the thread is to do that has called us, and waits; None when the caller is a task."""


def wait(start: Callable[[], Future[T]]) -> T:
    """What the future that *start* returns ends in; until then this thread performs the jobs that it is given."""
    errands: _Errands = SimpleQueue()
    context = copy_context()
    context.run(_errands.set, errands)
    future = context.run(start)
    future.add_done_callback(lambda _: errands.put(None))
    while (errand := errands.get()) is not None:
        errand()
    return future.result()


def in_callers_thread(workers: Registry, name: str) -> Registry:
    """*workers*, with the worker *name*, if it blocks, performed in the thread that waits for it, if one does."""
    errands, worker = _errands.get(), workers.workers.get(name)
    if errands is None or worker is None or worker.is_async:
        return workers
    return Registry({name: attrs.evolve(worker, is_async=True, call=partial(_handed_over, errands, worker.call))})


async def _handed_over(errands: _Errands, call: Callable[..., object], *args: object, **given: object) -> object:
    done: Future[object] = Future()
    errands.put(partial(_perform, done, copy_context().run, call, *args, **given))
    return await anyio.to_thread.run_sync(done.result, abandon_on_cancel=True)


def _perform(done: Future[object], call: Callable[..., object], *args: object, **given: object) -> None:
    try:
        done.set_result(call(*args, **given))
    except BaseException as error:
        done.set_exception(error)
