"""Limits of the fleet in Redis: see :class:`exq_anyio.limits.Limits`."""

from __future__ import annotations

from typing import cast

from ..exchange import Claim
from ..limits import Rate, Taken
from . import scripts
from .connect import Argument, Connections
from .keys import Keys


class RedisLimits:
    """The limits of one namespace."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys

    async def hold(self, name: str, most: int, claim: Claim, holder: str, wanted: int, least: int) -> int:
        """See :class:`~exq_anyio.limits.Limits`."""
        keys = [self._keys.limit(name), self._keys.lease(claim.node_id)]
        field = f"{claim.token}:{holder}:{claim.node_id}"
        answer = await scripts.run(self._connections, "limit_hold", keys, [claim.token, field, most, wanted, least])
        return cast("int", answer)

    async def sweep(self, name: str) -> None:
        """See :class:`~exq_anyio.limits.Limits`."""
        keys = [self._keys.limit(name)]
        found = cast("list[bytes]", await self._connections.commands.request(b"HKEYS", keys[0]))
        args: list[Argument] = []
        for raw in found:
            token, _, rest = raw.decode("utf-8", "replace").partition(":")
            keys.append(self._keys.lease(rest.partition(":")[2]))
            args += (raw, token)
        if args:
            await scripts.run(self._connections, "limit_sweep", keys, args)

    async def take(self, name: str, rate: Rate, holder: str, first: int, wanted: int) -> Taken:
        """See :class:`~exq_anyio.limits.Limits`."""
        args: list[Argument] = [rate.kind, rate.count, repr(rate.per), rate.burst or 1, wanted, holder, first]
        answer = await scripts.run(self._connections, "limit_take", [self._keys.rate(name, rate)], args)
        count, wait, window = cast("tuple[int, bytes, bytes]", answer)
        return Taken(count, float(wait), window.decode())

    async def give(self, name: str, rate: Rate, holder: str, first: int, count: int, window: str) -> None:
        """See :class:`~exq_anyio.limits.Limits`."""
        args: list[Argument] = [rate.kind, window, rate.burst or 1, holder, first, count]
        await scripts.run(self._connections, "limit_give", [self._keys.rate(name, rate)], args)
