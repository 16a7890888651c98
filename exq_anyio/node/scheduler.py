"""Moves due jobs from ``schedule`` and ``retry`` to their queues, and keeps the dead set within its limits."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from ..errors import MalformedPayload, RedisError, RedisUnavailable, WrongType
from ..exchange import Move, SortedSet
from ..job import Job, Timestamps, encode, stamp
from ..outcome import Policy, malformed
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

PAGE = 500
"""Entries that are moved at a time: one isolated step holds up the server for a millisecond or two."""

TRIM_INTERVAL = 60.0
"""Seconds between two looks at the dead set, which each settle keeps within its limits too."""


async def schedule(store: Store, policy: Policy, interval: Callable[[], float]) -> None:
    """Promote what is due, every *interval* seconds, until cancelled."""
    trimmed = -TRIM_INTERVAL
    while True:
        await _tried(store, partial(promote_all, store, policy))
        if anyio.current_time() - trimmed >= TRIM_INTERVAL:
            trimmed = anyio.current_time()
            await _tried(store, partial(trim_dead, store))
        await anyio.sleep(interval())


async def promote_all(store: Store, policy: Policy) -> None:
    """Move everything that is due now, wherever it is; most looks find nothing, and are one question."""
    for where in await store.anything_due():
        await _tried(store, partial(promote_due, store, where, policy))


async def _tried(store: Store, step: Callable[[], Awaitable[object]]) -> None:
    """Take *step* as soon as the store is there; what it refuses is logged and comes up again the next time."""
    while True:
        try:
            await step()
            return
        except RedisUnavailable:
            await store.available()
        except RedisError as error:
            logger.error("cannot move due or dead jobs: error=%s", error)
            return


async def trim_dead(store: Store) -> None:
    """Remove all dead jobs that are too old or too many."""
    while await store.trim_dead(PAGE) >= PAGE:
        pass


async def promote_due(store: Store, where: SortedSet, policy: Policy) -> int:
    """Move everything that is due now, page by page; how many entries this node moved."""
    moved = 0
    while True:
        now, payloads = await store.due(where, PAGE)
        if payloads:
            moves = [due_move(payload, where, now, policy) for payload in payloads]
            moved += await _promote(store, where, moves, now)
        if len(payloads) < PAGE:
            return moved


async def _promote(store: Store, where: SortedSet, moves: list[Move], now: float) -> int:
    try:
        return await store.promote(where, moves, now)
    except WrongType as error:
        if len(moves) == 1:
            logger.error("due job stays where it is: error=%s", error)
            return 0
    # One of them meets a key that somebody broke; the others need not wait for it.
    return sum([await _promote(store, where, [move], now) for move in moves])


def due_move(payload: bytes, where: SortedSet, now: float, policy: Policy) -> Move:
    """Where a due entry goes: to its queue with a new ``enqueued_at``, or to the dead set if it is no job."""
    try:
        job = Job.decode(payload)
    except MalformedPayload as error:
        logger.error("no job in %s, moved to dead: bytes=%d reason=%s", where, len(payload), error.reason)
        dead = malformed(payload, "default", error.reason, is_json=error.is_json, now=now, policy=policy)
        return Move(payload, dead.entry, None)
    return Move(payload, enqueued(job, now, policy.timestamps), job.queue)


def enqueued(job: Job, now: float, unit: Timestamps) -> bytes:
    """The payload of *job* as it is put in its queue at *now*."""
    return encode({**job.record, "queue": job.queue, "enqueued_at": stamp(now, unit)})
