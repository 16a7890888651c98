"""Periodic jobs, for operators and programs: ``q.api.periodic``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from ..job import JSON, Record, Timestamps, new_jid
from ..periodic import Arrange, Definition, Schedule, Seen, Tick, check_name
from ..spec import JobSpec
from ..timetable import Timetable
from .keeper import Keeper

RING = "PERIODIC"
"""The signal that has nodes look at the periodic jobs now."""


@attrs.frozen(kw_only=True)
class PeriodicJob:
    """One periodic job, as it is now."""

    name: str
    """What it is called."""
    worker: str
    """Name of the worker on the wire; ``""`` when the definition cannot be read."""
    queue: str
    """Where its jobs go."""
    args: tuple[JSON, ...]
    """The arguments as JSON has them."""
    schedule: Schedule | None
    """When it is due; None when the definition cannot be read."""
    declared: bool
    """Whether programs declare it, which alone enqueue it then; else it was added at run time."""
    paused: bool
    """Whether nothing is enqueued until it is resumed."""
    next_tick: datetime | None
    """When it is due next; long past when no program that declares it runs.  None: never, or paused."""
    last_tick: datetime | None
    """The last tick for which a job was enqueued."""
    last_jid: str
    """The jid of that job; ``""`` when there was none."""


class PeriodicApi:
    """Looks at periodic jobs, and adds, removes, pauses, resumes and runs them.

    Every method may raise :class:`~exq_anyio.errors.RedisUnavailable`, or :class:`~exq_anyio.errors.WrongType` where a
    key holds what is not ours.
    """

    def __init__(
        self, timetable: Timetable, keeper: Keeper, unit: Timestamps, template: Callable[[JobSpec], Record]
    ) -> None:
        self._timetable = timetable
        self._keeper = keeper
        self._unit: Timestamps = unit
        self._template = template

    async def all(self) -> list[PeriodicJob]:
        """All periodic jobs, by name."""
        _, found = await self._timetable.everything()
        return [_shown(seen) for seen in found]

    async def find(self, name: str) -> PeriodicJob | None:
        """The periodic job *name*, None when there is none."""
        seen, _ = await self._seen(name)
        return None if seen is None else _shown(seen)

    async def add(self, name: str, job: JobSpec, schedule: Schedule) -> None:
        """Have *job* enqueued whenever *schedule* says, by any node, from now on; a job of that name is replaced.

        It stays paused if it was.  A node whose program declares the name says so again at its start.

        Raises:
            ConfigError: the name cannot be.
            ArgumentError: the job says a jid or a time of its own, or cannot be enqueued.
        """
        definition = Definition(check_name(name), self._template(job), schedule, declared=False)
        while True:
            seen, now = await self._seen(name)
            paused = seen is not None and seen.paused
            coming = None if paused else schedule.after(now)
            if await self._arrange(seen or Seen(name, b""), definition.encode(), coming, paused=paused):
                return

    async def remove(self, name: str) -> bool:
        """Enqueue it no more; whether it was there.  A program that declares it brings it back at its next start."""
        while (seen := (await self._seen(name))[0]) is not None:
            if await self._arrange(seen, None, None):
                return True
        return False

    async def pause(self, name: str) -> bool:
        """Enqueue nothing until it is resumed; whether it is there."""
        while (seen := (await self._seen(name))[0]) is not None:
            if await self._arrange(seen, seen.kept, None, paused=True):
                return True
        return False

    async def resume(self, name: str) -> bool:
        """Enqueue it again, from its next tick on; whether it is there.  What it was due meanwhile is not made up for.

        Raises:
            ValueError: its definition cannot be read.
        """
        while True:
            seen, now = await self._seen(name)
            if seen is None or not seen.paused:
                return seen is not None
            coming = Definition.decode(name, seen.kept).schedule.after(now)
            if await self._arrange(seen, seen.kept, coming):
                return True

    async def run(self, name: str) -> str | None:
        """Enqueue its job now, beside its ticks, also when it is paused; its jid.

        None when there is no such periodic job, or when its unique lock is held.

        Raises:
            ValueError: its definition cannot be read.
        """
        seen, now = await self._seen(name)
        if seen is None:
            return None
        jid = new_jid()
        job = Definition.decode(name, seen.kept).outgoing(now, now, jid, self._unit)
        (enqueued,) = await self._timetable.tick([Tick(Seen(name, seen.kept), (job,), "")])
        return jid if enqueued else None

    async def _seen(self, name: str) -> tuple[Seen | None, float]:
        now, found = await self._timetable.everything()
        return next((seen for seen in found if seen.name == name), None), now

    async def _arrange(self, seen: Seen, kept: bytes | None, coming: float | None, *, paused: bool = False) -> bool:
        (done,) = await self._timetable.arrange([Arrange(seen, kept, coming, paused)])
        if done:
            await self._keeper.signal(await self._keeper.node_ids(ours=True), RING)
        return done


def _shown(seen: Seen) -> PeriodicJob:
    last, _, jid = seen.last.partition(" ")
    try:
        definition = Definition.decode(seen.name, seen.kept)
    except ValueError:
        definition = None
    record: Record = {} if definition is None else definition.record
    args = record.get("args")
    return PeriodicJob(
        name=seen.name,
        worker=str(record.get("class", "")),
        queue=str(record.get("queue", "")),
        args=tuple(args) if isinstance(args, list) else (),
        schedule=None if definition is None else definition.schedule,
        declared=definition is not None and definition.declared,
        paused=seen.paused,
        next_tick=_instant(seen.score),
        last_tick=_instant(last),
        last_jid=jid,
    )


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None
