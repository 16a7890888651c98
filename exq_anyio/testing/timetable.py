"""Periodic jobs in memory: see :class:`exq_anyio.timetable.Timetable`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import anyio.lowlevel

from ..periodic import Arrange, Seen, Tick
from .world import KEYS, World


class MemoryTimetable:
    """The periodic jobs of a :class:`~exq_anyio.testing.world.World`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def due(self, limit: int) -> tuple[float, float, list[Seen]]:
        """As ``periodic_due.lua``."""
        await anyio.lowlevel.checkpoint()
        now = self._world.clock()
        scores = sorted((score, name) for name, score in self._world.sorted_sets[KEYS.periodic].items())
        coming = next((score for score, _ in scores if score > now), inf)
        jobs = self._world.hashes[KEYS.periodic_jobs]
        found = [(score, name.decode()) for score, name in scores if score <= now][:limit]
        return now, coming, [Seen(name, jobs.get(name, "").encode(), repr(score)) for score, name in found]

    async def everything(self) -> tuple[float, list[Seen]]:
        """As ``periodic_all.lua``."""
        await anyio.lowlevel.checkpoint()
        world = self._world
        scores, last = world.sorted_sets[KEYS.periodic], world.hashes[KEYS.periodic_last]
        return world.clock(), [
            Seen(
                name,
                kept.encode(),
                repr(scores[name.encode()]) if name.encode() in scores else "",
                name in world.sets[KEYS.periodic_paused],
                last.get(name, ""),
            )
            for name, kept in sorted(world.hashes[KEYS.periodic_jobs].items())
        ]

    async def tick(self, ticks: Sequence[Tick]) -> list[int | None]:
        """As ``periodic_tick.lua``."""
        await anyio.lowlevel.checkpoint()
        done = [self._tick(tick) for tick in ticks]
        self._world.notify()
        await anyio.lowlevel.checkpoint()
        return done

    def _tick(self, tick: Tick) -> int | None:
        world, seen = self._world, tick.seen
        scores, key = world.sorted_sets[KEYS.periodic], seen.name.encode()
        if world.hashes[KEYS.periodic_jobs].get(seen.name, "").encode() != seen.kept or not seen.kept:
            return None
        if seen.score and (key not in scores or repr(scores[key]) != seen.score):
            return None
        world.tick()
        held = world.push(tick.jobs)
        if tick.last:
            world.hashes[KEYS.periodic_last][seen.name] = tick.last
        if seen.score:
            self._set_next(seen.name, tick.next_tick)
        return len(tick.jobs) - len(held)

    async def arrange(self, changes: Sequence[Arrange]) -> list[bool]:
        """As ``periodic_arrange.lua``."""
        await anyio.lowlevel.checkpoint()
        done = [self._arrange(change) for change in changes]
        self._world.notify()
        await anyio.lowlevel.checkpoint()
        return done

    def _arrange(self, change: Arrange) -> bool:
        world, name = self._world, change.seen.name
        jobs, paused = world.hashes[KEYS.periodic_jobs], world.sets[KEYS.periodic_paused]
        if jobs.get(name, "").encode() != change.seen.kept:
            return False
        if change.kept is None:
            jobs.pop(name, None)
            world.hashes[KEYS.periodic_last].pop(name, None)
        else:
            jobs[name] = change.kept.decode()
        if change.keep:
            return True
        self._set_next(name, change.next_tick)
        (paused.add if change.paused else paused.discard)(name)
        return True

    def _set_next(self, name: str, tick: float | None) -> None:
        scores = self._world.sorted_sets[KEYS.periodic]
        if tick is None:
            scores.pop(name.encode(), None)
        else:
            scores[name.encode()] = tick
