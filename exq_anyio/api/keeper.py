"""What the API asks of the place where jobs live; implemented on Redis in ``exq_anyio.redis.keeper``.

Every method may raise :class:`~exq_anyio.errors.RedisUnavailable`, and :class:`~exq_anyio.errors.WrongType` where a key
holds what is not ours; a refusal changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from ..metrics import Count
from ..upkeep import Change, Look, Looked, NodeEntry, Place, QueueSeen, Totals


class Keeper(Protocol):
    """The jobs, nodes and counters of one namespace."""

    async def totals(self) -> Totals:
        """How many jobs are where."""

    async def counters(self, which: Literal["day", "second"], instants: Sequence[float]) -> list[tuple[int, int]]:
        """Processed and failed of the days, or seconds, that the *instants* (unix seconds) are in."""

    async def counts(
        self, which: Literal["minute", "ten minutes"], instants: Sequence[float]
    ) -> list[dict[str, Count]]:
        """What was counted in the minutes, or ten minutes, that the *instants* (unix seconds) are in, by worker."""

    async def worker_counts(
        self, which: Literal["minute", "ten minutes"], worker: str, instants: Sequence[float]
    ) -> list[Count]:
        """Likewise of one worker."""

    async def histograms(self, worker: str, instants: Sequence[float]) -> list[list[int]]:
        """How many runs of *worker* took how long, in the minutes that the *instants* are in."""

    async def marks(self, days: Sequence[float]) -> dict[str, bytes]:
        """What was deployed on the days that the instants *days* are in, by ISO time."""

    async def mark(self, label: str, at: float) -> bool:
        """Note that *label* was deployed in the minute of *at*; false when that was noted less than a minute ago."""

    async def queues(self, names: Sequence[str] | None) -> tuple[float, list[QueueSeen]]:
        """The time there (unix seconds), and these queues; None: all that have a name there, in its order."""

    async def nodes(self, *, work: bool) -> list[NodeEntry]:
        """Every node with a process entry, by its name; with *work*, what each is running too."""

    async def info(self) -> Mapping[str, str]:
        """What the server says of itself (INFO); nothing where it may not be asked."""

    async def look(self, place: Place, look: Look) -> Looked:
        """Look at some entries, in one isolated step."""

    async def change(self, place: Place, changes: Sequence[Change], *, thorough: bool) -> list[bool]:
        """Change entries in one isolated step; for each, whether it was still there, and so was changed.

        In a queue an entry is looked for near its place, with *thorough* everywhere.
        """

    async def drain(
        self, place: Place, most: int, most_bytes: int, holders: Mapping[bytes, tuple[str, str] | None] | None
    ) -> tuple[int, int]:
        """Delete the oldest, or soonest, entries in one isolated step: how many were, and how many are left.

        *holders* are those among them that may hold unique locks, and the token and jid to free, if any; it stops
        before another one.  None: all locks are kept.
        """

    async def forget(self, queue: str) -> bool:
        """Take the name of an empty queue out of the set of queues; whether it was there and empty."""

    async def node_ids(self, *, ours: bool) -> list[str]:
        """The nodes with a lease, which are of this package, or all."""

    async def signal(self, nodes: Sequence[str], text: str) -> list[str]:
        """Send a signal to those of *nodes* that are there: which ones."""

    async def pause(self, queue: str, *, paused: bool, nodes: Sequence[str], text: str) -> list[str]:
        """Pause or resume a queue, and send a signal to *nodes*, in one isolated step."""
