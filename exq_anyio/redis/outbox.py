"""How jobs get into Redis: one script for all the jobs of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..errors import EnqueueUncertain, RedisUnavailable
from ..exchange import Outgoing
from . import scripts
from .connect import Argument, Connections
from .keys import Keys


class RedisOutbox:
    """Puts jobs into the queues and the schedule of one namespace."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys

    async def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """Enqueue *jobs* in one isolated step; for those whose unique lock is held, their place and the holder's jid.

        Raises:
            RedisUnavailable: nothing was sent.
            EnqueueUncertain: it was sent, and the answer was lost.
            RedisFull, WrongType: nothing was enqueued.
        """
        keys = [self._keys.queues, self._keys.schedule]
        args: list[Argument] = []
        places: dict[str, int] = {}
        queue = None
        for job in jobs:
            if job.due is None and job.queue != queue:
                queue = job.queue
                if queue not in places:
                    keys.append(self._keys.queue(queue))
                    places[queue] = len(keys)
                args += ("q", places[queue], queue)
            if job.lock is not None:
                token, duration = job.lock
                keys.append(self._keys.unique(token))
                args += ("u", len(keys), job.jid, max(1, round(duration * 1000)))
            args += ("p", job.payload) if job.due is None else ("s", job.payload, repr(job.due))
        await self._connections.soon_available()
        try:
            flat = cast("list[int | bytes]", await scripts.run(self._connections, "enqueue", keys, args))
        except RedisUnavailable as error:
            if not error.maybe_done:
                raise
            raise EnqueueUncertain(error.address, error.problem, [job.jid for job in jobs]) from error
        return {cast("int", at): cast("bytes", jid).decode() for at, jid in zip(flat[::2], flat[1::2], strict=True)}
