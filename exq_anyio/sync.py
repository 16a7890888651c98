"""To put jobs in from code that blocks: Django, Flask, scripts.

A thread runs an event loop with an instance that only enqueues.  It is started by the first call; in a process that was
forked since, where that thread is not, by the first call there.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import anyio
import attrs

from .app import open  # noqa: A004  # exq.open is the name that users know
from .client import Client
from .config import Config
from .load import load_config, with_code
from .outbox import REDIS, StandIn, in_context, stand_in
from .worker import Registry

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from anyio.from_thread import BlockingPortal

P = ParamSpec("P")
R = TypeVar("R")

END_TIMEOUT = 5.0
"""Seconds that a connection has to close, also at the end of the process."""


def _blocking(
    method: Callable[Concatenate[Client, P], Awaitable[R]],
) -> Callable[[Callable[[Sync], None]], Callable[Concatenate[Sync, P], R]]:
    """Make a method of :class:`Sync` of that of a client, with its parameters and its docstring."""

    def made(_: Callable[[Sync], None]) -> Callable[Concatenate[Sync, P], R]:
        @functools.wraps(method)
        def call(self: Sync, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return self._call(method, *args, **kwargs)

        return call

    return made


class Sync:
    """Enqueues from code that blocks, in any number of threads at a time; made by :func:`sync`.

    Its methods take, return and raise what those of an open instance do; the first one connects, and so raises
    RedisUnavailable, RedisError and WorkerError as :func:`~exq_anyio.open` does.
    """

    @_blocking(Client.enqueue)
    def enqueue(self) -> None:
        """As that of an instance."""

    @_blocking(Client.enqueue_in)
    def enqueue_in(self) -> None:
        """As that of an instance."""

    @_blocking(Client.enqueue_at)
    def enqueue_at(self) -> None:
        """As that of an instance."""

    @_blocking(Client.push)
    def push(self) -> None:
        """As that of an instance."""

    @_blocking(Client.enqueue_all)
    def enqueue_all(self) -> None:
        """As that of an instance."""

    def __init__(self, config: Config) -> None:
        self.config: Config = config
        self._lines: list[_Line] = []
        self._turns: dict[int, threading.Condition] = {}
        weakref.finalize(self, _end_all, self._lines)  # also at the end of the process

    def __enter__(self) -> Sync:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Let calls that are under way end, and close the connection; another call would open it again."""
        turn = self._turn()
        with turn:
            ended = [line for line in self._lines if line.pid == os.getpid()]
            for line in ended:
                self._lines.remove(line)
            turn.wait_for(lambda: not any(line.calls for line in ended))
        _end_all(ended)

    def _call(self, method: Callable[..., Awaitable[R]], *args: object, **kwargs: object) -> R:
        test = stand_in(self.config)
        with self._line(test) as line:

            async def call() -> R:
                return await method(line.client, *args, **kwargs)

            def start() -> Future[R]:
                return line.portal.start_task_soon(call)

            return start().result() if test is None else test.wait(start)

    @contextmanager
    def _line(self, test: StandIn | None) -> Iterator[_Line]:
        """The line to Redis, or to what stands in for it, for the length of a call."""
        wanted = self.config if test is None else test.settings(self.config)
        turn = self._turn()
        with turn:
            line = next((line for line in self._lines if line.serves(wanted)), None)
            if line is None:
                self._leave_others()
                line = _start(wanted) if wanted is not None else _start(self.config, test)
                self._lines.append(line)
            line.calls += 1
        try:
            yield line
        finally:
            with turn:
                line.calls -= 1
                turn.notify_all()

    def _leave_others(self) -> None:
        """End the lines that no call uses: those of tests before, or one whose loop has ended."""
        # A line of another process is kept, untouched: to close what it holds, for example an epoll object, would take
        # it away from that process.
        unused = [line for line in self._lines if line.pid == os.getpid() and not line.calls]
        for line in unused:
            self._lines.remove(line)
        _end_all(unused)

    def _turn(self) -> threading.Condition:
        # One for each process: at a fork another thread may hold that of the parent, and will never let it go here.
        return self._turns.setdefault(os.getpid(), threading.Condition())


def sync(config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None, /, **overrides: object) -> Sync:
    """Enqueue from code that blocks: what this returns may be used at once, by all threads, and after a fork.

    *config* and *overrides* are those of :func:`~exq_anyio.open`, read now; nothing is imported and nobody connected to
    before the first call.  It works on no queues.  ``close()``, or a ``with`` block, is possible and not needed.

    Raises:
        ConfigError: a setting is wrong.
    """
    settings = load_config(config, **cast("dict[str, Any]", overrides))
    return Sync(attrs.evolve(settings, mode="enqueuer"))


@attrs.define(eq=False, kw_only=True)
class _Line:
    """A thread with an event loop, and a client in it."""

    pid: int
    """The process that it is of."""
    where: Config | None
    """Where it leads to; None: to no server."""
    client: Client
    portal: BlockingPortal
    """The way into the loop."""
    loop: asyncio.AbstractEventLoop
    ending: asyncio.Event
    """Set, in the loop, to end it: unlike the portal's own way, this waits for nothing."""
    thread: threading.Thread
    calls: int = 0
    """Calls that are under way."""

    def serves(self, wanted: Config | None) -> bool:
        """Whether it leads there, from this process."""
        there = self.where is wanted or self.where == wanted
        return there and self.pid == os.getpid() and self.thread.is_alive()


def _end_all(lines: list[_Line]) -> None:
    ours = [line for line in lines if line.pid == os.getpid()]
    for line in ours:
        with suppress(RuntimeError):  # its loop has ended
            line.loop.call_soon_threadsafe(line.ending.set)
    for line in ours:
        line.thread.join(END_TIMEOUT)


def _start(config: Config, test: StandIn | None = None) -> _Line:
    """A line to the server of *config*, or to *test*."""
    from concurrent.futures import Future  # here, since most who import the package never need it

    up: Future[_Line] = Future()
    # A daemon: whoever does not close it wants the process to end all the same.  In a context of its own, since what
    # stands in for Redis is asked for by the call, in that of its caller.
    thread = threading.Thread(target=Context().run, args=(_run, config, test, up), name="exq.sync", daemon=True)
    thread.start()
    try:
        return up.result()
    except BaseException:
        up.cancel()
        raise


def _run(config: Config, test: StandIn | None, up: Future[_Line]) -> None:
    in_context.set(REDIS)
    try:
        anyio.run(_live, config, test, up)
    except BaseException as error:
        if not up.done():
            up.set_exception(error)
        elif not up.cancelled():
            raise


async def _live(config: Config, test: StandIn | None, up: Future[_Line]) -> None:
    import asyncio

    from anyio.from_thread import BlockingPortal

    async with AsyncExitStack() as stack:
        client: Client
        if test is None:
            client = await stack.enter_async_context(open(config))
        else:
            config, workers = with_code(config), Registry.build(config.workers, config.imports)
            client = Client(config, workers, test.outbox(config, workers, None), test.clock)
        line = _Line(
            pid=os.getpid(),
            where=config if test is None else None,
            client=client,
            portal=await stack.enter_async_context(BlockingPortal()),
            loop=asyncio.get_running_loop(),
            ending=asyncio.Event(),
            thread=threading.current_thread(),
        )
        if up.set_running_or_notify_cancel():
            up.set_result(line)
            await line.ending.wait()
