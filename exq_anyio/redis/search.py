"""Which queues hold jobs, of all whose names begin alike: thousands, most of them empty for ever."""

from __future__ import annotations

from itertools import count
from typing import cast

from ..errors import InvalidQueue
from ..setting import check_queue_name
from . import scripts
from .connect import Connections
from .keys import Keys

REFRESH = 10
"""Looks after which the names are read although their number is the same: one may have gone as another one came."""


class Search:
    """Knows the names, so that a look at all of them is one command and brings only those that hold jobs."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys
        self._beginnings: tuple[str, ...] = ()
        self._names: list[str] = []
        self._count = -1
        """How many queues there were when the names were read; -1: they are to be read."""
        self._looks = count(1)

    async def filled(self, beginnings: tuple[str, ...]) -> list[str]:
        """See :meth:`exq_anyio.node.store.Store.filled`."""
        if beginnings != self._beginnings:
            self._beginnings, self._names, self._count = beginnings, [], -1
        elif next(self._looks) % REFRESH == 0:
            self._count = -1
        names, found, members = self._names, *await self._look(self._names)
        if members is None:
            return found
        self._names = [name for name in map(_text, members) if name.startswith(beginnings) and _can_be(name)]
        known = set(names)
        fresh = [name for name in self._names if name not in known]
        if fresh:
            more, members = await self._look(fresh)
            found += more
            if members is not None:
                self._count = -1  # another has come since, and is seen by the next look
        return found

    async def _look(self, queues: list[str]) -> tuple[list[str], list[bytes] | None]:
        """Those of *queues* that hold jobs; and the names of all queues, if they may have changed."""
        keys = self._keys
        before = len(keys.queue("").encode())
        names = [keys.queues, keys.paused, *map(keys.queue, queues)]
        reply = await scripts.run(self._connections, "filled", names, [self._count, before])
        number, members, found = cast("tuple[int, list[bytes], list[int]]", reply)
        changed, self._count = number != self._count, number
        return [queues[at] for at in found], members if changed else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _can_be(name: str) -> bool:
    """Whether a queue of that name may be taken from: other programs may have written anything."""
    try:
        check_queue_name(name)
    except InvalidQueue:
        return False
    return "\ufffd" not in name  # it was no text, and would name another key
