"""A TCP proxy that does to its connections what networks do: delay, cut at any byte, swallow, refuse.

All proxies live in one event loop in a thread of its own, so that they serve programs of any kind, tests on Trio too::

    with Network() as network:
        proxy = network.proxy("/run/valkey.sock")
        ... f"redis://127.0.0.1:{proxy.port}" ...
        proxy.cut()
"""

from __future__ import annotations

import asyncio
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
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
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
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            writer.transport.abort()  # nobody listens behind us
            return
        both = {writer, up_writer}
        self._writers |= both
        try:
            pumps = (
                asyncio.create_task(self._pump(reader, up_writer)),
                asyncio.create_task(self._pump(up_reader, writer)),
            )
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._writers -= both
            for end in both:
                end.close()

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
