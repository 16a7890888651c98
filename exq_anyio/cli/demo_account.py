"""What ``exq demo`` pushed, against what Redis says has become of it."""

from __future__ import annotations

import attrs

from ..redis.inspect import Counts
from .demo_jobs import Kind, Ledger, Pushed


@attrs.frozen
class Line:
    """One figure."""

    name: str
    expected: int
    found: int
    """What Redis says."""


@attrs.frozen
class Account:
    """All that is known at the end of a demo."""

    pushed: tuple[Pushed, ...]
    kinds: tuple[Kind, ...]
    counts: Counts
    """Read from Redis when the worker had stopped."""
    dead: frozenset[bytes]
    """The payloads in the dead set."""
    ledger: Ledger
    """What the workers noted themselves."""
    seconds: float
    """From the start of the worker to its end."""

    def lines(self) -> list[Line]:
        """The figures that must be equal."""
        kinds, counts = self.kinds, self.counts
        failures = sum(kind.count * kind.failures for kind in kinds)
        return [
            Line("processed (runs, failed ones too)", sum(kind.runs for kind in kinds), counts.processed),
            Line("failed (runs)", failures, counts.failed),
            Line("dead", sum(kind.count for kind in kinds if kind.dies), counts.dead),
            Line("retry", 0, counts.retry),
            Line("schedule", 0, counts.schedule),
            *(Line(f"queue {queue}", 0, size) for queue, size in counts.queues.items()),
            Line("backup queues of the worker", 0, counts.taken),
        ]

    @property
    def died(self) -> set[str]:
        """The jids of the jobs that are in the dead set."""
        return {job.jid for job in self.pushed if any(f'"{job.jid}"'.encode() in payload for payload in self.dead)}

    @property
    def missing(self) -> list[Pushed]:
        """The jobs that have not come to their end."""
        died = self.died
        return [job for job in self.pushed if job.jid not in (died if job.kind.dies else self.ledger.done)]

    @property
    def adds_up(self) -> bool:
        """Whether every figure is as it should be, and every job at its end."""
        return not self.missing and all(line.expected == line.found for line in self.lines())
