"""From an address to a coredis connection: a server, the primary that sentinels name, or the one node of a cluster.

All our keys of one namespace are in one slot of a cluster, so that one node has them all, and one plain connection to
it serves; who that is, and who is primary, is asked again at each new connection.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, cast

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from coredis.connection import BaseConnection, TCPConnection, UnixDomainSocketConnection
from coredis.connection._tcp import TCPLocation
from coredis.connection._uds import UnixDomainSocketLocation
from coredis.exceptions import ConnectionError as Unreachable

from ..address import Address, Cluster, Hosts, Sentinel, Tcp, Unix
from ..errors import ConfigError
from .connect import Dial, close_buffers
from .refusals import Silence, reason

Place: TypeAlias = "tuple[str, int]"
"""A host and a port."""


def dialer(address: Address, namespace: str, *, client_name: str = "exq_anyio") -> Dial:
    """What makes connections to *address*.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    options: dict[str, Any] = {
        "connect_timeout": address.connect_timeout,
        "username": address.username,
        "password": address.password,
        "db": address.database,
        "client_name": client_name,
        "ssl_context": tls_context(address),
    }
    match address.place:
        case Unix(path):
            return partial(_unix, path, {**options, "ssl_context": None})
        case Tcp(host, port):
            return partial(_tcp, (host, port), options)
        case Sentinel() as sentinel:
            ask = {**options, "username": sentinel.username, "password": sentinel.password, "db": 0}
            return partial(_found, partial(_primary, sentinel, ask), options)
        case Cluster(hosts):
            return partial(_found, partial(_owner, hosts, f"{namespace}:queues", options), options)
        case _:
            raise TypeError("an embedded server is started first, and then dialled by its socket")


def tls_context(address: Address) -> ssl.SSLContext | None:
    """The TLS settings of *address*, None where it is not encrypted; raises ConfigError when a file cannot be read."""
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca_certs)
        if address.certfile is not None:
            context.load_cert_chain(address.certfile, address.keyfile)
    except OSError as error:
        files = ", ".join(filter(None, (address.ca_certs, address.certfile, address.keyfile)))
        problem = f"of the files {files} one cannot be read: {error.strerror or error}"
        raise ConfigError("redis_options", problem) from error
    context.check_hostname = address.check_hostname
    context.verify_mode = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}[
        address.cert_reqs
    ]
    return context


class _UnixConnection(UnixDomainSocketConnection):
    async def _connect(self) -> ByteStream:
        stream = await super()._connect()
        raw: object = stream.extra(SocketAttribute.raw_socket)
        if not isinstance(raw, socket.socket):
            return stream  # Trio's own
        # On asyncio, AnyIO's stream for Unix sockets has asyncio log an InvalidStateError whenever a read is cancelled
        # just as data comes; that for TCP does not, and takes any socket.
        copy = raw.dup()
        try:
            await stream.aclose()
            return await SocketStream.from_socket(copy)
        except BaseException:  # a cancellation, for one
            copy.close()
            raise


class _GivenUp(Unreachable):
    """What coredis is to say of an attempt that we gave up: it would log it as an error, and gives way to any other."""

    def __bool__(self) -> bool:
        return False


def _quiet(connection: BaseConnection) -> BaseConnection:
    connection._last_error = _GivenUp("given up")
    return connection


async def _unix(path: str, options: dict[str, Any]) -> BaseConnection:
    return _quiet(_UnixConnection(UnixDomainSocketLocation(path), **options))


async def _tcp(place: Place, options: dict[str, Any]) -> BaseConnection:
    return _quiet(TCPConnection(TCPLocation(*place), **options))


async def _found(find: Callable[[], Awaitable[Place]], options: dict[str, Any]) -> BaseConnection:
    return await _tcp(await find(), options)


async def _primary(sentinel: Sentinel, options: dict[str, Any]) -> Place:
    """The primary that the first sentinel to answer names."""

    async def ask(host: Place) -> Place | None:
        reply = await _ask(host, options, b"SENTINEL GET-MASTER-ADDR-BY-NAME", sentinel.group)
        if not reply:
            return None
        name, port = cast("list[bytes]", reply)
        return name.decode(), int(port)

    return await _first(sentinel.hosts, ask, f"no sentinel answers that knows the group {sentinel.group!r}")


async def _owner(hosts: Hosts, key: str, options: dict[str, Any]) -> Place:
    """The primary of the slot that *key* is in, from the first node to answer."""

    async def ask(host: Place) -> Place | None:
        slot = cast("int", await _ask(host, options, b"CLUSTER KEYSLOT", key))
        for first, last, primary, *_ in cast("list[list[Any]]", await _ask(host, options, b"CLUSTER SLOTS")):
            if first <= slot <= last:
                return (primary[0].decode() if primary[0] else host[0]), primary[1]
        return None

    return await _first(hosts, ask, "no node of the cluster answers that knows where our keys are")


async def _first(hosts: Hosts, ask: Callable[[Place], Awaitable[Place | None]], nobody: str) -> Place:
    """What the first of *hosts* that knows it answers; raises Silence, *nobody* and why each that is silent is so."""
    silent = list[str]()
    for host in hosts:
        try:
            found = await ask(host)
        except Unreachable as error:
            silent.append(str(error))
        else:
            if found is not None:
                return found
    raise Silence(f"{nobody}: {'; '.join(silent)}" if silent else nobody)


async def _ask(place: Place, options: dict[str, Any], command: bytes, *args: str) -> object:
    """The answer of one server to one question; raises Unreachable, with the place and why there is none."""
    connection = await _tcp(place, options)
    failure: BaseException = TimeoutError()
    try:
        with anyio.fail_after(options["connect_timeout"]) as deadline:
            async with anyio.create_task_group() as tasks:
                try:
                    await tasks.start(connection.run)
                    return await connection.create_request(command, *args, decode=False)
                finally:
                    tasks.cancel_scope.cancel()
    except* Exception as errors:
        if not deadline.cancel_called:  # coredis makes an error of a cancellation
            failure = errors
    finally:
        close_buffers(connection)
    raise Unreachable(f"{place[0]}:{place[1]}: {reason(failure)}")
