"""A TCP proxy that does to its connections what networks do: delay, cut at any byte, swallow, refuse.

All proxies live in one event loop in a thread of its own, so that they serve programs of any kind, tests on Trio too::

    with Network() as network:
        proxy = network.proxy("/run/valkey.sock")
        ... f"redis://127.0.0.1:{proxy.port}" ...
        proxy.cut()
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

CHUNK = 65_536
"""Most bytes that are forwarded at a time."""


class Network:
    """The event loop in which the proxies live; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for proxy in self._proxies:
            proxy.refuse()
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run *coroutine* in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def proxy(self, upstream: str) -> Proxy:
        """A new proxy to the server on the Unix socket *upstream*, on a free port of the loopback."""
        proxy = Proxy(self, upstream)
        proxy.accept()
        self._proxies.append(proxy)
        return proxy


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # closed sockets are let go in the next round


class Proxy:
    """One port, and what happens to those who connect to it.  Its methods may be called from any thread."""

    def __init__(self, network: Network, upstream: str) -> None:
        self._network = network
        self._upstream = upstream
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._left: int | None = None
        self.port: int = 0
        """Where it listens."""
        self.accepted: int = 0
        """Connections that were accepted."""
        self.delay: float = 0.0
        """Seconds that everything is late."""
        self.drip: int = CHUNK
        """Most bytes that are forwarded at a time."""

    def lead_to(self, upstream: str) -> None:
        """Take those who connect from now on to the server on the Unix socket *upstream*."""
        self._upstream = upstream

    def accept(self) -> None:
        """Listen, on the same port as before."""
        self._network.run(self._accept())

    def refuse(self) -> None:
        """Listen no more, and cut what there is: who connects is refused."""
        self._network.run(self._refuse())

    def swallow(self) -> None:
        """Forward nothing any more in either direction, and close nothing: a firewall that drops packets."""
        self._network.run(_called(self._open.clear))

    def release(self) -> None:
        """Forward again, also what was held up meanwhile."""
        self._network.run(_called(self._open.set))

    def cut(self) -> None:
        """Reset every connection."""
        self._network.run(_called(self._cut))

    def cut_after(self, count: int) -> None:
        """Reset every connection when *count* more bytes were forwarded, in whatever direction: inside a message."""

        def arm() -> None:
            self._left = count

        self._network.run(_called(arm))

    def heal(self) -> None:
        """End every fault."""
        self.delay, self.drip = 0.0, CHUNK

        def disarm() -> None:
            self._left = None
            self._open.set()

        self._network.run(_called(disarm))
        self.accept()

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    async def _refuse(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self._cut()

    def _take(self, listener: socket.socket) -> None:
        """Accept who waits.

        Not with `asyncio.start_server`: closed between the accept and the next round of the loop, it forgets that
        connection, and closes it when the garbage collector finds it (CPython's gh-109564).
        """
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # has left already
        self.accepted += 1
        ends: list[asyncio.StreamWriter] = []
        link = asyncio.get_running_loop().create_task(self._link(connection, ends))
        self._links[link] = ends

        def ended(link: asyncio.Task[None]) -> None:
            del self._links[link]
            connection.close()  # of one that was cut before it began

        link.add_done_callback(ended)

    def _cut(self) -> None:
        for link, ends in self._links.items():
            for end in ends:
                end.transport.abort()
            link.cancel()

    async def _link(self, connection: socket.socket, ends: list[asyncio.StreamWriter]) -> None:
        """Forward between *connection* and the server until either is gone; what is open is put into *ends*."""
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            ends.append(writer)
            up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
            ends.append(up_writer)
            async with asyncio.TaskGroup() as pumps:
                both = {
                    pumps.create_task(self._pump(reader, up_writer)),
                    pumps.create_task(self._pump(up_reader, writer)),
                }
                _, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for pump in rest:
                    pump.cancel()
            for end in ends:
                end.close()
                await end.wait_closed()  # what is on its way to it arrives, or it is cut
        except OSError:
            pass  # nobody listens behind us, or somebody is gone
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(self.drip):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                if self._left is not None:
                    if self._left < len(chunk):
                        writer.write(chunk[: self._left])
                        await writer.drain()
                        await asyncio.sleep(0)  # the bytes before the cut are to arrive
                        self._left = None
                        self._cut()
                        return
                    self._left -= len(chunk)
                writer.write(chunk)
                await writer.drain()


async def _called(function: Callable[[], object]) -> None:
    function()
