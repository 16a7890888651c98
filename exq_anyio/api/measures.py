"""What the API says of how often each worker ran, how often it failed and how long it took; and of deploys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import add

import attrs

from ..metrics import LIMITS, Count

HISTOGRAM_LIMITS: tuple[float, ...] = (*(limit / 1000 for limit in LIMITS), math.inf)
"""Seconds below which a run belongs to each bucket of a histogram; the last has no limit."""

MINUTE, TEN_MINUTES = 60, 600
"""Seconds that one point covers."""


@attrs.frozen(kw_only=True)
class Point:
    """What one worker did in one minute, or ten."""

    at: datetime
    """When that began."""
    processed: int
    """Runs that ended, failures too."""
    failed: int
    """Runs that failed."""
    seconds: float
    """How long the runs took together that did not fail."""
    histogram: tuple[int, ...] = ()
    """How many of these took how long, see :data:`HISTOGRAM_LIMITS`; empty where that was not asked, or not kept."""


@attrs.frozen(kw_only=True)
class WorkerMetrics:
    """What one worker did in some time."""

    worker: str
    """Its name."""
    points: tuple[Point, ...]
    """Minute by minute, or ten, the latest last, all of them."""

    @property
    def processed(self) -> int:
        """Runs that ended, failures too."""
        return sum(point.processed for point in self.points)

    @property
    def failed(self) -> int:
        """Runs that failed."""
        return sum(point.failed for point in self.points)

    @property
    def seconds(self) -> float:
        """How long the runs took together that did not fail."""
        return math.fsum(point.seconds for point in self.points)

    @property
    def average(self) -> float | None:
        """How long, in seconds, a run took that did not fail; None where there was none."""
        succeeded = self.processed - self.failed
        return self.seconds / succeeded if succeeded > 0 else None

    @property
    def histogram(self) -> tuple[int, ...]:
        """How many runs that did not fail took how long; empty where that was not asked, or not kept."""
        kept = [point.histogram for point in self.points if point.histogram]
        return tuple(map(sum, zip(*kept, strict=True)))


@attrs.frozen
class Deploy:
    """That something was deployed."""

    at: datetime
    """The minute."""
    label: str
    """What it was, in the words of whoever marked it."""


@attrs.frozen(kw_only=True)
class Metrics:
    """What all workers did in some time, those of other programs too where they count it (Sidekiq 7 and newer)."""

    at: tuple[datetime, ...]
    """When each point begins, the latest last."""
    step: int
    """Seconds that a point covers: 60 or 600."""
    workers: tuple[WorkerMetrics, ...]
    """Those that ran, first who took the most time."""
    deploys: tuple[Deploy, ...]
    """What was deployed meanwhile, the latest last."""


def instants(now: float, count: int, step: int) -> list[float]:
    """The beginnings of the *count* last minutes (*step* 60), or ten minutes (unix seconds), that of *now* last."""
    last = now // step * step
    return [last - step * back for back in reversed(range(count))]


def point(at: datetime, count: Count, histogram: Sequence[int] = ()) -> Point:
    """What *count* says of the time that begins *at*."""
    return Point(
        at=at,
        processed=count.processed,
        failed=count.failed,
        seconds=count.milliseconds / 1000,
        histogram=tuple(histogram),
    )


def by_worker(at: Sequence[datetime], counts: Sequence[Mapping[str, Count]]) -> Iterator[WorkerMetrics]:
    """The counts of each time, turned into those of each worker, first who took the most time."""
    workers = {worker for one in counts for worker in one}
    total = {worker: reduce(add, (one.get(worker, Count()) for one in counts), Count()) for worker in workers}
    for worker in sorted(workers, key=lambda name: (-total[name].milliseconds, -total[name].processed, name)):
        points = (point(begin, one.get(worker, Count())) for begin, one in zip(at, counts, strict=True))
        yield WorkerMetrics(worker=worker, points=tuple(points))


def deploys(marks: Mapping[str, bytes], since: datetime) -> Iterator[Deploy]:
    """The deploys since *since*, the latest last; what is no time is passed over."""
    for text, label in sorted(marks.items()):
        if (at := _parsed(text)) is not None and at >= since:
            yield Deploy(at, label.decode("utf-8", "replace"))


def _parsed(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
