"""How often each worker ran, how often it failed, and how long it took: what a node counts, and where that is written.

The counts and the names are Sidekiq's, so that its Metrics page shows our workers beside its own.  Sidekiq 7 and
Sidekiq 8 keep them under different keys, each reading only its own; a node writes for one of them, as it writes times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import attrs

from .job import Timestamps

LIMITS: tuple[int, ...] = (
    20, 30, 45, 65, 100, 150, 225, 335, 500, 750, 1100, 1700, 2500, 3800, 5750, 8500, 13000, 20000, 30000, 45000, 65000,
    100000, 150000, 225000, 335000,
)  # fmt: skip
"""Milliseconds below which a run belongs to each bucket of the histogram; the last bucket, beyond these, has no limit.
Source: Sidekiq, metrics/shared."""

BUCKETS: int = len(LIMITS) + 1
"""How many buckets a histogram has."""


@attrs.frozen
class Count:
    """What was counted of one worker in some time."""

    processed: int = 0
    """Runs that ended, failures too."""
    failed: int = 0
    """Runs that failed."""
    milliseconds: int = 0
    """How long the runs took together that did not fail."""

    def __add__(self, other: Count) -> Count:
        return Count(
            self.processed + other.processed, self.failed + other.failed, self.milliseconds + other.milliseconds
        )


@attrs.frozen
class WorkerBatch:
    """What is to be added to the count of one worker."""

    worker: str
    """Its name on the wire."""
    count: Count
    """What to add."""
    buckets: Mapping[int, int]
    """What to add to each bucket of its histogram, where that is not 0."""


@attrs.frozen
class Batch:
    """What a node has counted since the batch before."""

    number: int = 0
    """Numbers the batches under one claim, so that one is added once; 0: there is nothing to add."""
    at: float = 0.0
    """The minute that it belongs to (unix seconds)."""
    unit: Timestamps = "seconds"
    """Whose keys are written: Sidekiq 7's for ``"seconds"``, Sidekiq 8's for ``"milliseconds"``."""
    workers: Sequence[WorkerBatch] = ()
    """Those that ran."""


@attrs.define(eq=False)
class _Tally:
    """Everything counted of one worker since the start; it only grows."""

    processed: int = 0
    failed: int = 0
    milliseconds: float = 0.0
    buckets: list[int] = attrs.field(factory=lambda: [0] * BUCKETS)

    def copied(self) -> _Tally:
        return _Tally(self.processed, self.failed, self.milliseconds, list(self.buckets))


class Meter:
    """Counts the runs of a node.

    The event loop counts and only adds; the thread of the heartbeat reads, and keeps what it has read for itself, so
    that neither waits for the other and nothing falls between them.
    """

    def __init__(self, unit: Timestamps, clock: Callable[[], float]) -> None:
        self._unit: Timestamps = unit
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}
        self._taken: dict[str, _Tally] = {}
        self._batch = Batch()
        self._number = 0

    def count(self, worker: str, seconds: float, *, failed: bool) -> None:
        """Count one run, which took *seconds*."""
        tally = self._tallies.get(worker)
        if tally is None:
            tally = self._tallies[worker] = _Tally()
        if failed:
            # Sidekiq: how long a failure took says nothing.
            tally.failed += 1
        else:
            milliseconds = seconds * 1000
            tally.milliseconds += milliseconds
            tally.buckets[bisect_right(LIMITS, milliseconds)] += 1
        tally.processed += 1

    def batch(self) -> Batch:
        """What is to be written: the batch before, with its number, until that was :meth:`written`."""
        if not self._batch.number:
            workers = [batch for name, tally in list(self._tallies.items()) if (batch := self._since(name, tally))]
            if workers:
                self._number += 1
                self._batch = Batch(self._number, self._clock(), self._unit, workers)
        return self._batch

    def written(self, batch: Batch) -> None:
        """Take note that *batch* was written."""
        if batch.number == self._batch.number:
            self._batch = Batch()

    def _since(self, worker: str, tally: _Tally) -> WorkerBatch | None:
        now, before = tally.copied(), self._taken.get(worker) or _Tally()
        if now.processed == before.processed:
            return None
        self._taken[worker] = now
        buckets = {
            at: new - old for at, (new, old) in enumerate(zip(now.buckets, before.buckets, strict=True)) if new != old
        }
        # Whole numbers of what has grown: what a quick run leaves over is in the next batch.
        grown = int(now.milliseconds) - int(before.milliseconds)
        return WorkerBatch(worker, Count(now.processed - before.processed, now.failed - before.failed, grown), buckets)


def minute_key(at: float, unit: Timestamps) -> str:
    """The hash of all counts in the minute of *at* (unix seconds), lasting eight hours."""
    when = datetime.fromtimestamp(at, UTC)
    if unit == "seconds":
        return f"j|{when:%Y%m%d}|{when.hour}:{when.minute}"
    return f"j|{when:%y%m%d}|{when.hour}:{when:%M}"


def ten_minutes_key(at: float) -> str:
    """Likewise of ten minutes, lasting three days.  Sidekiq 7 has none."""
    return minute_key(at, "milliseconds")[:-1]


def histogram_key(worker: str, at: float, unit: Timestamps) -> str:
    """The histogram of one worker in the minute of *at*, lasting eight hours: big-endian numbers of 16 bits."""
    when = datetime.fromtimestamp(at, UTC)
    if unit == "seconds":
        return f"{worker}-{when:%d-%H}:{when.minute}"
    return f"h|{worker}-{when.day}-{when.hour}:{when.minute}"


def marks_key(at: float) -> str:
    """The hash of the deploys of the day of *at*, lasting 90 days."""
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%d}-marks"


def parse_counts(fields: Mapping[str, bytes]) -> dict[str, Count]:
    """What a hash of counts says, by worker; what is no count is passed over."""
    found: dict[str, dict[str, int]] = {}
    for field, value in fields.items():
        worker, _, metric = field.rpartition("|")
        if metric in ("p", "f", "ms"):
            found.setdefault(worker, {})[metric] = _number(value)
    return {name: Count(of.get("p", 0), of.get("f", 0), of.get("ms", 0)) for name, of in found.items()}


def parse_histogram(raw: bytes) -> list[int]:
    """The buckets of a histogram as it is kept."""
    padded = raw[: 2 * BUCKETS].ljust(2 * BUCKETS, b"\0")
    return [int.from_bytes(padded[at : at + 2], "big") for at in range(0, 2 * BUCKETS, 2)]


def _number(value: bytes) -> int:
    try:
        return max(0, int(value))
    except ValueError:
        return 0
