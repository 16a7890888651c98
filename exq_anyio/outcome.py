"""What becomes of a performed job: a function of the job, how it ended, the time and a chance.

:func:`judge` decides; a :class:`Settlement` says what is to be written; the settler writes it.  Nothing here knows
Redis, a clock or a source of randomness.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeAlias

import attrs

from .errors import JobCancelled
from .failures import FailureRule
from .job import MAX_ERROR_MESSAGE, Job, Record, Timestamps, encode, new_jid, pack_backtrace, seconds, stamp

Backoff: TypeAlias = Callable[[Job, BaseException], "float | None"]
"""Seconds to wait before the next retry, from the job as it now fails and its error; None is Sidekiq's curve."""

Kind: TypeAlias = Literal["done", "discarded", "retry", "dead", "schedule", "push_back"]
"""Where a settled job goes: nowhere (done, discarded), a sorted set, or back to its queue."""


LONGEST_WAIT = 10 * 365 * 86400.0
"""Most seconds until a retry, so that no number of attempts or broken backoff writes a time that no program reads."""


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _not_negative(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < 1e10:
        raise ValueError(f"{attribute.name} must be a number of seconds from 0 to 1e10, not {value!r}")


@attrs.frozen
class Snooze:
    """Returned by a worker: run the job again after *seconds*; no attempt is used, its unique lock is kept."""

    seconds: float = attrs.field(converter=_seconds, validator=_not_negative)
    """Float seconds or a timedelta, stored as seconds."""


@attrs.frozen
class Discard:
    """Returned by a worker: the job is over, without a retry and without a place in the dead set."""

    reason: str = attrs.field(default="", converter=str)
    """One line for the log."""


@attrs.frozen
class Dead:
    """Returned by a worker: the job is hopeless and goes to the dead set at once."""

    reason: str = attrs.field(default="", converter=str)
    """Kept as the job's error message; an exception is taken for its message."""


Verdict: TypeAlias = Snooze | Discard | Dead
"""What a worker may return, or ``exq.Halt`` carry, to end a job other than by success or failure."""


class Halt(Exception):
    """Raised by a middleware, or a worker, to end the job with *verdict* (None: as done) and perform nothing more."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        super().__init__(verdict)
        self.verdict = verdict


@attrs.frozen(eq=False)
class Settlement:
    """What one settle writes for one payload, only if the payload is still in the backup queue."""

    kind: Kind
    """Where the job goes."""
    queue: str
    """The queue whose backup holds the payload."""
    payload: bytes
    """The exact bytes to remove."""
    entry: bytes = b""
    """The bytes to add: the changed job for retry, dead and schedule; what goes back for push_back."""
    score: float = 0.0
    """Unix seconds: when a retry or scheduled job is due, when a dead one died."""
    processed: int = 0
    """1 when the run counts as processed (Sidekiq: failures too; a push-back never)."""
    failed: int = 0
    """1 when the run counts as failed."""
    unlock: tuple[str, str] | None = None
    """The unique token to free and the jid that must hold it, or None."""
    problem: str = ""
    """Why the job failed, for the log: error class, never arguments."""
    near_head: bool = False
    """True when the payload is nearer to the head of the backup queue (the newest end) than to its tail."""


@attrs.frozen(kw_only=True)
class Policy:
    """How failures are treated where the job itself does not say."""

    max_retries: int = 25
    """Retries of a job whose ``retry`` is true or absent."""
    backoff: Backoff | None = None
    """Seconds until the next retry; None is Sidekiq's curve."""
    rule: FailureRule | None = None
    """What the worker says of classes of errors; None: all are retried."""
    timestamps: Timestamps = "seconds"
    """Unit of the times written."""


def sidekiq_backoff(retry_count: int, jitter: float) -> float:
    """Seconds to wait before the retry that follows failure number *retry_count* (0 is the first).

    *jitter* is in [0, 1).  Grows with the fourth power; about 20 days for the 25th.

    Raises:
        ValueError: *retry_count* is negative.
    Source: Sidekiq 8, job_retry (``count**4 + 15`` plus up to ``10 * (count + 1)``).
    """
    if retry_count < 0:
        raise ValueError(f"retry_count must not be negative, not {retry_count}")
    return retry_count**4 + 15 + jitter * 10 * (retry_count + 1)


def judge(job: Job, ended: object, now: float, jitter: float, policy: Policy) -> Settlement:
    """The settlement of *job*, which returned *ended*, or raised it if it is an exception.

    *now* is unix seconds, *jitter* in [0, 1).
    """
    if isinstance(ended, Halt):
        ended = ended.verdict
    if isinstance(ended, (BaseException, Snooze, Dead)):
        # Who performed it may have changed its arguments in place; what is written again is what was read.
        job = Job.decode(job.payload, job.queue)
    if isinstance(ended, BaseException):
        return _failed(job, ended, now, jitter, policy)
    if isinstance(ended, Snooze):
        entry = encode({**job.record, "queue": job.queue, "snooze_count": job.snooze_count + 1})
        return Settlement("schedule", job.queue, job.payload, entry, now + ended.seconds, processed=1)
    if isinstance(ended, Dead):
        record = _with_error(job, "Dead", ended.reason, None, now, policy)
        return _dead(job, record, now, ended.reason or "Dead")
    kind: Kind = "discarded" if isinstance(ended, Discard) else "done"
    return Settlement(kind, job.queue, job.payload, processed=1, unlock=held_lock(job))


def failed_job(job: Job, error: BaseException, now: float, policy: Policy) -> Job:
    """*job* as it is after it has failed once more with *error*; its payload is still that in the backup queue."""
    job = Job.decode(job.payload, job.queue)
    return Job(_with_error(job, type(error).__name__, _message(error), error, now, policy), job.payload, job.queue)


def push_back(job: Job) -> Settlement:
    """The job returns to the end of its queue that is taken from next; nothing is counted, nothing changed."""
    return Settlement("push_back", job.queue, job.payload, job.payload)


def held_lock(job: Job) -> tuple[str, str] | None:
    """Token and jid of the unique lock that the end of *job* frees; None when it has none or only time frees it."""
    token = job.unique_token
    return None if token is None or job.unique_until == "expiry" else (token, job.jid)


def malformed(payload: bytes, queue: str, reason: str, *, is_json: bool, now: float, policy: Policy) -> Settlement:
    """What is no job goes to the dead set, and counts nothing.

    Bytes that are not JSON stay raw; JSON is wrapped as text in a job record, because Sidekiq's own page of dead jobs
    fails on an entry such as ``[1]``.
    """
    entry = payload
    if is_json:
        at = stamp(now, policy.timestamps)
        entry = encode(
            {
                "class": "MalformedPayload",
                "args": [payload.decode("utf-8", "replace")],
                "queue": queue,
                "jid": new_jid(),
                "retry": False,
                "created_at": at,
                "enqueued_at": at,
                "failed_at": at,
                "retry_count": 0,
                "error_class": "MalformedPayload",
                "error_message": reason,
            }
        )
    return Settlement("dead", queue, payload, entry, now, problem=reason)


def _failed(job: Job, error: BaseException, now: float, jitter: float, policy: Policy) -> Settlement:
    name = type(error).__name__
    record = _with_error(job, name, _message(error), error, now, policy)
    if isinstance(error, JobCancelled):
        return _dead(job, record, now, name)
    count = record["retry_count"]
    assert isinstance(count, int)
    fate = "retry" if policy.rule is None else policy.rule.fate(error)
    if job.retry is False or fate == "discard":
        # Sidekiq: `retry: false` is over at its first failure, without a place among the dead.
        return Settlement(
            "discarded", job.queue, job.payload, processed=1, failed=1, unlock=held_lock(job), problem=name
        )
    if fate == "dead" or count >= job.max_retries(policy.max_retries) or _too_late(job, record, now):
        return _dead(job, record, now, name)
    wait, note = _wait(Job(record, job.payload, job.queue), count, error, jitter, policy)
    return Settlement(
        "retry", job.queue, job.payload, encode(record), now + wait, processed=1, failed=1, problem=name + note
    )


def _too_late(job: Job, record: Record, now: float) -> bool:
    """Whether the time in which the job is retried is over.  Source: Sidekiq 7.1 and newer, job_retry."""
    limit = job.retry_for
    first = seconds(record.get("failed_at")) if limit is not None else None
    return first is not None and limit is not None and first + limit < now


def _wait(failed: Job, count: int, error: BaseException, jitter: float, policy: Policy) -> tuple[float, str]:
    """Seconds until the next retry, and a note for the log where the user's own backoff is of no use."""
    note = ""
    for backoff in (policy.rule.wait if policy.rule else None, policy.backoff):
        if backoff is None:
            continue
        try:
            wait = backoff(failed, error)
            if wait is not None:
                return min(max(0.0, float(wait)), LONGEST_WAIT), note
        except Exception as broken:
            note = f" (backoff failed too: {type(broken).__name__})"
    return min(sidekiq_backoff(count, jitter), LONGEST_WAIT), note


def _dead(job: Job, record: Record, now: float, problem: str) -> Settlement:
    # Sidekiq: `dead: false` keeps an exhausted job out of the dead set.
    kind: Kind = "discarded" if record.get("dead") is False else "dead"
    return Settlement(
        kind, job.queue, job.payload, encode(record), now, processed=1, failed=1, unlock=held_lock(job), problem=problem
    )


def _with_error(job: Job, name: str, message: str, error: BaseException | None, now: float, policy: Policy) -> Record:
    """The job's record after one more failure, as Sidekiq's job_retry writes it."""
    at = stamp(now, policy.timestamps)
    count = job.retry_count
    retry_queue = job.record.get("retry_queue")
    record: Record = {
        **job.record,
        "queue": retry_queue if isinstance(retry_queue, str) and retry_queue else job.queue,
        "error_class": name,
        "error_message": message[:MAX_ERROR_MESSAGE].encode("utf-8", "replace").decode(),
    }
    if count is None:
        record["failed_at"] = at
        record["retry_count"] = 0
    else:
        record.setdefault("failed_at", at)  # Sidekiq's detail page fails without it
        record["retried_at"] = at
        record["retry_count"] = count + 1
    if "expires_in" in record and "expiry" not in record and job.expires_at is not None:
        record["expiry"] = job.expires_at  # a retry is enqueued anew, and does not live longer by that
    wanted = job.record.get("backtrace")
    if error is not None and wanted:
        lines = _backtrace(error)
        record["error_backtrace"] = pack_backtrace(
            lines if wanted is True or not isinstance(wanted, int) else lines[:wanted]
        )
    return record


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as broken:  # a user's __str__ may fail in any way, and that must not stop the node
        text = f"(its message cannot be shown: {type(broken).__name__})"
    return text or type(error).__name__


def _backtrace(error: BaseException) -> list[str]:
    """One line a frame, the innermost first as Ruby lists them."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno}:in '{frame.name}'" for frame in reversed(frames)]
