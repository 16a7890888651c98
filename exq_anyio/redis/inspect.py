"""Looks at what is in Redis, without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import attrs

from . import scripts
from .connect import Connections
from .keys import Keys


@attrs.frozen(kw_only=True)
class Counts:
    """How many jobs are where, at one instant; and how many runs were counted."""

    queues: Mapping[str, int]
    """Jobs in each queue."""
    backups: Mapping[tuple[str, str], int]
    """Jobs that each node has taken from each queue and not settled, by node id and queue."""
    schedule: int
    retry: int
    dead: int
    processed: int
    """Runs that ended, failures too."""
    failed: int
    """Runs that failed."""

    @property
    def waiting(self) -> int:
        """Jobs in all queues."""
        return sum(self.queues.values())

    @property
    def taken(self) -> int:
        """Jobs in all backup queues."""
        return sum(self.backups.values())

    @property
    def pending(self) -> int:
        """Jobs that are still to be performed, wherever they are."""
        return self.waiting + self.taken + self.schedule + self.retry


async def read_counts(connections: Connections, keys: Keys, nodes: Iterable[str] = ()) -> Counts:
    """Count the jobs: the names are read first, and then everything in one isolated step.

    *nodes* are node ids whose backup queues count although Redis may know them no more.

    Raises:
        RedisUnavailable: it cannot be reached.
        WrongType: a key holds what is not ours.
    """
    request = connections.commands.request
    queues = _names(await request(b"SMEMBERS", keys.queues))
    known = {*nodes, *_names(await request(b"SMEMBERS", keys.leases))}
    known.update(_names(await request(b"SMEMBERS", keys.processes)))
    known.update(_names(await request(b"ZRANGE", keys.heartbeats, 0, -1)))
    pairs: list[tuple[str, str]] = []
    for node in sorted(known):
        taken = _names(await request(b"SMEMBERS", keys.taken(node)))
        pairs += [(node, queue) for queue in sorted({*queues, *taken})]
    processed, _, _, failed, _, _ = keys.stats(0)
    names = [keys.schedule, keys.retry, keys.dead, processed, failed]
    names += [keys.queue(queue) for queue in queues] + [keys.backup(node, queue) for node, queue in pairs]
    counts = cast("list[int]", await scripts.run(connections, "counts", names, []))
    sizes = counts[5:]
    return Counts(
        queues=dict(zip(queues, sizes, strict=False)),
        backups=dict(zip(pairs, sizes[len(queues) :], strict=True)),
        schedule=counts[0],
        retry=counts[1],
        dead=counts[2],
        processed=counts[3],
        failed=counts[4],
    )


def _names(reply: object) -> list[str]:
    return sorted(name.decode("utf-8", "replace") for name in cast("Iterable[bytes]", reply or ()))
