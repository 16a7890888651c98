"""How jobs get into Redis: one script for all the jobs of a call, and of the calls that come while one is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import cast

import anyio
import attrs

from ..errors import EnqueueUncertain, ExqError, RedisUnavailable
from ..exchange import Outgoing
from . import scripts
from .connect import Argument, Connections, closed
from .keys import Keys

SHARED_LIMIT = 500
"""Most jobs that several calls send in one step; a single call may send more."""


@attrs.define(eq=False)
class _Call:
    jobs: Sequence[Outgoing]
    answered: anyio.Event = attrs.field(factory=anyio.Event)
    holders: dict[int, str] = attrs.field(factory=dict)
    error: ExqError | None = None


class RedisOutbox:
    """Puts jobs into the queues and the schedule of one namespace.

    A call that comes alone is sent by its own task.  Those that come while one is under way wait, and a task of ours
    sends them together: a round trip costs a hundred times as much as one more job in it.
    """

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys
        self._sending = 0
        self._sharing = False
        self._waiting: deque[_Call] = deque()

    async def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """Enqueue *jobs* in one isolated step; for those whose unique lock is held, their place and the holder's jid.

        Raises:
            RedisUnavailable: nothing was sent.
            EnqueueUncertain: it was sent, and the answer was lost.
            RedisFull, WrongType: nothing was enqueued.
        """
        await self._connections.soon_available()
        if self._sending or self._sharing:
            return await self._push_shared(jobs)
        self._sending += 1
        try:
            return await self._send(jobs)
        finally:
            self._sending -= 1

    async def _push_shared(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        call = _Call(jobs)
        self._waiting.append(call)
        if not self._sharing:
            self._sharing = True
            self._connections.start(self._send_waiting)
        try:
            await call.answered.wait()
        finally:
            if call in self._waiting:  # cancelled before it was sent
                self._waiting.remove(call)
        if call.error is not None:
            raise call.error
        return call.holders

    async def _send_waiting(self) -> None:
        """Send the calls that wait, until there are none."""
        try:
            while self._waiting:
                together = [self._waiting.popleft()]
                jobs = len(together[0].jobs)
                while self._waiting and (jobs := jobs + len(self._waiting[0].jobs)) <= SHARED_LIMIT:
                    together.append(self._waiting.popleft())
                await self._send_together(together)
        finally:
            self._sharing = False
            for call in self._waiting:  # the instance ends while others still use it
                call.error = closed()
                call.answered.set()

    async def _send_together(self, calls: list[_Call]) -> None:
        try:
            holders = await self._send([job for call in calls for job in call.jobs])
        except RedisUnavailable as error:
            for call in calls:
                call.error = _own(error, call.jobs)
                call.answered.set()
        except ExqError as error:
            if len(calls) > 1:
                # Refused whole, for what one of them asked: the others need not bear it.
                for call in calls:
                    await self._send_together([call])
                return
            calls[0].error = error
            calls[0].answered.set()
        except BaseException:
            for call in calls:
                call.error = closed()
                call.answered.set()
            raise
        else:
            first = 0
            for call in calls:
                end = first + len(call.jobs)
                call.holders = {at - first: jid for at, jid in holders.items() if first <= at < end}
                first = end
                call.answered.set()

    async def _send(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
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
                args += ("Q" if self._keys.resque(queue) else "q", places[queue], queue)
            if job.lock is not None:
                token, duration = job.lock
                keys.append(self._keys.unique(token))
                args += ("u", len(keys), job.jid, max(1, round(duration * 1000)))
            args += ("p", job.payload) if job.due is None else ("s", job.payload, repr(job.due))
        try:
            flat = cast("list[int | bytes]", await scripts.run(self._connections, "enqueue", keys, args))
        except RedisUnavailable as error:
            raise _own(error, jobs) from error
        return {cast("int", at): cast("bytes", jid).decode() for at, jid in zip(flat[::2], flat[1::2], strict=True)}


def _own(error: RedisUnavailable, jobs: Sequence[Outgoing]) -> RedisUnavailable:
    """*error* for those who sent *jobs*: what may have been enqueued is named."""
    if not error.maybe_done:
        return RedisUnavailable(error.address, error.problem)
    cause = error.__cause__ if isinstance(error, EnqueueUncertain) else error
    problem = cause.problem if isinstance(cause, RedisUnavailable) else error.problem
    return EnqueueUncertain(error.address, problem, [job.jid for job in jobs])
