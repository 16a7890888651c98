"""A worker process: what ``exq run`` does in it."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import anyio
import click

from .. import process
from ..app import Exq
from ..errors import ExqError
from ..worker import Registry
from .child import Child
from .notify import Notifier
from .options import Backend, backend_options

if TYPE_CHECKING:
    from ..config import Config
    from .probes import Look

logger: logging.Logger = logging.getLogger("exq_anyio")

Task: TypeAlias = "Callable[[], Coroutine[object, object, None]]"

Probes: TypeAlias = "Callable[[Look], None]"
"""Begins to answer probes with what it is given to look at."""


def serve(config: Config, backend: Backend, *, child: Child | None = None, probes: Probes | None = None) -> bool:
    """Work until told to stop, in this process; whether all jobs have ended.

    Raises:
        ExqError: it cannot start.
    """
    # Imported here, as `python -m` would do it, before there is an event loop.
    workers = Registry.build(config.workers, config.imports).workers
    if not workers:
        raise click.UsageError(
            "there are no workers: name the MODULEs that mark some with @exq.worker, or set EXQ_IMPORTS"
        )
    ease_collector()
    logger.info("starting: backend=%s redis=%s workers=%d", backend, config.address().display(), len(workers))
    serving = partial(_serve, config, probes) if child is None else partial(_serve_child, config, child)
    ended = anyio.run(serving, backend=backend, backend_options=backend_options(backend))
    logger.info("stopped")
    return ended


def ease_collector() -> None:
    """Have Python look for cyclic garbage more seldom, and not among what was imported.

    With its defaults, a process that holds ten thousand running jobs spends two thirds of its time looking (measured:
    2.1 s of CPU until they all sleep, 0.8 s with these).
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _serve(config: Config, probes: Probes | None) -> bool:
    notifier, instances = Notifier(os.environ), list[Exq]()
    if probes is not None:
        probes(lambda: [instance.health() for instance in instances] or [None])

    def opened(instance: Exq) -> None:
        instances.append(instance)
        notifier.ready()

    watched = partial(_watched, notifier) if notifier.watchdog else None
    return await _beside(watched, partial(process.serve, config, last_resort=leave, on_open=opened))


async def _watched(notifier: Notifier) -> None:
    """Tell systemd that the event loop lives."""
    while True:
        notifier.alive()
        await anyio.sleep(notifier.watchdog)


async def _serve_child(config: Config, child: Child) -> bool:
    return await _beside(child.obey, partial(process.serve, config, last_resort=leave, on_open=child.opened))


async def _beside(
    task: Callable[[], Coroutine[object, object, None]] | None, serving: Callable[[], Awaitable[bool]]
) -> bool:
    """Serve with *task* beside it, whether all jobs have ended; an error leaves as itself, and in no group."""
    ended, failure = False, None
    async with anyio.create_task_group() as tasks:
        if task is not None:
            tasks.start_soon(task)
        try:
            ended = await serving()
        except ExqError as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return ended


def leave() -> NoReturn:
    """End the process although something in it does not: a job in a thread, or one that is deaf to its cancellation.

    The log has named it.  Python would wait for a thread, and a task group for a task, however long it takes.
    """
    logger.warning("leaving what does not end in time")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
