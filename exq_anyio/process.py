"""A worker process: one instance that works until a signal, and what a signal means to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.abc import TaskGroup

from .app import LEAVING, Exq, first_failure, node_of, open  # noqa: A004  # exq.open is the name that users know
from .config import Config

if TYPE_CHECKING:
    from .node.node import Node

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN)
"""What a worker process obeys, as Sidekiq does."""

PATIENCE = 1.4
"""Seconds after the grace for all that a stop does, even if Redis is away: the node needs 1.2 of them at most."""


async def serve(
    config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
    /,
    *,
    last_resort: Callable[[], object] | None = None,
    on_open: Callable[[Exq], object] | None = None,
    **overrides: object,
) -> bool:
    """Work on queues until SIGTERM or SIGINT: a worker process, as in ``anyio.run(exq.serve)``.

    The first of these signals stops gracefully, a second one cuts the grace short; SIGTSTP makes the node quiet, and
    SIGTTIN logs what every task and thread is doing.  Takes and raises what :func:`open` does.

    Returns whether all jobs have ended: false when one is still at work in a thread, which only the end of the process
    ends (``os._exit``, since Python itself waits for threads).  A job that is no thread and swallows its cancellation
    is waited for.  *last_resort* is called, in a thread, when ``shutdown_timeout`` and two seconds are over, or more as
    long as jobs by the thousand go back, and it has still not ended; ``exq run`` leaves the process then.  *on_open* is
    given the instance as soon as it works.
    """
    served = _Served(last_resort=last_resort)
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(*SIGNALS) as signals:
                tasks.start_soon(_obey, signals, served, tasks)
                async with open(config, **overrides) as instance:
                    node = served.node = node_of(instance, "serve")
                    if on_open is not None:
                        on_open(instance)
                    if served.quiet:
                        tasks.start_soon(node.hush)
                    tasks.start_soon(_set_after, node.stopped, served.stopping)
                    await served.stopping.wait()
                    served.time_out(node.config.shutdown_timeout + (LEAVING if node.config.resources else 0))
                tasks.cancel_scope.cancel()
    except BaseException as error:
        failure = first_failure(error)
    finally:
        served.timer.cancel()
    if failure is not None:
        raise failure
    return served.node is None or not served.node.left_running


@attrs.define(eq=False)
class _Served:
    """What a serving process has been told."""

    last_resort: Callable[[], object] | None
    """What is done when it does not end in time."""
    timer: threading.Timer = attrs.field(factory=lambda: threading.Timer(0, bool))
    """Does that; not started before the stop."""
    node: Node | None = None
    """The node, as soon as it is up."""
    quiet: bool = False
    """True after SIGTSTP."""
    signalled: bool = False
    """True after SIGTERM or SIGINT."""
    stopping: anyio.Event = attrs.field(factory=anyio.Event)
    """Set then, or when the node is told to stop otherwise."""

    def time_out(self, grace: float) -> None:
        """Expect the end *grace* seconds from now, and a little more."""
        self.timer.cancel()
        if self.last_resort is not None:
            self.timer = threading.Timer(grace + PATIENCE, self._late)
            self.timer.daemon = True
            self.timer.start()

    def _late(self) -> None:
        """Leave, unless the jobs of a node that holds thousands are still being sent back."""
        assert self.last_resort is not None
        if self.node is not None and time.monotonic() - self.node.unburdened < PATIENCE:
            self.time_out(0)
            return
        try:
            if self.node is not None:
                self.node.name_unended()  # a job that blocks the event loop has kept the node from it
        finally:
            self.last_resort()


async def _obey(signals: AsyncIterator[signal.Signals], served: _Served, tasks: TaskGroup) -> None:
    async for received in signals:
        if received == signal.SIGTTIN:
            if served.node is not None:
                served.node.log_stacks()
        elif received == signal.SIGTSTP:
            served.quiet = True
            if served.node is not None:
                # A task of its own: it waits for the pollers, which may be waiting for Redis, and SIGTERM must not.
                tasks.start_soon(served.node.hush)
        elif served.node is None:
            tasks.cancel_scope.cancel()
            served.time_out(0)
        elif not served.signalled:
            # The first, also when the node was told to stop otherwise: a supervisor may do both.
            served.signalled = True
            served.stopping.set()
        else:
            served.node.stop(grace=0)
            served.time_out(0)


async def _set_after(wait: Callable[[], Awaitable[None]], event: anyio.Event) -> None:
    await wait()
    event.set()
