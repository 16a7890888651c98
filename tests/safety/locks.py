"""Who holds which unique lock, as the guide tells it: each job by itself, without a table of locks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

from exq_anyio.outcome import Kind
from exq_anyio.spec import UniqueUntil

Place: TypeAlias = Literal["queue", "schedule", "retry", "dead", "gone"] | str
"""Where a job is; otherwise the node that has taken it."""

OVER: tuple[Kind, ...] = ("done", "discarded", "dead")


@attrs.define
class Unique:
    """A job that was enqueued under a lock."""

    jid: str
    token: str
    until: UniqueUntil
    ends: float
    """When the lock ends at the latest (seconds of the test's clock)."""
    place: Place
    taken: bool = False
    """Whether a node has ever taken it."""
    freed: bool = False
    """Whether it has given its lock back."""

    def holds(self, now: float) -> bool:
        return not self.freed and now < self.ends

    def began(self) -> None:
        self.freed |= self.until == "start"

    def ended(self, kind: Kind) -> None:
        """A run ended; what is done or dead is over, what comes again is not."""
        self.freed |= kind in OVER and self.until != "expiry"

    def killed(self, *, keep_lock: bool) -> None:
        self.place = "dead"
        self.freed |= self.until != "expiry" and not keep_lock

    def deleted(self, *, keep_lock: bool) -> None:
        self.place = "gone"
        self.freed |= not keep_lock


@attrs.define
class Uniques:
    """All of them, and the time."""

    jobs: dict[str, Unique] = attrs.field(factory=dict)
    """By jid."""
    now: float = 0.0

    def holder(self, token: str) -> Unique | None:
        """The job that holds the lock; there is never a second one."""
        holders = [job for job in self.jobs.values() if job.token == token and job.holds(self.now)]
        assert len(holders) <= 1, f"{token} is held by {holders}"
        return holders[0] if holders else None

    def enqueue(self, jobs: Iterable[Unique]) -> dict[int, str]:
        """The answer: the place of each that is refused, and who holds its lock."""
        refused: dict[int, str] = {}
        for at, job in enumerate(jobs):
            if (holder := self.holder(job.token)) is not None:
                refused[at] = holder.jid
            else:
                self.jobs[job.jid] = job
        return refused

    def there(self, *places: Place) -> list[Unique]:
        return [job for job in self.jobs.values() if job.place in places]
