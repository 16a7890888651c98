"""The time of a mock: that of the machine, or of Trio's MockClock where one is running, and what it was moved by."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

import anyio.lowlevel

if TYPE_CHECKING:
    from trio.testing import MockClock


class MovedClock:
    """Unix seconds that can be moved forward."""

    def __init__(self) -> None:
        self._began = time.time()
        self._moved = 0.0

    def now(self) -> float:
        """Unix seconds.  Under a MockClock they pass as its own do."""
        virtual = _mock_clock()
        return self._moved + (time.time() if virtual is None else self._began + virtual.current_time())

    async def reach(self, instant: float) -> None:
        """Have it be *instant*, unless it is later already; who sleeps under a MockClock wakes up in between."""
        virtual = _mock_clock()
        if virtual is not None and virtual.autojump_threshold < math.inf:
            await anyio.sleep(max(0.0, instant - self.now()))
        elif virtual is not None:
            virtual.jump(max(0.0, instant - self.now()))
        # What is left is a rounding error, if somebody slept.
        self._moved += max(0.0, instant - self.now())
        await anyio.lowlevel.checkpoint()


def _mock_clock() -> MockClock | None:
    testing = sys.modules.get("trio.testing")
    if testing is None:
        return None  # nobody can have made one
    try:
        clock = sys.modules["trio"].lowlevel.current_clock()
    except RuntimeError:
        return None
    return clock if isinstance(clock, testing.MockClock) else None
