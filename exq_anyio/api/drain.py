"""Makes a place empty, in bounded steps.

The payloads stay on the server, but for those that may hold a unique lock: the step that deletes them frees it.
"""

from __future__ import annotations

import attrs

from ..upkeep import Look, Place
from . import changes
from .entry import Entry, Progress
from .keeper import Keeper
from .steps import Bulk
from .walk import STEP_BYTES

DELETED = 2_000
"""Entries that one step deletes: it holds up the server for a millisecond or two."""


@attrs.define
class Drain:
    """How far it is."""

    keeper: Keeper
    place: Place
    keep_locks: bool = attrs.field(kw_only=True)
    """Whether unique locks stay."""
    total: int | None = None
    """Entries that were there at the first step; None before it."""
    done: int = 0
    """Entries deleted so far."""

    def bulk(self) -> Bulk[Progress]:
        """The steps."""
        return Bulk(self.step, Progress(looked=0, total=0, done=0, moved=0))

    async def step(self) -> Progress | None:
        """Delete some; None when all that were there at the first step are gone."""
        most = DELETED if self.total is None else min(DELETED, self.total - self.done)
        if most <= 0:
            return None
        holders = None if self.keep_locks else await self._holders(most)
        deleted, left = await self.keeper.drain(self.place, most, STEP_BYTES, holders)
        if self.total is None:
            self.total = deleted + left
        self.done += deleted
        if not deleted and not left:
            return None
        return Progress(looked=self.done, total=self.total, done=self.done, moved=0)

    async def _holders(self, most: int) -> dict[bytes, tuple[str, str] | None]:
        """The next entries that may hold a unique lock, and the lock."""
        look = Look(backwards=self.place.kind == "queue", most=most, most_bytes=STEP_BYTES, needles=("unique_token",))
        seen = await self.keeper.look(self.place, look)
        entries = [Entry.read(self.place, raw, raw.position) for raw in seen.found]
        return {entry.payload: changes.delete(entry, keep_lock=False).unlock for entry in entries}
