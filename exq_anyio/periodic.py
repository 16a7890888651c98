"""Periodic jobs: when they are due, which of the missed ones are made up for, and what is then enqueued.

A *tick* is an instant at which a job is due.  It follows from the schedule alone, so that all nodes agree on it; the
clock is an argument, and is the server's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from math import floor, inf
from typing import Any, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo

import attrs
import msgspec
from cronsim import CronSim, CronSimError

from .errors import ConfigError
from .exchange import Outgoing
from .job import Job, Record, Timestamps, encode, stamp
from .spec import JobSpec

Missed: TypeAlias = Literal["skip", "once", "all"]
"""What becomes of ticks at which nobody was there: nothing, one job for all of them, or one for each."""

FRESH = 60.0
"""Seconds for which the latest tick is not taken for missed: a node may be slow, or just be started again."""

MOST_MISSED = 1_000
"""Most jobs that one look enqueues of one schedule: they go in one isolated step, which holds up the server."""

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names that cron knows for expressions."""


def _is_policy(_: object, field: attrs.Attribute[str], value: object) -> None:
    if value not in ("skip", "once", "all"):
        raise ConfigError(field.name, f"must be 'skip', 'once' or 'all', not {value!r}")


def _is_limit(_: object, field: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_MISSED:
        raise ConfigError(field.name, f"must be a number from 1 to {MOST_MISSED:,}, not {value!r}")


def _interval(value: float | timedelta) -> float:
    seconds: object = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.1 <= seconds <= 1e9:
        raise ConfigError("every", f"must be a number of seconds from 0.1 to 1e9, or a timedelta, not {value!r}")
    return float(seconds)


@attrs.frozen
class Every:
    """At every multiple of *seconds* since 1970 in UTC: ``Every(3600)`` is the full hour, whenever a node starts.

    Raises:
        ConfigError: a value is out of range.
    """

    seconds: float = attrs.field(converter=_interval)
    """Seconds between two ticks, or a timedelta."""
    missed: Missed = attrs.field(default="once", validator=_is_policy, kw_only=True)
    """What becomes of ticks at which no node was there."""
    limit: int = attrs.field(default=100, validator=_is_limit, kw_only=True)
    """Most jobs that are made up for with ``missed="all"``; the latest ones are."""

    def after(self, at: float) -> float | None:
        """The first tick after *at* (unix seconds)."""
        number = floor(at / self.seconds)  # or near it: the quotient is rounded
        return next(tick for tick in (more * self.seconds for more in range(number - 1, number + 4)) if tick > at)

    def latest(self, after: float, until: float, most: int) -> list[float]:
        """The last *most* ticks that are later than *after*, and not than *until*; the earliest first."""
        number = floor(until / self.seconds)
        ticks = (at * self.seconds for at in range(number + 1, number - most - 1, -1))
        return sorted([tick for tick in ticks if after < tick <= until][:most])

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


@attrs.frozen
class Cron:
    """When a cron expression says, by the clocks of a time zone.

    As Debian's cron at a change of clocks: what falls into an hour that is left out comes right after it, and what
    falls into an hour that comes twice comes once, the first time; with ``*`` for hours or minutes it goes on evenly.

    Raises:
        ConfigError: the expression or the time zone cannot be, or there is no such instant.
    """

    expression: str = attrs.field()
    """Five fields, minute to day of the week, or six that begin with the second; or ``@daily`` and the like."""
    timezone: str = attrs.field(default="UTC", kw_only=True)
    """The name of a time zone, such as ``"Europe/Berlin"``."""
    missed: Missed = attrs.field(default="once", validator=_is_policy, kw_only=True)
    """What becomes of ticks at which no node was there."""
    limit: int = attrs.field(default=100, validator=_is_limit, kw_only=True)
    """Most jobs that are made up for with ``missed="all"``; the latest ones are."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise ConfigError("cron", f"must be text such as '0 3 * * *', not {self.expression!r}")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, TypeError, OSError):
            raise ConfigError("timezone", f"{self.timezone!r} is no time zone; 'Europe/Berlin' is one") from None
        try:
            first = self.after(0)
        except CronSimError as error:
            raise ConfigError("cron", f"{self.expression!r} cannot be: {error}".lower()) from None
        if first is None:
            raise ConfigError("cron", f"{self.expression!r} never comes")

    def ticks(self, at: float) -> Iterator[float]:
        """The ticks after *at* (unix seconds), without end."""
        expression = NICKNAMES.get(self.expression.strip().lower(), self.expression)
        last = at
        begin = floor(at)  # ticks are whole seconds; a datetime would round up what is just before one
        for instant in CronSim(expression, datetime.fromtimestamp(begin, ZoneInfo(self.timezone))):
            # In an hour that comes twice the next instant by the clock may be one that has been.
            if (tick := instant.timestamp()) > last:
                yield (last := tick)

    def after(self, at: float) -> float | None:
        """The first tick after *at* (unix seconds); None when there is none within 50 years."""
        return next(self.ticks(at), None)

    def latest(self, after: float, until: float, most: int) -> list[float]:
        """The last *most* ticks that are later than *after*, and not than *until*; the earliest first."""
        span = 3600.0 * most
        while True:
            begin = max(after, until - span)
            found = deque(takewhile(lambda tick: tick <= until, self.ticks(begin)), maxlen=most)
            if begin == after or len(found) == most:
                return list(found)
            span *= 8

    def __str__(self) -> str:
        return self.expression if self.timezone == "UTC" else f"{self.expression} ({self.timezone})"


Schedule: TypeAlias = Every | Cron
"""When a periodic job is due."""


def schedule_of(values: Mapping[str, object]) -> Schedule:
    """The schedule that *values* say: ``every`` or ``cron``, and ``timezone``, ``missed``, ``limit``.

    Raises:
        ConfigError: they do not.
    """
    options: dict[str, Any] = {name: values[name] for name in ("missed", "limit") if name in values}
    if ("every" in values) == ("cron" in values):
        raise ConfigError("every", "a periodic job needs either every or cron")
    if "every" in values:
        if "timezone" in values:
            raise ConfigError("timezone", "is for cron; every counts from 1970 in UTC")
        return Every(cast("Any", values["every"]), **options)
    if "timezone" in values:
        options["timezone"] = values["timezone"]
    return Cron(cast("Any", values["cron"]), **options)


def said_by(schedule: Schedule) -> Record:
    """*schedule* as :func:`schedule_of` reads it."""
    when: Record = {"missed": schedule.missed, "limit": schedule.limit}
    if isinstance(schedule, Every):
        return {"every": schedule.seconds, **when}
    return {"cron": schedule.expression, "timezone": schedule.timezone, **when}


def due(schedule: Schedule, seen: float, now: float) -> tuple[list[float], float | None]:
    """Of a job whose next tick is *seen*, not later than *now*: the ticks to enqueue, and the next one; None: none."""
    most = schedule.limit if schedule.missed == "all" else 1
    ticks = schedule.latest(seen, now, most)
    if len(ticks) < most:
        ticks.insert(0, seen)
    if schedule.missed == "skip" and now - ticks[-1] >= FRESH:
        ticks = []
    return ticks, schedule.after(now)


@attrs.frozen
class Periodic:
    """A periodic job that a program declares: ``Config.periodic``."""

    name: str = attrs.field()
    """What it is called, once in a namespace."""
    job: JobSpec = attrs.field()
    """What is enqueued at each tick; its ``jid``, ``at`` and ``after`` must not be set."""
    schedule: Schedule = attrs.field()
    """When."""

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        if not isinstance(self.job, JobSpec):
            raise ConfigError(f"periodic.{self.name}", f"needs a job, such as report.job(7), not {self.job!r}")
        if not isinstance(self.schedule, Every | Cron):
            raise ConfigError(f"periodic.{self.name}", f"needs an Every or a Cron, not {self.schedule!r}")


def check_name(name: object) -> str:
    """*name*, if a periodic job can be called so; raises ConfigError."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 255:
        raise ConfigError("periodic", f"{name!r} cannot be a name: it must be 1 to 255 printable characters")
    return name


def as_periodic(value: object) -> tuple[Periodic, ...]:
    """``Config.periodic``: a list of :class:`Periodic`, or a mapping from names to tables; as text, a JSON object.

    Raises:
        ConfigError: something in it is wrong.
    """
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except ValueError:
            raise ConfigError("periodic", "as text must be a JSON object") from None
    if isinstance(value, Mapping):
        return tuple(_from_file(check_name(name), said) for name, said in value.items())
    if not isinstance(value, list | tuple) or not all(isinstance(one, Periodic) for one in value):
        raise ConfigError("periodic", "must be a list of exq.Periodic, or a mapping from names to tables")
    names = [one.name for one in cast("tuple[Periodic, ...]", value)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("periodic", f"{name!r} is named twice")
    return tuple(value)


_KEYS = frozenset({"worker", "args", "queue", "every", "cron", "timezone", "missed", "limit"})


def _from_file(name: str, said: object) -> Periodic:
    key = f"periodic.{name}"
    if not isinstance(said, Mapping) or not isinstance(said.get("worker"), str):
        raise ConfigError(key, "must be a table with the name of a worker, and every or cron")
    if unknown := said.keys() - _KEYS:
        raise ConfigError(key, f"has no setting {min(unknown)!r}; it may have {', '.join(sorted(_KEYS))}")
    args = said.get("args", [])
    if not isinstance(args, list | tuple):
        raise ConfigError(key, "args must be a list")
    try:
        schedule = schedule_of(said)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error.key}", error.problem) from None
    # An empty queue stands for that of the worker.
    return Periodic(name, JobSpec(worker=said["worker"], args=tuple(args), queue=str(said.get("queue", ""))), schedule)


# What is kept


@attrs.frozen
class Definition:
    """A periodic job as it is kept where jobs live: any node, and any program, can enqueue it."""

    name: str
    record: Record
    """The job's record, without what is new each time."""
    schedule: Schedule
    declared: bool
    """Whether programs declare it, which alone enqueue it then; else it was added, and every node does."""

    def encode(self) -> bytes:
        """The bytes that are kept."""
        return encode({"job": self.record, "declared": self.declared, **said_by(self.schedule)})

    @classmethod
    def decode(cls, name: str, kept: bytes) -> Definition:
        """Read what is kept under *name*; raises ValueError when it is none of ours."""
        try:
            said = msgspec.json.decode(kept)
            record = said["job"]
            Job.decode(encode(record))
            return cls(name, record, schedule_of(said), said.get("declared") is True)
        except Exception as error:
            raise ValueError(f"periodic job {name!r} cannot be read: {error}") from None

    def outgoing(self, tick: float, now: float, jid: str, unit: Timestamps) -> Outgoing:
        """The job of *tick*, enqueued at *now* (unix seconds) with the id *jid*."""
        record: Record = {**self.record, "jid": jid, "created_at": stamp(now, unit), "enqueued_at": stamp(now, unit)}
        record["periodic"] = {"name": self.name, "tick": tick}
        job = Job(record, b"", cast("str", record["queue"]))
        if job.expires_in is not None:
            record["expiry"] = now + job.expires_in
        lock, wait = None, record.get("unique_for")
        if job.unique_token is not None and isinstance(wait, int | float):
            lock = (job.unique_token, float(wait))
            record["unlocks_at"] = now + wait
        return Outgoing(job.queue, encode(record), jid, None, lock)


# What passes between those who ask and where jobs live


@attrs.frozen
class Seen:
    """A periodic job as it was found there."""

    name: str
    kept: bytes
    """Its definition; empty when there is none."""
    score: str = ""
    """The exact text of its next tick (unix seconds); ``""`` when it is paused, or comes no more."""
    paused: bool = False
    last: str = ""
    """Its last tick (unix seconds) and the jid of its job, separated by a space; ``""``: it had none."""

    @property
    def next_tick(self) -> float:
        """Unix seconds, inf when there is none."""
        return float(self.score or inf)


@attrs.frozen
class Tick:
    """What is to be done about a periodic job that is due, if it is still as it was seen."""

    seen: Seen
    """As it was; without a score it is enqueued beside its ticks, which stay."""
    jobs: tuple[Outgoing, ...]
    """What is to be enqueued."""
    last: str
    """Its last tick and the jid of its job."""
    next_tick: float | None = None
    """Unix seconds of its next tick; None: it comes no more."""


@attrs.frozen
class Arrange:
    """A change of a periodic job, made only if it is still defined as it was seen."""

    seen: Seen
    kept: bytes | None
    """Its new definition; None: it is removed."""
    next_tick: float | None = None
    """Unix seconds of its next tick; None: none."""
    paused: bool = False
    """Whether nothing is enqueued until it is resumed."""
    keep: bool = False
    """Whether only the definition changes, and the next tick stays what it is by then."""
