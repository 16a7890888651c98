"""What an action makes of an entry: a function of the entry and the time, that nothing is written by.

Each returns the :class:`~exq_anyio.upkeep.Change` that the keeper then makes, if the entry is still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from ..errors import MalformedPayload
from ..job import JSON, Job, Record, Timestamps, encode, stamp
from ..outcome import Policy, held_lock, malformed
from ..upkeep import Change, Place
from .entry import Entry

DEAD, SCHEDULE = Place("dead"), Place("schedule")


def delete(entry: Entry, *, keep_lock: bool) -> Change:
    """The entry is gone, and with it the unique lock that it holds, unless *keep_lock*."""
    job = entry.job
    held = job is not None and job.unique_token is not None and not keep_lock
    unlock = (cast("str", cast("Job", job).unique_token), entry.jid) if held else None
    return Change(member=entry.payload, position=entry.position, unlock=unlock)


def retry(entry: Entry, now: float, unit: Timestamps) -> Change:
    """Back to its queue, with one more attempt to spend: Sidekiq's SortedEntry#retry lowers ``retry_count`` by one."""
    if entry.place.kind == "queue":
        raise ValueError("the job is in its queue already; run_now puts it to the front")
    job = _job(entry)
    count = job.retry_count
    changed = job if count is None else job.changed(retry_count=max(-1, count - 1))
    return _enqueue(entry, changed, now, unit)


def run_now(entry: Entry, now: float, unit: Timestamps) -> Change:
    """To its queue at once, ``retry_count`` as it is (Sidekiq's SortedEntry#add_to_queue); in a queue to its front."""
    job = _job(entry)
    if entry.place.kind != "queue":
        return _enqueue(entry, job, now, unit)
    return Change(member=entry.payload, position=entry.position, to=entry.place, payload=entry.payload, next_taken=True)


def kill(entry: Entry, now: float, unit: Timestamps, *, keep_lock: bool) -> Change:
    """To the dead set.  A failed job goes as it is; another is given the error that Sidekiq's pages need."""
    if entry.place.kind == "dead":
        raise ValueError("the job is dead already")
    job = entry.job
    unlock = None
    if job is None:
        payload = _wrapped(entry, now, unit)
    else:
        payload = job.payload if "failed_at" in job.record and "retry_count" in job.record else _killed(job, now, unit)
        unlock = None if keep_lock else held_lock(job)
    return Change(
        member=entry.payload, position=entry.position, to=DEAD, payload=payload, score=repr(now), unlock=unlock
    )


def edit(entry: Entry, args: Sequence[JSON]) -> Change:
    """Other arguments, everything else as it is, where it is.

    Raises:
        MalformedPayload: it is no job.
        TypeError: JSON cannot say the arguments.
    """
    payload = encode({**_job(entry).record, "args": list(args)})
    score = "" if entry.score is None else repr(entry.score)
    return Change(member=entry.payload, position=entry.position, to=entry.place, payload=payload, score=score)


def reschedule(entry: Entry, at: datetime) -> Change:
    """Due at another time; a job in a queue goes to the schedule."""
    if at.tzinfo is None:
        raise ValueError("`at` needs a time zone: datetime.now(UTC), or .astimezone()")
    if entry.place.kind == "dead":
        raise ValueError("a dead job is due at no time; retry it, or run it now")
    payload, place = entry.payload, entry.place
    if place.kind == "queue":
        # Sidekiq: a job in the schedule has not been enqueued yet; it goes back to the queue it was in.
        record = {**_job(entry).record, "queue": entry.queue}
        record.pop("enqueued_at", None)
        payload, place = encode(record), SCHEDULE
    return Change(member=entry.payload, position=entry.position, to=place, payload=payload, score=repr(at.timestamp()))


def _job(entry: Entry) -> Job:
    if entry.job is None:
        raise MalformedPayload(f"the entry is no job ({entry.problem}); delete it, or look at its text")
    return entry.job


def _enqueue(entry: Entry, job: Job, now: float, unit: Timestamps) -> Change:
    payload = encode({**job.record, "queue": job.queue, "enqueued_at": stamp(now, unit)})
    return Change(member=entry.payload, position=entry.position, to=Place("queue", job.queue), payload=payload)


def _killed(job: Job, now: float, unit: Timestamps) -> bytes:
    record: Record = {**job.record, "queue": job.queue}
    added: Record = {
        "error_class": "Killed",
        "error_message": "killed by an operator",
        "failed_at": stamp(now, unit),
        "retry_count": 0,
    }
    for field, value in added.items():
        record.setdefault(field, value)
    return encode(record)


def _wrapped(entry: Entry, now: float, unit: Timestamps) -> bytes:
    try:
        Job.decode(entry.payload)
    except MalformedPayload as error:
        policy = Policy(timestamps=unit)
        return malformed(entry.payload, entry.queue, error.reason, is_json=error.is_json, now=now, policy=policy).entry
    return entry.payload
