"""One waiting job where it lies, pages of them, and what to look for among them."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from ..errors import MalformedPayload
from ..job import DEFAULT_QUEUE, Job, instant
from ..upkeep import Place as Place
from ..upkeep import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class Entry:
    """One entry of a queue or a set, as it was when it was read."""

    place: Place
    """Where it lies."""
    payload: bytes
    """Its exact bytes, which every action needs."""
    score: float | None
    """Unix seconds: when it is due, or when it died; None in a queue."""
    position: int
    """How many entries came before it: in a queue from the newest, in a set in the order it was read."""
    job: Job | None
    """The job; None when it is garbage."""
    problem: str = ""
    """Why it is no job; ``""`` when it is one."""

    @classmethod
    def read(cls, place: Place, raw: Raw, position: int) -> Entry:
        """The entry in *raw*."""
        job, problem = None, ""
        try:
            job = Job.decode(raw.payload, place.queue or None)
        except MalformedPayload as error:
            problem = error.reason
        score = float(raw.score) if raw.score else None
        return cls(place=place, payload=raw.payload, score=score, position=position, job=job, problem=problem)

    @property
    def text(self) -> str:
        """The payload as text, whatever it is."""
        return self.payload.decode("utf-8", "replace")

    @property
    def key(self) -> str:
        """16 hex digits over its bytes, which tell it from the others of its place: see :meth:`Jobs.locate`."""
        return hashlib.blake2s(self.payload, digest_size=8).hexdigest()

    @property
    def queue(self) -> str:
        """The queue that it is in, or goes to."""
        return self.place.queue or (self.job.queue if self.job is not None else DEFAULT_QUEUE)

    @property
    def at(self) -> datetime | None:
        """When it is due (retry, schedule), died (dead) or was enqueued (queue); None when that is no usable time."""
        if self.score is None:
            return self.job.enqueued_at if self.job is not None else None
        # A score is seconds, whatever its size: it is never written in milliseconds.
        return instant(self.score) if self.score < 1e11 else None

    @property
    def jid(self) -> str:
        """Id of the job, ``""`` when it has none."""
        return self.job.jid if self.job is not None else ""

    @property
    def worker(self) -> str:
        """Name of its worker, ``""`` when it is no job."""
        return self.job.worker if self.job is not None else ""


@attrs.frozen(kw_only=True)
class Page:
    """Some entries of one place, in its order."""

    entries: tuple[Entry, ...]
    offset: int
    """How many entries come before them."""
    total: int
    """How many are there in all."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@attrs.frozen(kw_only=True)
class Found:
    """Whether an entry was found, and how far was looked."""

    entry: Entry | None
    looked: int
    """Entries looked at."""
    total: int
    """Entries that were there at the last look."""


@attrs.frozen(kw_only=True)
class Hits:
    """What one step of a search found, and how far the search is."""

    entries: tuple[Entry, ...]
    """What was found in this step, in the order of the place."""
    looked: int
    """Entries looked at so far."""
    total: int
    """Entries that were there at the last look, within the times asked for."""
    offset: int
    """Where another search goes on behind the last hit: entries passed over so far, within the times asked for."""


@attrs.frozen(kw_only=True)
class Progress:
    """How far an action on many entries is."""

    looked: int
    """Entries looked at so far."""
    total: int
    """Entries that were there at the last look, within the times asked for, and those already done."""
    done: int
    """Entries acted upon so far."""
    moved: int
    """Entries that were to be acted upon, and had gone when it came to it."""


def _instant(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError("times need a time zone: datetime.now(UTC), or .astimezone()")
    return value


@attrs.frozen(kw_only=True)
class Filter:
    """What to look for; an entry has to meet all that is given.  Letters count as they are written."""

    worker: str | None = None
    """Part of the worker's name."""
    error: str | None = None
    """Part of the error's class."""
    text: str | None = None
    """Part of the payload as it is in Redis, or of a text in the job."""
    tag: str | None = None
    """One of the job's tags, whole."""
    since: datetime | None = attrs.field(default=None, converter=_instant)
    """Not before this (aware): when it died, is due or was enqueued, which is :attr:`Entry.at`."""
    until: datetime | None = attrs.field(default=None, converter=_instant)
    """Not after this."""

    @property
    def low(self) -> float:
        """Lowest score."""
        return -math.inf if self.since is None else self.since.timestamp()

    @property
    def high(self) -> float:
        """Highest score."""
        return math.inf if self.until is None else self.until.timestamp()

    def needles(self) -> tuple[str, ...]:
        """Texts that every payload holds that matches, if JSON does not spell it otherwise."""
        return tuple(text for text in (self.worker, self.error, self.tag, self.text) if text and _plain(text))

    def matches(self, entry: Entry) -> bool:
        """Whether *entry* meets all that is given."""
        job = entry.job
        if self.worker is not None and self.worker not in entry.worker:
            return False
        if self.error is not None and (job is None or self.error not in (job.error_class or "")):
            return False
        if self.tag is not None and (job is None or self.tag not in job.tags):
            return False
        if self.text is not None and not _has_text(entry, self.text):
            return False
        return self._in_time(entry)

    def _in_time(self, entry: Entry) -> bool:
        if self.since is None and self.until is None:
            return True
        at = entry.score
        if at is None:
            enqueued = entry.at
            if enqueued is None:
                return False
            at = enqueued.timestamp()
        return self.low <= at <= self.high


def _plain(text: str) -> bool:
    """Whether JSON has *text* as it stands, but for escapes that nobody has to use."""
    return json.dumps(text, ensure_ascii=False) == f'"{text}"' and not any(
        "\ud800" <= char <= "\udfff" for char in text
    )


def _has_text(entry: Entry, text: str) -> bool:
    if text.encode("utf-8", "surrogatepass") in entry.payload:
        return True
    if entry.job is None or b"\\" not in entry.payload:
        return False
    return _in_values(entry.job.record, text)


def _in_values(value: object, text: str) -> bool:
    """Whether *text* is part of a text within *value*."""
    if isinstance(value, str):
        return text in value
    if isinstance(value, dict):
        return any(_in_values(key, text) or _in_values(inner, text) for key, inner in value.items())
    return isinstance(value, list) and any(_in_values(inner, text) for inner in value)
