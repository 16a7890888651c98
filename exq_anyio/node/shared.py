"""A limit that several queues are under, and whose turn it is when a slot is free.

Nothing here waits: a poller asks, and is woken when to ask again is worth it.  A queue that is known to be empty is
*dry*: its poller waits for a job on the server.  When one comes while no slot is free, it goes back to its queue, which
is then asked for it in its turn; so the limit is never exceeded, and no job is held for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from .dequeuer import Line

Order: TypeAlias = Literal["strict", "weighted", "turns"]
"""The first that is not empty · more often who weighs more · one after the other."""


@attrs.define(eq=False)
class Shared:
    """One such limit.  Queues are known by their names; those of a pattern take turns at their place in an order."""

    limit: float
    """Most jobs at a time, of all of them."""
    order: Order = "turns"
    weights: Mapping[str, int] = attrs.field(factory=dict)
    """The queues, in their order, and what each weighs; without meaning for turns."""
    taken: int = 0
    """Jobs that run, or are about to."""
    _turn: str = ""
    """The queue that is just being fetched from."""
    _granted: int = 0
    """Slots that it may still take."""
    _asking: dict[str, Line] = attrs.field(factory=dict)
    """Those that wait for a slot, who came first at the head."""
    _wet: dict[str, set[str]] = attrs.field(init=False)
    """By place in the order, those that may need one; all do until they are known to be empty."""
    _chosen: str = ""
    """Whose turn is next, once that has been worked out by weight."""
    _credit: dict[str, int] = attrs.field(factory=dict)

    @_wet.default
    def _all(self) -> dict[str, set[str]]:
        return {place: set() if place.endswith("*") else {place} for place in self.weights}

    @property
    def free(self) -> float:
        """Slots that nobody has, or was promised."""
        return self.limit - self.taken - self._granted

    def admits(self, line: Line) -> bool:
        """Whether there is a slot for one more job of *line*: promised to it, or to nobody."""
        return (self._turn == line.queue and self._granted > 0) or self.free >= 1

    def ask(self, line: Line, most: int) -> int:
        """How many jobs *line* may fetch now, up to *most*; at 0 its ``freed`` is set when to ask again is worth it."""
        self._asking.setdefault(line.queue, line)
        self.stir(line)
        if self._turn or self.free < 1 or self._next() != line.queue:
            return 0
        del self._asking[line.queue]
        self._turn, self._chosen = line.queue, ""
        self._granted = int(min(most, self.free))
        return self._granted

    def decline(self, line: Line) -> None:
        """*line* was granted slots here, but not by another limit, which wakes it: its turn stays."""
        self._turn, self._granted = "", 0
        self._asking = {line.queue: line, **self._asking}
        self._chosen = line.queue

    def fetched(self, line: Line, *, dry: bool) -> None:
        """*line* has fetched, and its jobs have their slots; *dry*: it found nothing."""
        if self._turn == line.queue:
            self._turn, self._granted = "", 0
        if dry and line.place in self._wet:
            self._wet[line.place].discard(line.queue)
        self._wake()

    def stir(self, line: Line) -> None:
        """*line* is about to ask: who comes after it in a strict order waits for that."""
        if line.place in self._wet:
            self._wet[line.place].add(line.queue)

    def step_back(self, line: Line) -> None:
        """*line* needs no slot just now, for whatever reason."""
        self._asking.pop(line.queue, None)
        self.fetched(line, dry=True)

    def take(self, line: Line) -> None:
        """A job of *line* has a slot."""
        self.taken += 1
        if self._turn == line.queue and self._granted:
            self._granted -= 1

    def release(self) -> None:
        """A job has given its slot back."""
        self.taken -= 1
        self._wake()

    def _wake(self) -> None:
        if self._asking and not self._turn and self.free >= 1 and (queue := self._next()):
            self._asking[queue].freed.set()

    def _next(self) -> str:
        """Whose turn it is; ``""``: nobody's, or that of one that has not asked yet."""
        match self.order:
            case "strict":
                return self._first_of(next((place for place, queues in self._wet.items() if queues), ""))
            case "weighted":
                if self._chosen not in self._asking:
                    self._chosen = self._by_weight()
                return self._chosen
            case "turns":
                return next(iter(self._asking), "")

    def _by_weight(self) -> str:
        """One of those that ask, each as often as it weighs, and never often in a row (nginx's smooth round robin)."""
        if not self._asking:
            return ""
        places = dict.fromkeys(line.place for line in self._asking.values())
        for place in places:
            self._credit[place] = self._credit.get(place, 0) + self.weights[place]
        chosen = max(places, key=lambda place: self._credit[place])
        self._credit[chosen] -= sum(self.weights[place] for place in places)
        return self._first_of(chosen)

    def _first_of(self, place: str) -> str:
        """Who asked first of those at *place*; ``""``: nobody."""
        return next((queue for queue, line in self._asking.items() if line.place == place), "")


def ask_all(limits: tuple[Shared, ...], line: Line, most: int) -> int:
    """How many jobs *line* may fetch now, under all of *limits*; at 0 it is woken by the one that said no."""
    granted: list[Shared] = []
    for limit in limits:
        allowed = limit.ask(line, most)
        if allowed < 1:
            for former in granted:
                former.decline(line)
            return 0
        granted.append(limit)
        most = allowed
    return most
