"""A real server of one test, held from synchronous code, and everything that is in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias, cast

import anyio
import anyio.lowlevel
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from exq_anyio.errors import LostClaim, RedisError, RedisUnavailable
from exq_anyio.redis.connect import Connections, open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import private_directory, start_server
from exq_anyio.redis.keys import Keys
from exq_anyio.redis.outbox import RedisOutbox
from exq_anyio.redis.store import RedisStore

from ..contract.places import address_of

NAMESPACE = "one"
NODES = ("n#1", "n#2")
DEAD_MAX, DEAD_TIMEOUT = 5, 1_000.0

KEPT = ("--appendonly", "yes", "--appendfsync", "no")
"""What was answered is with the system, which a crash of the server does not touch."""

Dump: TypeAlias = dict[str, Any]
"""By key: the members of a list or set, members and scores of a sorted set, a text, the fields of a hash."""

_DUMP: str = """
local dump, read = {}, {
  list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, set = {'SMEMBERS'},
  string = {'GET'}, hash = {'HGETALL'},
}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local value = redis.call(read[kind][1], key, unpack(read[kind], 2))
  dump[#dump + 1] = {key, kind, value}
end
return dump
"""


@attrs.frozen
class World:
    """The server, and what talks to it."""

    portal: BlockingPortal
    connections: Connections
    observer: Connections
    """Never cut."""
    store: RedisStore
    outbox: RedisOutbox
    keys: Keys
    crash: Callable[[], None]
    """Kill the server, and start it again with what it has written."""

    def call(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """What *action* returns or raises."""
        return self.portal.call(action)

    def cut(self, action: Callable[[], Awaitable[Any]], turns: int) -> None:
        """Begin *action*, and lose the connection after *turns* of the loop; return when the server knows it too."""
        client = self.portal.call(_cut, action, self.connections, turns)
        # Until then it may still execute what it has received.
        while client is not None and self.raw(b"CLIENT LIST", "ID", client):
            pass

    def raw(self, *command: bytes | str | int) -> Any:
        """One command past the store."""
        return self.portal.call(self.observer.commands.request, cast("bytes", command[0]), *command[1:])

    def dump(self) -> Dump:
        """Everything that there is."""
        dump: Dump = {}
        for key, kind, value in self.raw(b"EVAL", _DUMP, 0, f"{NAMESPACE}:*"):
            dump[key.decode()] = _READ[kind](value)
        return dump


@contextmanager
def world(backend: str) -> Iterator[World]:
    """Start a server, and connect to it from an event loop in a thread."""
    failure: BaseException | None = None
    with ExitStack() as stack:
        directory = stack.enter_context(private_directory())
        servers = [start_server(directory, args=KEPT)]
        stack.callback(lambda: servers[-1].kill())
        portal = stack.enter_context(start_blocking_portal(backend))
        address = address_of(servers[-1].socket)

        def connect() -> Connections:
            opened = portal.wrap_async_context_manager(open_connections(address, dialer(address, NAMESPACE)))
            return stack.enter_context(opened)

        connections, keys = connect(), Keys(NAMESPACE)
        store = RedisStore(connections, keys, dead_max_jobs=DEAD_MAX, dead_timeout=DEAD_TIMEOUT, max_waits=8)
        observer = connect()

        def crash() -> None:
            servers[-1].kill()
            servers.append(start_server(directory, args=KEPT))
            portal.call(_connected, connections)
            portal.call(_connected, observer)

        try:
            yield World(portal, connections, observer, store, RedisOutbox(connections, keys), keys, crash)
        except BaseException as error:
            failure = error  # raised below, where no task group wraps it
    if failure is not None:
        raise failure


async def _connected(connections: Connections) -> None:
    while True:
        try:
            return await connections.check()
        except RedisUnavailable:
            await connections.available()


async def _cut(action: Callable[[], Awaitable[Any]], connections: Connections, turns: int) -> int | None:
    """Begin *action*, and lose the connection after *turns* of the loop; the server's number of the connection."""

    async def begin() -> None:
        with suppress(RedisError, LostClaim):
            await action()

    await connections.commands.open()
    client = connections.commands.client_id
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        connections.commands.drop()
    return client


def _hash(flat: list[bytes]) -> dict[str, str] | str:
    fields = {field.decode(): value.decode() for field, value in zip(flat[::2], flat[1::2], strict=True)}
    return "an entry" if "beat" in fields else fields


def _zset(flat: list[bytes]) -> Any:
    pairs = [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
    return {member.decode() for member, _ in pairs} if pairs[0][0].decode("utf-8", "replace") in NODES else pairs


_READ: dict[bytes, Callable[[Any], Any]] = {
    b"list": list,
    b"zset": _zset,
    b"set": lambda members: {member.decode() for member in members},
    b"string": bytes.decode,
    b"hash": _hash,
}
