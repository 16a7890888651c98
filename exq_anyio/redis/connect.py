"""Connections to Redis: how they are opened, how they fail, and the one gate at which everybody waits meanwhile.

A :class:`Link` is one coredis connection, opened when it is first needed and again after a failure; many tasks may
use one link at a time, coredis sends their commands in one write and gives each its reply.  We hold the connections
ourselves and do not use coredis's pool: a connection that breaks while it is lent for a blocking command is never
given back to it, so that the pool runs dry after some failures; and the pool cannot tell a command that was never
sent from one that may have been.

After any failure all links are dropped (a silent connection would be kept for ever) and the gate closes.  One prober
tries to connect, with a pause that grows to a second; when it succeeds, the gate opens.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias, cast

import anyio
import anyio.lowlevel
import coredis.exceptions as refused
from anyio.abc import TaskGroup
from coredis.connection import BaseConnection

from ..errors import ExqError, RedisError, RedisUnavailable
from .refusals import translate

logger: logging.Logger = logging.getLogger("exq_anyio")

Argument: TypeAlias = "bytes | str | int"
"""One word of a command.  Floats are written by the caller: coredis would round them to 15 digits."""

Reply: TypeAlias = "bool | int | float | bytes | list[Reply] | dict[Reply, Reply] | set[Reply] | None"
"""What Redis answers."""

Dial: TypeAlias = Callable[[], Awaitable[BaseConnection]]
"""Makes a coredis connection to the right server, not yet connected."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts of the prober: the first, and the most."""

CALM = 10.0
"""Seconds without trouble after which the pauses begin small again."""


class Where(Protocol):
    """What must be known of an address to connect to it."""

    @property
    def connect_timeout(self) -> float:
        """Seconds that connecting may take."""

    @property
    def timeout(self) -> float:
        """Seconds that a command may take."""

    def display(self) -> str:
        """The address for messages, without user and password."""


class Link:
    """One connection, opened on demand."""

    def __init__(self, owner: Connections) -> None:
        self._owner = owner
        self._connection: BaseConnection | None = None
        self._opening = anyio.Lock()

    @property
    def client_id(self) -> int | None:
        """The server's id of the open connection, None when it is not open."""
        connection = self._connection
        return connection.client_id if connection is not None and connection.usable else None

    async def request(self, command: bytes, *args: Argument, timeout: float | None = None) -> Reply:
        """Send one command and return its reply; *timeout* in seconds, by default the address's.

        The connection is acquired first and the command sent then, so that a failure can say whether the command
        surely had no effect (``maybe_done`` false) or may have had one.

        Raises:
            RedisUnavailable: it cannot be reached or cannot serve now.
            RedisError: it answered no.
        """
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self.open()
        try:
            pending = connection.create_request(command, *args, decode=False, timeout=timeout or self._owner.timeout)
        except (refused.ConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise self._failed(connection, error, maybe_done=False) from error
        try:
            return cast("Reply", await pending)
        except Exception as error:
            raise self._failed(connection, error, maybe_done=True) from error

    def _failed(self, connection: BaseConnection, error: Exception, *, maybe_done: bool) -> ExqError:
        if connection is self._connection:
            return self._owner.failed(error, maybe_done=maybe_done)
        # A connection that was dropped meanwhile: its late failure must not close the gate again.
        return translate(error, self._owner.address, maybe_done=maybe_done)

    async def open(self) -> BaseConnection:
        """The open connection, connected now if need be.

        Raises:
            RedisUnavailable: it cannot be reached.
            RedisError: it refused us.
        """
        async with self._opening:
            connection = self._connection
            if connection is None or not connection.usable:
                self._connection = None
                self._connection = connection = await self._owner.connect()
            return connection

    def drop(self) -> None:
        """Forget the connection; whoever waits for a reply on it gets an error."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate("dropped")


class Connections:
    """All connections of one instance to one Redis, and the gate before them.  Made by :func:`open_connections`."""

    def __init__(self, tasks: TaskGroup, where: Where, dial: Dial, log_level: int) -> None:
        self._tasks = tasks
        self._log_level = log_level
        self._where = where
        self._dial = dial
        self._links: list[Link] = []
        self._gate = anyio.Event()
        self._gate.set()
        self._trouble: RedisUnavailable | None = None
        self._pause = FIRST_PAUSE
        self._opened_at: float = -CALM
        self._closed: bool = False
        self._was_up: bool = False
        self.attempts: int = 0
        """How often a connection was tried."""
        self.outages: int = 0
        """How often the gate was closed."""
        self.commands: Link = self.link()
        """The link for everything that does not block."""

    @property
    def address(self) -> str:
        """The address for messages."""
        return self._where.display()

    @property
    def timeout(self) -> float:
        """Seconds that a command may take."""
        return self._where.timeout

    def link(self) -> Link:
        """One more link, for commands that block."""
        link = Link(self)
        self._links.append(link)
        return link

    def close_link(self, link: Link) -> None:
        """Close a link for good."""
        link.drop()
        self._links.remove(link)

    @property
    def is_available(self) -> bool:
        """Whether the gate is open."""
        return self._trouble is None

    async def available(self) -> None:
        """Return when the gate is open."""
        while self._trouble is not None:
            await self._gate.wait()

    async def soon_available(self) -> None:
        """Wait for an open gate as long as connecting may take.

        Raises:
            RedisUnavailable: it stayed closed; nothing was sent.
        """
        if self._closed:
            raise closed()
        if self._trouble is not None:
            with anyio.move_on_after(self._where.connect_timeout):
                await self.available()
        if (trouble := self._trouble) is not None:
            raise RedisUnavailable(trouble.address, trouble.problem)

    def start(self, task: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run *task* until it ends or the connections do."""
        self._tasks.start_soon(task)

    def close(self) -> None:
        """Let nothing more be sent."""
        self._closed = True

    async def connect(self) -> BaseConnection:
        """A new connection, connected and greeted."""
        self.attempts += 1
        try:
            connection = await self._dial()
            try:
                # The deadline covers the greeting too: a server that accepts and then says nothing is not up.
                with anyio.fail_after(self._where.connect_timeout) as deadline:
                    try:
                        await self._tasks.start(connection.run)
                    except refused.ConnectionError as error:
                        if deadline.cancel_called:  # coredis makes an error of a cancellation
                            raise TimeoutError from error
                        raise
            except BaseException:
                close_buffers(connection)
                raise
        except Exception as error:
            await anyio.lowlevel.checkpoint_if_cancelled()  # coredis makes an error of a cancellation
            raise self.failed(error, maybe_done=False) from error
        return connection

    def failed(self, error: Exception, *, maybe_done: bool) -> ExqError:
        """*error* as one of ours; closes the gate and drops every connection when it means that Redis is away."""
        ours = translate(error, self.address, maybe_done=maybe_done)
        if isinstance(ours, RedisUnavailable):
            self._close_gate(ours)
        return ours

    def _close_gate(self, trouble: RedisUnavailable) -> None:
        for link in self._links:
            link.drop()
        if self._closed:
            return  # a prober that starts in a cancelled task group would spin
        if self._trouble is None:
            self.outages += 1
            if anyio.current_time() - self._opened_at > CALM:
                self._pause = FIRST_PAUSE
            self._gate = anyio.Event()
            self._tasks.start_soon(self._probe)
            if self._was_up:  # at the start, whoever opens the connections gets the error itself
                logger.log(self._log_level, "Redis is away, waiting for it: error=%s", trouble)
        self._trouble = trouble

    async def _probe(self) -> None:
        """Try until Redis takes writes, then open the gate.

        The pause goes on growing when the trouble comes back at once: a full disk refuses writes, not connections.
        """
        told = self._was_up
        while True:
            await anyio.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            try:
                await self.check()
                break
            except RedisError:
                continue
        self._trouble = None
        self._opened_at = anyio.current_time()
        self._gate.set()
        if told:
            logger.log(self._log_level, "Redis is back: address=%s", self.address)

    async def check(self) -> None:
        """Connect and make sure that this is a Redis that takes writes.

        Raises:
            RedisUnavailable: it cannot be reached, is loading, or is a read-only replica.
            RedisError: it refused us.
        """
        await self.commands.request(b"PING")  # a server that is loading answers to ROLE, and not to this
        try:
            role = await self.commands.request(b"ROLE")
        except RedisError as error:
            if not _forbidden(error):
                raise
            role = None  # who may not ask for the role finds out at the first write
        if isinstance(role, list) and role and role[0] in (b"slave", b"replica"):
            raise self.failed(refused.ReadOnlyError("READONLY it is a read-only replica"), maybe_done=False)
        self._was_up = True


@asynccontextmanager
async def open_connections(where: Where, dial: Dial, *, log_level: int = logging.WARNING) -> AsyncIterator[Connections]:
    """Connections to *where*, closed at the end.  Nothing is connected yet; :meth:`Connections.check` does it.

    That Redis goes away and comes back is logged at *log_level*.
    """
    async with anyio.create_task_group() as tasks:
        connections = Connections(tasks, where, dial, log_level)
        try:
            yield connections
        finally:
            connections.close()
            tasks.cancel_scope.cancel()


def close_buffers(connection: BaseConnection) -> None:
    """Close what coredis leaves open of a connection that never came up: Python warns of it."""
    for buffer in ("write", "push_message", "streamed_message"):
        for end in ("in", "out"):
            getattr(connection, f"_{buffer}_buffer_{end}").close()


def closed() -> ExqError:
    """What becomes of a command after the end of its instance."""
    return ExqError("this instance is closed: use it inside the block that opened it")


def _forbidden(error: RedisError) -> bool:
    return isinstance(error.__cause__, refused.AuthorizationError)
