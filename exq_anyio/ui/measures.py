"""The metrics of workers, as they are shown: percentiles, a heat map, small bars.  Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import attrs

from ..api.measures import HISTOGRAM_LIMITS, Point
from . import show

COLUMNS = 96
"""Most columns of a heat map."""


@attrs.frozen(kw_only=True)
class HeatMap:
    """How many runs took how long, and when: columns of time, rows of durations, the longest on top."""

    columns: int
    rows: tuple[str, ...]
    """What each row is: up to how long."""
    cells: tuple[tuple[int, int, float, str], ...]
    """Of each cell that is not empty its column, its row, how dark it is (0 to 1), and what it says."""


def percentile(histogram: Sequence[int], share: float) -> float | None:
    """Seconds that *share* (0 to 1) of the runs took at most; None without runs, inf beyond the last limit.

    Within its bucket it is where it would be if the runs were spread evenly.
    """
    total = sum(histogram)
    if not total:
        return None
    before, wanted = 0, share * total
    for at, count in enumerate(histogram):
        if count and before + count >= wanted:
            low, high = HISTOGRAM_LIMITS[at - 1] if at else 0.0, HISTOGRAM_LIMITS[at]
            return high if math.isinf(high) else low + (high - low) * (wanted - before) / count
        before += count
    return None


def seconds(value: float | None) -> str:
    """A percentile for people."""
    if value is not None and math.isinf(value):
        return f"> {show.duration(HISTOGRAM_LIMITS[-2])}"
    return show.duration(value)


def heat_map(points: Sequence[Point]) -> HeatMap | None:
    """The heat map of *points*; None when no times were kept."""
    width = math.ceil(len(points) / COLUMNS) or 1
    groups = [points[at : at + width] for at in range(0, len(points), width)]
    columns = [(group[0].at, _added(group)) for group in groups]
    used = [row for _, counts in columns for row, count in enumerate(counts) if count]
    if not used:
        return None
    low, high = min(used), max(used)
    most = max(max(counts, default=0) for _, counts in columns)
    cells = tuple(
        (at, high - row, round(0.15 + 0.85 * math.sqrt(count / most), 2), _says(begin, row, count))
        for at, (begin, counts) in enumerate(columns)
        for row, count in enumerate(counts)
        if count
    )
    rows = tuple(_limit(row) for row in range(high, low - 1, -1))
    return HeatMap(columns=len(columns), rows=rows, cells=cells)


def spark(points: Sequence[Point], bars: int = 40) -> tuple[tuple[int, float, float], ...]:
    """Small bars: of each its place, how high (0 to 20) what was processed is, and what failed."""
    width = math.ceil(len(points) / bars) or 1
    groups = [points[at : at + width] for at in range(0, len(points), width)]
    counts = [(sum(one.processed for one in group), sum(one.failed for one in group)) for group in groups]
    most = max((done for done, _ in counts), default=0) or 1
    return tuple(
        (at, round(20 * done / most, 1), round(20 * bad / most, 1)) for at, (done, bad) in enumerate(counts) if done
    )


def _added(points: Sequence[Point]) -> list[int]:
    kept = [point.histogram for point in points if point.histogram]
    return [sum(counts) for counts in zip(*kept, strict=True)]


def _limit(row: int) -> str:
    limit = HISTOGRAM_LIMITS[row]
    return "longer" if math.isinf(limit) else show.duration(limit)


def _says(begin: datetime, row: int, count: int) -> str:
    return f"{begin:%H:%M} UTC, up to {_limit(row)}: {show.plural(count, 'run')}"
