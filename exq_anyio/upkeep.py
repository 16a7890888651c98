"""What passes between the API, which looks and repairs, and the place where jobs live.  Values only, known to both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["queue", "retry", "schedule", "dead"]
"""What kind of place: a queue, or one of the three sorted sets."""


@attrs.frozen
class Place:
    """Where jobs wait: a queue, or one of the three sorted sets."""

    kind: Kind
    """What it is."""
    queue: str = ""
    """Name of the queue; ``""`` for a sorted set."""

    def __str__(self) -> str:
        return f"queue {self.queue}" if self.kind == "queue" else self.kind


@attrs.frozen
class Raw:
    """One entry, as it is in Redis."""

    payload: bytes
    """Its exact bytes."""
    score: str
    """The exact text of its score; ``""`` in a queue."""
    position: int
    """How many entries came before it in the order of the walk when it was seen."""


@attrs.frozen(kw_only=True)
class Look:
    """One bounded look at a place, and which of its entries to return."""

    backwards: bool
    """The order: a queue from its newest entry and a set from its lowest score, or the other way round."""
    most: int
    """Most entries to look at."""
    most_bytes: int = 1 << 62
    """Bytes of payload after which to stop."""
    offset: int = 0
    """How many entries to pass over; without meaning after an entry."""
    after: Raw | None = None
    """Go on after this entry, or where it was when it has gone."""
    low: float = -math.inf
    """Lowest score; without meaning in a queue."""
    high: float = math.inf
    """Highest score; without meaning in a queue."""
    needles: Sequence[str] = ()
    """Texts that each payload holds; some that hold others may be among the answer, none of these is left out."""


@attrs.frozen(kw_only=True)
class Looked:
    """What one look saw."""

    total: int
    """Entries there, within the scores asked for."""
    looked: int
    """Entries looked at; 0 at the end."""
    found: list[Raw]
    """Those that may hold the needles, in the order of the walk."""
    passed: Raw | None
    """The last that was looked at and is not among the found."""


@attrs.frozen(kw_only=True)
class Change:
    """One entry to be moved, changed or deleted, only if its exact bytes are still there."""

    member: bytes
    """Those bytes."""
    position: int
    """In a queue, how many entries came before it from the head when it was seen."""
    to: Place | None = None
    """Where it goes; the place where it is: it is changed there; None: nowhere."""
    payload: bytes = b""
    """The bytes that go there."""
    score: str = ""
    """Its score there, as text; ``""`` for a queue."""
    next_taken: bool = False
    """Whether it goes to the end of the queue that is taken from next."""
    unlock: tuple[str, str] | None = None
    """The unique token to free and the jid that must hold it, or None."""


@attrs.frozen(kw_only=True)
class Totals:
    """How many jobs are where, at one instant."""

    retry: int
    schedule: int
    dead: int
    processed: int
    failed: int
    enqueued: int
    """Jobs in all queues."""
    busy: Sequence[bytes]
    """What each live node says of how many jobs it runs."""


@attrs.frozen(kw_only=True)
class QueueSeen:
    """A queue, and its next job."""

    name: str
    size: int
    paused: bool
    known: bool
    """Whether its name is in the set of queues."""
    oldest: bytes | None
    """The payload that is taken next; None in an empty queue."""


@attrs.frozen
class NodeEntry:
    """What a live node says of itself, unread."""

    node_id: str
    fields: Mapping[str, bytes]
    """Its process entry."""
    work: Mapping[str, bytes] = attrs.field(factory=dict)
    """Its running jobs, by thread, as Sidekiq 6.5 and later write them; empty when they were not asked for."""
    workers: Mapping[str, bytes] = attrs.field(factory=dict)
    """Likewise, as Exq and Sidekiq up to 6.4 write them."""
