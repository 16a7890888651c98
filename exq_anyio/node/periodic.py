"""Enqueues periodic jobs when they are due.

Every node looks; of all that see a tick, one enqueues it.  That is settled where jobs live: a tick is enqueued, and the
next one noted, in one step, and only if the tick is still the one that was seen.  So it needs no lease, and a node that
was frozen for long finds that others were there.  Between two ticks nothing is asked, but for a look every minute; a
change by ``q.api.periodic`` rings the bell of each node.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import anyio

from ..errors import RedisError, RedisUnavailable
from ..job import Timestamps, new_jid
from ..periodic import Arrange, Definition, Seen, Tick, due
from ..timetable import Timetable
from .telling import TickTeller

logger: logging.Logger = logging.getLogger("exq_anyio")

T = TypeVar("T")

PAGE = 100
"""Most periodic jobs that one look takes up."""

IDLE = 60.0
"""Seconds between two looks, at most."""

SPREAD = 0.1
"""Seconds over which the nodes spread their looks at one tick."""

REFUSED_PAUSE = 1.0
"""Seconds until what Redis refused is tried again."""


class Bell:
    """Rings when the periodic jobs have changed."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Have whoever waits look now."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Return when it rings, or after *seconds*."""
        with anyio.move_on_after(seconds):
            await self._rung.wait()
        self._rung = anyio.Event()


class Ticker:
    """What a node does about periodic jobs; :meth:`run` is its task."""

    def __init__(
        self,
        timetable: Timetable,
        declared: Sequence[Definition],
        available: Callable[[], Awaitable[None]],
        chance: Callable[[], float],
        unit: Timestamps,
        bell: Bell,
        teller: TickTeller | None = None,
        node_id: Callable[[], str] = str,
    ) -> None:
        self._timetable = timetable
        self._declared = {definition.name: definition for definition in declared}
        self._available = available
        self._chance = chance
        self._unit: Timestamps = unit
        self._read: dict[str, tuple[bytes, Definition | None]] = {}
        """Definitions as they were found, by name."""
        self._bell = bell
        self._teller = teller
        self._node_id = node_id

    async def run(self) -> None:
        """Define what is declared, then enqueue what is due, until cancelled."""
        if self._declared:
            await self._insist(self._declare)
        while True:
            wait = await self._insist(self._look)
            if wait > 0:
                await self._bell.wait(wait + SPREAD * self._chance())

    async def _insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """What *step* returns, as soon as Redis is there and lets it."""
        while True:
            try:
                return await step()
            except RedisUnavailable:
                await self._available()
            except RedisError as error:
                logger.error("cannot look for periodic jobs: error=%s", error)
                await anyio.sleep(REFUSED_PAUSE)

    async def _declare(self) -> None:
        """Define what this program declares; what is the same already keeps its next tick, and stays paused."""
        while True:
            now, found = await self._timetable.everything()
            there = {seen.name: seen for seen in found}
            changes = [
                change for one in self._declared.values() if (change := declaration(one, there, now)) is not None
            ]
            if all(await self._timetable.arrange(changes)):
                return

    async def _look(self) -> float:
        """Enqueue what is due; seconds until there may be more, 0 if there may be now."""
        now, coming, found = await self._timetable.due(PAGE)
        ticks = [tick for seen in found if (tick := self._tick(seen, now)) is not None]
        if not ticks:
            return min(max(coming - now, 0.001), IDLE)
        if self._teller is not None:
            ticks = self._teller.before(ticks)
        try:
            done = await self._timetable.tick(ticks)
        except RedisUnavailable:
            raise
        except RedisError:
            # One of them meets a key that somebody broke; the others need not wait for it.
            done = [await self._one(tick) for tick in ticks]
            self._tell(ticks, done)
            return REFUSED_PAUSE
        self._tell(ticks, done)
        return 0

    async def _one(self, tick: Tick) -> int | None:
        try:
            (enqueued,) = await self._timetable.tick([tick])
            return enqueued
        except RedisUnavailable:
            raise
        except RedisError as error:
            logger.error("cannot enqueue periodic job: name=%s error=%s", tick.seen.name, error)
            return None

    def _tick(self, seen: Seen, now: float) -> Tick | None:
        """What is to be done about a job that is due; None when that is for other programs to know."""
        definition = self._definition(seen)
        if definition is None or (definition.declared and seen.name not in self._declared):
            return None
        instants, coming = due(definition.schedule, seen.next_tick, now)
        jobs = [definition.outgoing(instant, now, new_jid(), self._unit) for instant in instants]
        last = f"{instants[-1]!r} {jobs[-1].jid}" if jobs else ""
        return Tick(seen, tuple(jobs), last, coming)

    def _definition(self, seen: Seen) -> Definition | None:
        """The definition of *seen*, None when it cannot be read, which is logged once."""
        read = self._read.get(seen.name)
        if read is None or read[0] != seen.kept:
            definition = None
            try:
                definition = Definition.decode(seen.name, seen.kept)
            except ValueError as error:
                logger.error("%s", error)
            read = self._read[seen.name] = (seen.kept, definition)
        return read[1]

    def _tell(self, ticks: Sequence[Tick], done: Sequence[int | None]) -> None:
        for tick, enqueued in zip(ticks, done, strict=True):
            self._log(tick, enqueued)
            if self._teller is not None:
                self._teller.after(tick, enqueued, self._node_id())

    def _log(self, tick: Tick, enqueued: int | None) -> None:
        if enqueued is None:
            return  # another node was first
        if tick.jobs:
            logger.info(
                "periodic job enqueued: name=%s jobs=%d locked=%d", tick.seen.name, enqueued, len(tick.jobs) - enqueued
            )
        else:
            logger.warning("periodic job skipped, its time is long past: name=%s", tick.seen.name)


def declaration(wanted: Definition, there: Mapping[str, Seen], now: float) -> Arrange | None:
    """What makes *there* hold *wanted*; None when it does."""
    seen = there.get(wanted.name, Seen(wanted.name, b""))
    kept = wanted.encode()
    if seen.kept == kept and (seen.score or seen.paused):
        return None
    try:
        same = Definition.decode(seen.name, seen.kept).schedule == wanted.schedule
    except ValueError:
        same = False
    if seen.paused or (same and seen.score):
        return Arrange(seen, kept, keep=True)
    return Arrange(seen, kept, wanted.schedule.after(now))
