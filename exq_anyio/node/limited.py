"""The dequeuer of a queue whose limits all nodes share.

What it says is available it has reserved where jobs live, for the fetch that follows at once; what that did not need is
given back.  While the queue is empty nothing is reserved: a job that then comes to whoever waits for it is admitted, or
goes back to its queue.  So a limit is never exceeded, none of it lies idle where nobody works, and who must wait asks
once a second, or when there may be something.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from itertools import count
from math import inf
from secrets import token_hex
from typing import Any

import anyio
import attrs

from ..errors import LostClaim, RedisError, RedisUnavailable
from ..exchange import Claim
from ..job import Job
from ..limits import Limit, Limits
from .dequeuer import MOST, RECHECK
from .reserving import Reserving

logger: logging.Logger = logging.getLogger("exq_anyio")

SWEEP_PAUSE = 1.0
"""Seconds between two looks for places whose nodes are gone."""

GROWTH = 4
"""How many times more is reserved after all of it was used: a queue that is not empty soon takes what it can."""


@attrs.define
class _Had:
    """What was had of one rate for the jobs that are reserved."""

    count: int
    window: str


class Limited(Reserving):
    """What *limit* allows, and at most what *local* does, which counts the jobs of this node."""

    def __init__(
        self,
        limit: Limit,
        queue: str,
        local: Reserving.Local,
        limits: Limits,
        claim: Claim,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
    ) -> None:
        self._limit = limit
        self._name = limit.name or queue
        self._local = local
        self._limits = limits
        self._claim = claim
        self._spawn = spawn
        self._holder = token_hex(4)
        """Tells it from the other dequeuers of this node under the same limit."""
        self._numbers = count(1)
        self._lock = anyio.Lock()
        """Held while what is reserved changes, so that nothing is given back that is just being taken."""
        self._first = 0
        """The number of the first job that is reserved."""
        self._had: list[_Had] = []
        self._granted = 0
        """How many were reserved last, until that is settled by :meth:`returned`."""
        self._reserved = 0
        """How many of these have not begun."""
        self._running = 0
        self._most = 1
        """How many are reserved next."""
        self._swept = -inf
        self._parked = True
        """True while nobody is about to ask, so that a place that gets free must be given back at once."""
        self.again: float = RECHECK

    async def available(self) -> int:
        """How many jobs may be fetched now, which are reserved."""
        try:
            await self.returned()
            free = await self._local.available()
            return await self._reserve(min(free, self._most)) if free >= 1 else 0
        except (RedisUnavailable, LostClaim):
            return 0  # its poller sees it too

    async def admit(self) -> bool:
        """Whether the one job that was waited for may begin, which is reserved then."""
        return await self._local.available() >= 1 and await self._reserve(1) == 1

    async def returned(self) -> None:
        """Give back what the fetch did not need."""
        async with self._lock:
            granted, unused = self._granted, self._reserved
            self._granted = self._reserved = 0
            self._parked = True
            if granted:
                self._most = 1 if unused else min(self._most * GROWTH, MOST)
            if unused:
                await self._give(unused, len(self._had))
                await self._hold(self._running)

    def dispatched(self, job: Job) -> None:
        """A job begins."""
        self._local.dispatched(job)
        self._running += 1
        self._reserved = max(0, self._reserved - 1)

    def processed(self, job: Job) -> None:
        """A job has ended, and its place is free."""
        self._local.processed(job)
        self._running -= 1
        if self._parked and self._limit.fleet is not None:
            self._spawn(self._release)

    failed = processed

    async def stop(self) -> None:
        """Hold no more than what still runs."""
        try:
            await self.returned()  # its poller may have reserved, and then ended
        except (RedisError, LostClaim) as error:
            logger.debug("what was reserved is not given back: limit=%s error=%s", self._name, error)
        await self._release()

    # -- below the surface

    async def _reserve(self, wanted: int) -> int:
        """Reserve up to *wanted* jobs; how many."""
        async with self._lock:
            self.again, self._had, self._parked = RECHECK, [], False
            self._first = next(self._numbers) * MOST
            granted = places = await self._places(wanted)
            for rate in self._limit.rates if granted else ():
                taken = await self._limits.take(self._name, rate, self._holder, self._first, granted)
                await self._give(granted - taken.count, len(self._had))
                self._had.append(_Had(taken.count, taken.window))
                granted = taken.count
                if not granted:
                    self.again = min(RECHECK, max(taken.wait, 0.001))
                    break
            if granted < places:
                await self._hold(self._running + granted)
            self._granted = self._reserved = granted
            return granted

    async def _places(self, wanted: int) -> int:
        """How many jobs may run in addition, for which places are held."""
        granted = await self._hold(self._running + wanted) - self._running
        if granted < 1 and anyio.current_time() - self._swept >= SWEEP_PAUSE:
            self._swept = anyio.current_time()
            await self._limits.sweep(self._name)
            granted = await self._hold(self._running + wanted) - self._running
        return granted

    async def _hold(self, wanted: int) -> int:
        """Hold so many places; how many are held, which is all of them where there is no such limit."""
        fleet = self._limit.fleet
        if fleet is None:
            return wanted
        return await self._limits.hold(self._name, fleet, self._claim, self._holder, wanted, self._running)

    async def _give(self, unused: int, rates: int) -> None:
        """Give *unused*, the last of those that are reserved, back to the first *rates* of the rates."""
        if not unused:
            return
        for rate, had in zip(self._limit.rates, self._had[:rates], strict=False):
            had.count -= unused
            await self._limits.give(self._name, rate, self._holder, self._first + had.count, unused, had.window)

    async def _release(self) -> None:
        """Hold no more than is needed."""
        try:
            async with self._lock:
                await self._hold(self._running + self._reserved)
        except (RedisError, LostClaim) as error:
            logger.debug("places stay until they are swept: limit=%s error=%s", self._name, error)
