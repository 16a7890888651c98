"""A walk over one place in bounded steps, while jobs come and go there.

The next step goes on after the last entry that this one left where it was, and not at an offset: so nothing is passed
over when entries before it have gone, and nothing is seen twice when some have come.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..upkeep import Look, Looked, Place, Raw
from .entry import Entry
from .keeper import Keeper

STEP_BYTES = 4 << 20
"""Bytes of payload after which a step ends: they are held in memory, and hold up the server."""


@attrs.define
class Walk:
    """Where a walk is."""

    keeper: Keeper
    place: Place
    look: Look
    """What is asked for at the next step."""
    most: int | None
    """Most entries to look at in all; None: to the end."""
    looked: int = 0
    """Entries looked at so far."""
    total: int = 0
    """Entries there at the last step, within the scores asked for."""
    _before: Raw | None = None
    _seen: Looked = attrs.field(factory=lambda: Looked(total=0, looked=0, found=[], passed=None))

    async def step(self) -> list[Entry] | None:
        """Those that may be wanted of the next entries, in their order; None at the end."""
        left = self.look.most if self.most is None else self.most - self.looked
        if left <= 0:
            return None
        look = attrs.evolve(self.look, most=min(left, self.look.most))
        seen = self._seen = await self.keeper.look(self.place, look)
        self.total = seen.total
        self.looked += seen.looked
        if not seen.looked:
            return None
        self._before, last = look.after, _last(seen.passed, seen.found)
        self.look = attrs.evolve(self.look, after=last)
        return [Entry.read(self.place, raw, self._position(raw)) for raw in seen.found]

    @property
    def offset(self) -> int:
        """How many entries came before those of the last step."""
        last = self.look.after
        return 0 if last is None else last.position + 1 - self._seen.looked

    def gone(self, entries: Iterable[Entry]) -> None:
        """Note that *entries*, of the last step, are no longer there: they are nothing to go on after."""
        seen, positions = self._seen, {entry.position for entry in entries}
        last = _last(seen.passed, [raw for raw in seen.found if self._position(raw) not in positions])
        if last is not None:
            fewer = sum(raw.position < last.position and self._position(raw) in positions for raw in seen.found)
            last = attrs.evolve(last, position=last.position - fewer)
        self.look = attrs.evolve(self.look, after=last or self._before)

    def _position(self, raw: Raw) -> int:
        """In a queue how many entries are newer; in a set how many come before it in the order of the walk."""
        if self.place.kind == "queue" and self.look.backwards:
            return self._seen.total - 1 - raw.position
        return raw.position


def _last(passed: Raw | None, found: list[Raw]) -> Raw | None:
    """The last of those that are still there."""
    ends = [raw for raw in (passed, *found[-1:]) if raw is not None]
    return max(ends, key=lambda raw: raw.position, default=None)
