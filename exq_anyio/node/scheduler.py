"""Moves due jobs from ``schedule`` and ``retry`` to their queues, and keeps the dead set within its limits."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from ..errors import MalformedPayload, RedisError, RedisUnavailable
from ..exchange import Move, SortedSet
from ..job import Job, Timestamps, encode, stamp
from ..outcome import Policy, malformed
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

PAGE = 500
"""Entries that are moved at a time: one isolated step holds up the server for a millisecond or two."""

SETS: tuple[SortedSet, ...] = ("retry", "schedule")


async def schedule(store: Store, policy: Policy, interval: Callable[[], float]) -> None:
    """Promote what is due, every *interval* seconds, until cancelled."""
    while True:
        try:
            for where in SETS:
                await promote_due(store, where, policy)
            while await store.trim_dead(PAGE) >= PAGE:
                pass
            await anyio.sleep(interval())
        except RedisUnavailable:
            await store.available()
        except RedisError as error:
            logger.error("cannot move due jobs: error=%s", error)
            await anyio.sleep(max(1.0, interval()))


async def promote_due(store: Store, where: SortedSet, policy: Policy) -> int:
    """Move everything that is due now, page by page; how many entries this node moved."""
    moved = 0
    while True:
        now, payloads = await store.due(where, PAGE)
        if payloads:
            moves = [due_move(payload, where, now, policy) for payload in payloads]
            moved += await store.promote(where, moves, now)
        if len(payloads) < PAGE:
            return moved


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
