"""Periodic jobs in Redis: see :class:`exq_anyio.timetable.Timetable`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import cast

from ..periodic import Arrange, Seen, Tick
from . import scripts
from .connect import Argument, Connections, Reply
from .keys import Keys


class RedisTimetable:
    """The periodic jobs of one namespace."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys

    async def due(self, limit: int) -> tuple[float, float, list[Seen]]:
        """See :class:`~exq_anyio.timetable.Timetable`."""
        keys = [self._keys.periodic, self._keys.periodic_jobs]
        now, coming, *flat = cast("list[bytes]", await self._script("periodic_due", keys, [limit]))
        found = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        due = [Seen(_text(name), kept, score.decode()) for name, score, kept in found]
        return float(now), float(coming or inf), due

    async def everything(self) -> tuple[float, list[Seen]]:
        """See :class:`~exq_anyio.timetable.Timetable`."""
        now, *flat = cast("list[bytes]", await self._script("periodic_all", self._all_keys(), []))
        groups = zip(flat[::5], flat[1::5], flat[2::5], cast("list[int]", flat[3::5]), flat[4::5], strict=True)
        found = [
            Seen(_text(name), kept, score.decode(), paused == 1, _text(last))
            for name, kept, score, paused, last in groups
        ]
        return float(now), sorted(found, key=lambda seen: seen.name)

    async def tick(self, ticks: Sequence[Tick]) -> list[int | None]:
        """See :class:`~exq_anyio.timetable.Timetable`."""
        keys = [self._keys.periodic, self._keys.periodic_jobs, self._keys.periodic_last, self._keys.queues]
        args: list[Argument] = []
        for tick in ticks:
            coming = "" if tick.next_tick is None else repr(tick.next_tick)
            args += (tick.seen.name, tick.seen.kept, tick.seen.score, coming, tick.last, len(tick.jobs))
            for job in tick.jobs:
                lock, duration = 0, 0.0
                queue = _place(keys, self._keys.queue(job.queue))
                if job.lock is not None:
                    lock, duration = _place(keys, self._keys.unique(job.lock[0])), job.lock[1]
                queue = -queue if self._keys.resque(job.queue) else queue
                args += (queue, job.queue, job.payload, lock, job.jid, max(1, round(duration * 1000)))
        answer = cast("list[int]", await self._script("periodic_tick", keys, args)) if ticks else []
        return [None if enqueued < 0 else enqueued for enqueued in answer]

    async def arrange(self, changes: Sequence[Arrange]) -> list[bool]:
        """See :class:`~exq_anyio.timetable.Timetable`."""
        args: list[Argument] = []
        for change in changes:
            coming = "" if change.next_tick is None else repr(change.next_tick)
            coming = "=" if change.keep else coming
            args += (change.seen.name, change.seen.kept, change.kept or b"", coming, int(change.paused))
        answer = cast("list[int]", await self._script("periodic_arrange", self._all_keys(), args)) if changes else []
        return [done == 1 for done in answer]

    def _all_keys(self) -> list[str]:
        keys = self._keys
        return [keys.periodic, keys.periodic_jobs, keys.periodic_paused, keys.periodic_last]

    async def _script(self, name: str, keys: list[str], args: list[Argument]) -> Reply:
        await self._connections.soon_available()
        return await scripts.run(self._connections, name, keys, args)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _place(keys: list[str], key: str) -> int:
    """The place of *key* among *keys*, counted from 1; it is put there if need be."""
    if key not in keys[4:]:
        keys.append(key)
    return keys.index(key, 4) + 1
