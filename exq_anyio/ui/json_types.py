"""What the JSON API takes and answers, where `q.api` has no type of its own for it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

from ..job import JSON
from . import records


@attrs.frozen(kw_only=True)
class JobList:
    """A part of a place."""

    jobs: tuple[records.JobRecord, ...]
    total: int
    """Jobs there, within the times asked for."""
    next: int | None
    """``from`` of the part behind it; null at the end."""
    looked: int | None
    """Jobs that a search looked at; null without one."""


@attrs.frozen(kw_only=True)
class FoundJob:
    """A job that was looked for everywhere."""

    job: records.JobRecord | None


@attrs.frozen(kw_only=True)
class Refs:
    """Which jobs: the ``ref`` of each."""

    refs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Edit:
    """Other arguments for a job."""

    ref: str
    args: list[JSON]


@attrs.frozen(kw_only=True)
class Reschedule:
    """Another time for a job."""

    ref: str
    at: datetime


@attrs.frozen(kw_only=True)
class All:
    """Which jobs of a place; all that is given has to match."""

    place: Literal["queue", "retry", "schedule", "dead"]
    queue: str = ""
    worker: str = ""
    error: str = ""
    text: str = ""
    tag: str = ""
    since: str = ""
    until: str = ""


@attrs.frozen(kw_only=True)
class WhichNode:
    """A node; null: all of them."""

    node: str | None = None


@attrs.frozen(kw_only=True)
class WhichJob:
    """A running job."""

    jid: str


@attrs.frozen(kw_only=True)
class Told:
    """The nodes that were told."""

    nodes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Cleared:
    """What is gone."""

    deleted: int


@attrs.frozen(kw_only=True)
class Enqueued:
    """A new job."""

    jid: str


@attrs.frozen(kw_only=True)
class Moved:
    """Where a job is now; null: it was not there any more."""

    job: records.JobRecord | None


@attrs.frozen(kw_only=True)
class PeriodicRecord:
    """A periodic job."""

    name: str
    worker: str
    queue: str
    arguments: str
    """The beginning of them, as JSON."""
    schedule: str
    """When it is due, in words; ``""`` when that cannot be read."""
    declared: bool
    """Whether a program declares it; else it was added at run time."""
    paused: bool
    next_tick: datetime | None
    last_tick: datetime | None
    last_jid: str


@attrs.frozen(kw_only=True)
class WhichPeriodic:
    """A periodic job, by its name."""

    name: str


@attrs.frozen(kw_only=True)
class Ran:
    """The job that was enqueued; null: there was none to enqueue."""

    jid: str | None


@attrs.frozen(kw_only=True)
class There:
    """Whether it was there."""

    there: bool


@attrs.frozen
class Nothing:
    """An empty object."""
