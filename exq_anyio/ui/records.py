"""What is shown of a job, and nothing else of it: redacted, bounded in size, the same for pages and for JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

import attrs
import msgspec

from ..activejob import decoded, wrapped_name
from ..api import BusyJob, Entry
from ..api.periodic import PeriodicJob
from ..job import JSON, Job, encode
from . import show
from .refs import Ref
from .settings import HIDDEN, Redact

logger: logging.Logger = logging.getLogger("exq_anyio")

MOST_TEXT = 64_000
"""Characters of a payload that a page shows; all of it can be downloaded."""

MOST_RECORD = 16_000
"""Bytes of a payload above which a list does not hold its record."""

ARGUMENT_LINES = 40
"""Arguments that the page of a job shows one by one."""


@attrs.frozen(kw_only=True)
class Shown:
    """One job as it may be seen, wherever it lies; or what lies there and is no job."""

    ref: str
    """Names it in addresses and forms; ``""`` for a running job."""
    key: str
    """Tells it from the other rows of a table."""
    place: str
    """``queue``, ``retry``, ``schedule``, ``dead`` or ``busy``."""
    queue: str
    at: datetime | None
    """When it is due, died, was enqueued, or began to run."""
    size: int
    """Bytes of its payload."""
    job: Job | None
    """The job with what may be seen of it; None when it is none."""
    problem: str = ""
    """Why it is no job."""
    text: str = ""
    """Its payload as text, or the beginning of it."""
    node_id: str = ""
    """Where it runs."""
    thread: str = ""
    """Names the run there."""

    @property
    def jid(self) -> str:
        """Id of the job, ``""`` when it has none."""
        return self.job.jid if self.job is not None else ""

    @property
    def worker(self) -> str:
        """The name of its worker, of the class inside for a job of Rails; what it is, if it is no job."""
        if self.job is None:
            return "not a job"
        return wrapped_name(self.job) or self.job.worker

    @property
    def wrapper(self) -> str:
        """The class that wraps the job of Rails, ``""`` for others."""
        return self.job.worker if self.job is not None and wrapped_name(self.job) else ""

    @property
    def args(self) -> list[JSON]:
        """Its arguments; for a job of Rails those inside."""
        if self.job is None:
            return []
        return _inner(self.job) if self.wrapper else self.job.args

    @property
    def preview(self) -> str:
        """The beginning of its arguments, or of its text."""
        return show.shorten(self.text, show.PREVIEW) if self.job is None else show.arguments(self.args)

    @property
    def argument_lines(self) -> list[str]:
        """Each argument, bounded."""
        return [show.preview(value, 2_000) for value in self.args[:ARGUMENT_LINES]]

    @property
    def raw_args(self) -> str:
        """Its arguments as they are, in JSON: what is not to be seen may be spelt out in it."""
        return "[]" if self.job is None else encode({"": self.job.args}).decode()[4:-1]

    @property
    def error(self) -> str:
        """Class and message of the last error, on one line."""
        if self.job is None:
            return self.problem
        parts = (self.job.error_class, self.job.error_message)
        return show.shorten(": ".join(part.strip() for part in parts if part), 300)

    @property
    def pretty(self) -> str:
        """Its payload, one field a line."""
        if self.job is None or self.size > MOST_TEXT:
            return show.shorten(self.text, MOST_TEXT)
        return show.shorten(msgspec.json.format(encode(self.job.record), indent=2).decode(), 4 * MOST_TEXT)

    @property
    def is_cut(self) -> bool:
        """Whether :attr:`pretty` is not all of it."""
        return self.size > MOST_TEXT


@attrs.frozen(kw_only=True)
class JobRecord:
    """A job, in JSON."""

    ref: str
    place: str
    queue: str
    jid: str
    worker: str
    at: datetime | None
    size: int
    job: dict[str, JSON] | None
    """Its record; null when it is no job, or too large for a list."""
    problem: str
    text: str
    """The payload when it is no job, at most 1,000 characters of it."""
    node_id: str
    thread: str


def shown(entry: Entry, redact: Redact | None) -> Shown:
    """What may be seen of *entry*."""
    job, text = _redacted(entry.job, entry.payload, redact)
    return Shown(
        ref=str(Ref.of(entry)),
        key=f"{entry.key}-{entry.score}",
        place=entry.place.kind,
        queue=entry.queue,
        at=entry.at,
        size=len(entry.payload),
        job=job,
        problem=entry.problem,
        text=text,
    )


def running(job: BusyJob, redact: Redact | None) -> Shown:
    """What may be seen of a running job."""
    seen, text = _redacted(job.job, job.payload, redact)
    return Shown(
        ref="",
        key=f"{job.node_id}-{job.thread}",
        place="busy",
        queue=job.queue,
        at=job.started,
        size=len(job.payload),
        job=seen,
        text=text,
        node_id=job.node_id,
        thread=job.thread,
    )


def periodic_arguments(job: PeriodicJob, redact: Redact | None) -> str:
    """The arguments of a periodic job as they may be seen."""
    payload = encode({"class": job.worker or "unknown", "args": list(job.args), "queue": job.queue})
    seen, _ = _redacted(Job.decode(payload), payload, redact)
    return "" if seen is None else show.arguments(seen.args)


def record(one: Shown, *, whole: bool = False) -> JobRecord:
    """*one* in JSON; *whole* however large it is."""
    job = one.job
    return JobRecord(
        ref=one.ref,
        place=one.place,
        queue=one.queue,
        jid=one.jid,
        worker=one.worker if job is not None else "",
        at=one.at,
        size=one.size,
        job=dict(job.record) if job is not None and (whole or one.size <= MOST_RECORD) else None,
        problem=one.problem,
        text=show.shorten(one.text, 1_000) if job is None else "",
        node_id=one.node_id,
        thread=one.thread,
    )


def _redacted(job: Job | None, payload: bytes, redact: Redact | None) -> tuple[Job | None, str]:
    if redact is None:
        return job, payload[: 4 * MOST_TEXT].decode("utf-8", "replace")
    if job is None:
        return None, f"{HIDDEN}: what is no job cannot be redacted"
    try:
        record = dict(redact(job))
        if not isinstance(record.get("class"), str) or not isinstance(record.get("args"), list):
            raise TypeError("redact must return a record with its 'class' and 'args'")
        encoded = encode(record)
    except Exception as error:  # the hook is the user's, and what it fails on must not be shown
        logger.error("cannot redact a job: jid=%s worker=%s", job.jid, job.worker, exc_info=error)
        record = {"class": job.worker, "args": [f"{HIDDEN}: the redaction failed"], "jid": job.jid, "queue": job.queue}
        encoded = encode(record)
    return Job(record, encoded, job.queue), encoded[: 4 * MOST_TEXT].decode()


def _inner(job: Job) -> list[JSON]:
    wrapped = job.args[0] if job.args else None
    arguments = wrapped.get("arguments") if isinstance(wrapped, Mapping) else None
    if not isinstance(arguments, list):
        return job.args
    try:
        positional, keywords = decoded(cast("Sequence[JSON]", arguments))
    except Exception:  # whatever Rails, or somebody else, wrote there
        return arguments
    return [*positional, *([keywords] if keywords else [])]
