"""What passes between a node and the place where jobs live.

Values only, known to both sides, which do not know each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

from .metrics import Batch

SortedSet: TypeAlias = Literal["schedule", "retry"]
"""The sorted sets from which due jobs are promoted."""


@attrs.define
class Claim:
    """A node's hold on its id.  A new token is a new claim; the old one's jobs are no longer ours."""

    node_id: str
    """``<host>#<number>``."""
    token: str
    """Random; every script of the node compares it with the lease."""
    settles: int = 0
    """Number of the last settle under this token."""


@attrs.frozen
class Fetched:
    """What one fetch took."""

    payloads: list[bytes]
    """The exact bytes of the jobs, the oldest first."""
    held: int
    """Length of the node's backup queue after the fetch."""
    paused: bool = False
    """True when the queue is paused; nothing was taken."""


@attrs.frozen
class NodeSeen:
    """What Redis says of a node, living or dead."""

    node_id: str
    score: str
    """The exact text of its last heartbeat's score (unix seconds); ``""`` when it has none."""
    lease: Mapping[str, str]
    """Its lease: token and process; empty when it has none (Exq's nodes)."""

    @property
    def limit(self) -> float | None:
        """Seconds of silence after which it is dead, as it wrote itself; None when it did not (Exq's nodes)."""
        try:
            return float(self.lease["limit"])
        except (KeyError, ValueError):
            return None

    @property
    def condemned(self) -> bool:
        """Whether its lease was taken, so that anybody may put its jobs back."""
        return "condemned" in self.lease


@attrs.frozen
class Beat:
    """What a node says of itself with a heartbeat."""

    entry: Mapping[str, str]
    """Fields of the process entry."""
    work: Sequence[tuple[str, bytes, bytes]]
    """For each running job: thread id, its entry for Sidekiq, its entry for Exq."""
    measured: Batch = attrs.field(factory=Batch)
    """What it has counted of its runs since the beat before."""


@attrs.frozen
class Move:
    """One entry to be moved by promote or rescue."""

    member: bytes
    """The exact bytes to remove."""
    payload: bytes
    """The bytes to add instead."""
    queue: str | None
    """Where they go; None is the dead set."""
    unlock: tuple[str, str] | None = None
    """The unique token that its death frees and the jid that must hold it, or None."""


@attrs.frozen
class Outgoing:
    """One job on its way into Redis."""

    queue: str
    """Where it goes, now or when it is due."""
    payload: bytes
    """The bytes to write."""
    jid: str
    """Its id."""
    due: float | None = None
    """Unix seconds at which it is due; None: now."""
    lock: tuple[str, float] | None = None
    """The unique token that it needs, and for how many seconds; None: none."""
