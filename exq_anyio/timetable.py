"""What is asked, about periodic jobs, of the place where jobs live: by nodes, and by ``q.api.periodic``.

Implemented on Redis in ``exq_anyio.redis.timetable`` and in memory in ``exq_anyio.testing.timetable``; both pass the
same contract tests.  Every method is one isolated step and may raise :class:`~exq_anyio.errors.RedisUnavailable`, or
:class:`~exq_anyio.errors.RedisError`, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .periodic import Arrange, Seen, Tick


class Timetable(Protocol):
    """The periodic jobs of one namespace."""

    async def due(self, limit: int) -> tuple[float, float, list[Seen]]:
        """The store's time, the first tick that is not due yet (inf: none), and up to *limit* jobs that are due."""

    async def everything(self) -> tuple[float, list[Seen]]:
        """The store's time (unix seconds), and all periodic jobs, by name."""

    async def tick(self, ticks: Sequence[Tick]) -> list[int | None]:
        """Enqueue what is due and say what is due next; how many jobs each enqueued, None where it was not as seen."""

    async def arrange(self, changes: Sequence[Arrange]) -> list[bool]:
        """Define, pause, resume or remove; for each, whether it was still defined as it was seen, and so was done."""
