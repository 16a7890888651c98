"""Limits of the fleet in memory: see :class:`exq_anyio.limits.Limits`."""

from __future__ import annotations

from math import floor

import anyio.lowlevel

from ..exchange import Claim
from ..limits import Rate, Taken
from .world import KEYS, World


class MemoryLimits:
    """The limits of a :class:`~exq_anyio.testing.world.World`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def hold(self, name: str, most: int, claim: Claim, holder: str, wanted: int, least: int) -> int:
        """As ``limit_hold.lua``."""
        await anyio.lowlevel.checkpoint()
        self._world._lease(claim)
        held, field = self._world.hashes[KEYS.limit(name)], f"{claim.token}:{holder}:{claim.node_id}"
        others = sum(int(count) for other, count in held.items() if other != field)
        mine = max(least, min(wanted, most - others))
        held.pop(field, None)
        if mine > 0:
            held[field] = str(mine)
        return mine

    async def sweep(self, name: str) -> None:
        """As ``limit_sweep.lua``."""
        await anyio.lowlevel.checkpoint()
        held = self._world.hashes[KEYS.limit(name)]
        for field in list(held):
            token, _, rest = field.partition(":")
            if self._world.hashes[KEYS.lease(rest.partition(":")[2])].get("token") != token:
                del held[field]

    async def take(self, name: str, rate: Rate, holder: str, first: int, wanted: int) -> Taken:
        """As ``limit_take.lua``."""
        await anyio.lowlevel.checkpoint()
        world, key = self._world, KEYS.rate(name, rate)
        world.tick()
        now = world.clock()
        world.expires[key] = now + 2 * rate.per + 1
        match rate.kind:
            case "sliding":
                return self._slide(
                    key, rate, now, [f"{holder}:{number}".encode() for number in range(first, first + wanted)]
                )
            case "fixed":
                return self._fix(key, rate, now, wanted)
            case "bucket":
                return self._pour(key, rate, now, wanted)

    def _slide(self, key: str, rate: Rate, now: float, members: list[bytes]) -> Taken:
        begun = self._world.sorted_sets[key]
        for member in [member for member, at in begun.items() if at <= now - rate.per]:
            del begun[member]
        used = len(begun)
        granted = max(0, min(len(members), rate.count - used))
        begun |= dict.fromkeys(members[:granted], now)
        return Taken(granted, 0.0 if granted else sorted(begun.values())[used - rate.count] + rate.per - now)

    def _fix(self, key: str, rate: Rate, now: float, wanted: int) -> Taken:
        counted, index = self._world.hashes[key], floor(now / rate.per)
        used = int(counted.get("count", 0)) if counted.get("window") == str(index) else 0
        granted = max(0, min(wanted, rate.count - used))
        if granted:
            counted |= {"window": str(index), "count": str(used + granted)}
        return Taken(granted, 0.0 if granted else (index + 1) * rate.per - now, str(index))

    def _pour(self, key: str, rate: Rate, now: float, wanted: int) -> Taken:
        bucket, burst = self._world.hashes[key], rate.burst or 1
        passed = max(0.0, now - float(bucket.get("at", now)))
        tokens = min(burst, float(bucket.get("tokens", burst)) + passed * rate.count / rate.per)
        granted = max(0, min(wanted, floor(tokens)))
        bucket |= {"tokens": f"{tokens - granted:.9f}", "at": f"{now:.6f}"}
        return Taken(granted, 0.0 if granted else (1 - tokens) * rate.per / rate.count)

    async def give(self, name: str, rate: Rate, holder: str, first: int, count: int, window: str) -> None:
        """As ``limit_give.lua``."""
        await anyio.lowlevel.checkpoint()
        key = KEYS.rate(name, rate)
        if rate.kind == "sliding":
            for number in range(first, first + count):
                self._world.sorted_sets[key].pop(f"{holder}:{number}".encode(), None)
            return
        counted = self._world.hashes[key]
        if rate.kind == "bucket" and counted:
            counted["tokens"] = f"{min(rate.burst or 1, float(counted['tokens']) + count):.9f}"
        elif counted.get("window") == window:
            counted["count"] = str(int(counted["count"]) - count)
