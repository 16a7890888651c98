"""How figures, times and places are said in words; and what people write for times and places."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds of each unit of a span."""

_SPAN = re.compile(r"(\+?)(\d+(?:\.\d+)?)([smhdw])")


def span(seconds: float) -> str:
    """A length of time in at most four columns: ``0.2s``, ``59s``, ``3m``, ``5h``, ``12d``, ``3y``."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f}s"
    for unit, size, limit in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172800), ("d", 86400, 86400 * 1000)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86400 / 365.25:.0f}y"


def ago(then: datetime | None, now: datetime) -> str:
    """How long ago *then* was, or, with a plus, how long it is until then; ``-`` when it is not known."""
    if then is None:
        return "-"
    passed = (now - then).total_seconds()
    return span(passed) if passed >= 0 else f"+{span(-passed)}"


def size(kilobytes: int | None) -> str:
    """Memory: ``51 MB``."""
    return "-" if kilobytes is None else f"{kilobytes / 1024:,.0f} MB"


def number(value: float) -> str:
    """A count with separators, or ``-`` for one without a limit."""
    return f"{value:,.0f}"


def instant(text: str) -> datetime:
    """The aware datetime that *text* says: how long ago (``2h``), how long from now (``+2h``), or ISO 8601 with a zone.

    Raises:
        BadParameter: it says none.
    """
    try:
        found = _SPAN.fullmatch(text)
        if found is not None:
            length, now = timedelta(seconds=float(found[2]) * UNITS[found[3]]), datetime.now(UTC)
            return now + length if found[1] else now - length
        read = datetime.fromisoformat(text)
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too far away") from None
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; write 2h (ago), +2h (from now) or 2030-01-31T12:00:00Z"
        ) from None
    if read.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone; write {text}Z for UTC, or {text}+02:00")
    return read


def plural(count: int, one: str, many: str = "") -> str:
    """``1 job``, ``2 jobs``, ``1,000 jobs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
