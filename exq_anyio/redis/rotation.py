"""Waits for many queues with one command: where each queue had a connection of its own, hundreds would be open."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio
import attrs

INTERVAL = 0.25
"""Seconds between two looks at all the queues that are waited for."""


@attrs.define(eq=False)
class _Wait:
    ready: bool = False
    """True when its queue holds jobs, or it is to end."""
    woken: anyio.Event = attrs.field(factory=anyio.Event)
    """Set when it is ready, or has to look for all."""


class Rotation:
    """Looks at all queues that are waited for at once: one of those who wait does, and the others sleep meanwhile."""

    def __init__(self, lengths: Callable[[list[str]], Awaitable[list[int]]]) -> None:
        self._lengths = lengths
        self._waiting: dict[str, _Wait] = {}
        self._looker: _Wait | None = None
        """Who looks for all."""
        self._next = -math.inf
        """When it is time to look again, on the clock of the event loop."""

    async def wait(self, queue: str, seconds: float) -> None:
        """Return when *queue* holds jobs, after *seconds*, or at :meth:`end`."""
        wait = self._waiting[queue] = _Wait()
        self._looker = self._looker or wait
        try:
            with anyio.move_on_after(seconds):
                while not wait.ready:
                    pause = self._next - anyio.current_time() if self._looker is wait else math.inf
                    if pause <= 0:
                        await self._look()
                    else:
                        with anyio.move_on_after(pause):
                            await wait.woken.wait()
                            wait.woken = anyio.Event()
        finally:
            del self._waiting[queue]
            if self._looker is wait:
                self._looker = next(iter(self._waiting.values()), None)
                if self._looker is not None:
                    self._looker.woken.set()

    def end(self, queue: str) -> None:
        """End the wait for *queue*."""
        if queue in self._waiting:
            self._found(self._waiting[queue])

    async def _look(self) -> None:
        self._next = anyio.current_time() + INTERVAL
        waiting = dict(self._waiting)
        for wait, length in zip(waiting.values(), await self._lengths(list(waiting)), strict=True):
            if length:
                self._found(wait)

    def _found(self, wait: _Wait) -> None:
        wait.ready = True
        wait.woken.set()
