"""To put jobs in from code that blocks: Django, Flask, scripts.

A thread runs an event loop with an instance that only enqueues.  It is started by the first call; in a process that was
forked since, where that thread is not, by the first call there.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

import anyio
import attrs

from .app import open  # noqa: A004  # exq.open is the name that users know
from .client import Client
from .config import Config
from .load import load_config
from .outbox import REDIS, StandIn, in_context, stand_in
from .worker import Registry

P = ParamSpec("P")
R = TypeVar("R")

END_TIMEOUT = 5.0
"""Seconds that a connection has to close, also at the end of the process."""


class Blocking(Generic[P, R]):
    """A method of :class:`Sync`: that of :class:`~exq_anyio.client.Client`, which returns when it is done."""

    def __init__(self, method: Callable[Concatenate[Client, P], Awaitable[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: object) -> Blocking[P, R]: ...
    @overload
    def __get__(self, instance: Sync, owner: object) -> Callable[P, R]: ...
    def __get__(self, instance: Sync | None, owner: object) -> Blocking[P, R] | Callable[P, R]:
        """The method of *instance*."""
        return self if instance is None else functools.partial(instance._call, self._method)


class Sync:
    """Enqueues from code that blocks, in any number of threads at a time; made by :func:`sync`.

    Its methods take, return and raise what those of an open instance do; the first one connects, and so raises
    RedisUnavailable, RedisError and WorkerError as :func:`~exq_anyio.open` does.
    """

    enqueue = Blocking(Client.enqueue)
    enqueue_in = Blocking(Client.enqueue_in)
    enqueue_at = Blocking(Client.enqueue_at)
    push = Blocking(Client.push)
    enqueue_all = Blocking(Client.enqueue_all)

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
                return asyncio.run_coroutine_threadsafe(call(), line.loop)

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
    loop: asyncio.AbstractEventLoop
    ending: asyncio.Event
    thread: threading.Thread
    calls: int = 0
    """Calls that are under way."""

    def serves(self, wanted: Config | None) -> bool:
        """Whether it leads there, from this process."""
        return self.pid == os.getpid() and self.where == wanted and self.thread.is_alive()


def _end_all(lines: list[_Line]) -> None:
    ours = [line for line in lines if line.pid == os.getpid()]
    for line in ours:
        with suppress(RuntimeError):  # its loop has ended
            line.loop.call_soon_threadsafe(line.ending.set)
    for line in ours:
        line.thread.join(END_TIMEOUT)


def _start(config: Config, test: StandIn | None = None) -> _Line:
    """A line to the server of *config*, or to *test*."""
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
    line = functools.partial(
        _Line,
        pid=os.getpid(),
        loop=asyncio.get_running_loop(),
        ending=(ending := asyncio.Event()),
        thread=threading.current_thread(),
    )
    if test is None:
        async with open(config) as instance:
            if up.set_running_or_notify_cancel():
                up.set_result(line(where=config, client=instance))
                await ending.wait()
    else:
        workers = Registry.build(config.workers, config.imports)
        client = Client(config, workers, test.outbox(config, workers, None), test.clock)
        if up.set_running_or_notify_cancel():
            up.set_result(line(where=None, client=client))
            await ending.wait()
