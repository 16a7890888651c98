"""Charts: the points that the script draws, and the bars that stand there without it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

import attrs
import msgspec

from ..api import Day, Second
from ..api.measures import Point

GAP = 0.2
"""Share of a bar's place that stays free."""


@attrs.frozen
class Chart:
    """Bars in a picture that is 100 high, as wide as there are bars."""

    width: int
    bars: tuple[tuple[float, float, float, float], ...]
    """Of each where it begins, its width, how high what was processed is, and how high what failed."""


def bars(points: Sequence[Day | Second | Point]) -> Chart:
    """The bars for *points*."""
    most = max((point.processed for point in points), default=0) or 1
    found = (
        (at + GAP / 2, 1 - GAP, round(95 * point.processed / most, 1), round(95 * point.failed / most, 1))
        for at, point in enumerate(points)
    )
    return Chart(len(points), tuple(found))


def points(found: Sequence[Day | Second | Point]) -> str:
    """Unix seconds, processed and failed, each a JSON array."""
    times = [(_midnight(one) if isinstance(one, Day) else one.at).timestamp() for one in found]
    return msgspec.json.encode(
        [[int(at) for at in times], [one.processed for one in found], [one.failed for one in found]]
    ).decode()


def _midnight(day: Day) -> datetime:
    return datetime.combine(day.date, time(), UTC)
