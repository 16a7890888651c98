"""Waits for many queues with one command: where each queue had a connection of its own, hundreds would be open."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio

INTERVAL = 0.25
"""Seconds between two looks at all the queues that are waited for."""


class Rotation:
    """Looks at all queues that are waited for at once; whoever is there when it is time looks for the others too."""

    def __init__(self, lengths: Callable[[list[str]], Awaitable[list[int]]]) -> None:
        self._lengths = lengths
        self._waiting: dict[str, anyio.Event] = {}
        self._next = -math.inf
        """When it is time to look again, on the clock of the event loop."""

    async def wait(self, queue: str, seconds: float) -> None:
        """Return when *queue* holds jobs, after *seconds*, or at :meth:`end`."""
        ready = self._waiting[queue] = anyio.Event()
        try:
            with anyio.move_on_after(seconds):
                while not ready.is_set():
                    if (now := anyio.current_time()) >= self._next:
                        self._next = now + INTERVAL
                        await self._look()
                    else:
                        with anyio.move_on_after(self._next - now):
                            await ready.wait()
        finally:
            del self._waiting[queue]

    def end(self, queue: str) -> None:
        """End the wait for *queue*."""
        if queue in self._waiting:
            self._waiting[queue].set()

    async def _look(self) -> None:
        queues = list(self._waiting)
        for queue, length in zip(queues, await self._lengths(queues), strict=True):
            if length and queue in self._waiting:
                self._waiting[queue].set()
