"""Queues whose names begin alike: ``exports:*`` stands for all of them, whichever come."""

from __future__ import annotations

import attrs

from ..config import QueueConfig
from .shared import Shared

INTERVAL = 1.0
"""Seconds between two looks for queues that hold jobs."""

LINGER = 10.0
"""Seconds after which a queue that is empty and has no running job is given up; a look finds it again."""


@attrs.frozen(eq=False)
class Pattern:
    """What each of the queues that begin so has for itself."""

    setting: QueueConfig
    group: Shared | None

    @property
    def name(self) -> str:
        """As it is written, with the ``*``."""
        return self.setting.name

    @property
    def beginning(self) -> str:
        """What the names begin with."""
        return self.name[:-1]

    def queue(self, name: str) -> QueueConfig:
        """What the queue *name* has."""
        return QueueConfig(name, self.setting.concurrency, self.setting.dequeuer)


class Patterns:
    """The patterns of one node."""

    def __init__(self) -> None:
        self._known: dict[str, Pattern] = {}
        self._left_out: set[str] = set()
        """Queues that were unsubscribed by their own names."""

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def beginnings(self) -> list[str]:
        """What the names of queues may begin with."""
        return [pattern.beginning for pattern in self._known.values()]

    def all(self) -> list[Pattern]:
        """Every pattern; may be called from any thread."""
        return list(self._known.values())

    def of(self, queue: str) -> Pattern | None:
        """The pattern that stands for *queue*: the longest that fits."""
        fitting = [pattern for pattern in self._known.values() if queue.startswith(pattern.beginning)]
        if not fitting or queue in self._left_out:
            return None
        return max(fitting, key=lambda pattern: len(pattern.name))

    def put(self, setting: QueueConfig, group: Shared | None = None) -> Pattern:
        """Add a pattern, or change it; it stands for all queues again that begin so."""
        former = self._known.get(setting.name)
        pattern = self._known[setting.name] = Pattern(setting, former.group if former else group)
        self._left_out = {queue for queue in self._left_out if not queue.startswith(pattern.beginning)}
        return pattern

    def drop(self, name: str) -> Pattern | None:
        """Remove the pattern called *name*, if there is one; what it was."""
        dropped = self._known.pop(name, None)
        self._left_out = {queue for queue in self._left_out if queue.startswith(tuple(self.beginnings))}
        return dropped

    def clear(self) -> None:
        """Remove all patterns."""
        self._known.clear()
        self._left_out.clear()

    def leave_out(self, queue: str) -> None:
        """Have no pattern stand for *queue*."""
        if self.of(queue) is not None:
            self._left_out.add(queue)

    def take_in(self, queue: str) -> None:
        """Undo :meth:`leave_out`."""
        self._left_out.discard(queue)
