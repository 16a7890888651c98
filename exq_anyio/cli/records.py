"""What ``--json`` says of each thing: plain values, times in ISO 8601, lengths of time in seconds."""

from __future__ import annotations

import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from ..job import JSON, encode
from ..periodic import said_by

if TYPE_CHECKING:
    from ..api import BusyJob, Day, Entry, NodeInfo, PeriodicJob, QueueInfo, Stats

Line: TypeAlias = "dict[str, JSON]"
"""One line of what is said to programs."""


def write(record: Line) -> None:
    """Write one line on stdout."""
    sys.stdout.write(encode(record).decode() + "\n")


def stats(found: Stats) -> Line:
    """The figures."""
    return _plain(found)


def day(found: Day) -> Line:
    """What one day counted."""
    return _plain(found)


def queue(found: QueueInfo) -> Line:
    """A queue."""
    return _plain(found)


def node(found: NodeInfo) -> Line:
    """A node."""
    return _plain(found)


def busy(found: BusyJob) -> Line:
    """A running job; ``job`` is what was enqueued."""
    return {
        "jid": found.jid,
        "worker": found.worker,
        "queue": found.queue,
        "node_id": found.node_id,
        "thread": found.thread,
        "started": _said(found.started),
        "job": found.job.record if found.job is not None else None,
    }


def entry(found: Entry) -> Line:
    """A waiting job; ``job`` is what was enqueued, None for what is no job, whose bytes are the ``text``."""
    said: Line = {
        "jid": found.jid,
        "worker": found.worker,
        "queue": found.queue,
        "place": found.place.kind,
        "at": _said(found.at),
        "score": found.score,
        "position": found.position,
        "job": found.job.record if found.job is not None else None,
    }
    if found.job is None:
        said |= {"problem": found.problem, "text": found.text}
    return said


def periodic(found: PeriodicJob) -> Line:
    """A periodic job."""
    return {**_plain(found), "schedule": None if found.schedule is None else said_by(found.schedule)}


def _plain(found: attrs.AttrsInstance) -> Line:
    named: dict[str, Any] = attrs.asdict(found, recurse=False)
    return {name: _said(value) for name, value in named.items()}


def _said(value: object) -> JSON:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else cast("JSON", value)
