"""How things are written for people: texts from values, for the templates.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from markupsafe import Markup

from ..job import JSON

PREVIEW = 180
"""Characters of a job's arguments in a table."""

_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that are not to be seen, or turn the text around them."""

NONE = "\u2013"
"""Stands where there is nothing: a dash."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def clean(value: object) -> object:
    """A text with what cannot be seen spelt out; anything else, and Markup, as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def shorten(text: str, limit: int) -> str:
    """At most *limit* characters of *text*."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def preview(value: JSON, limit: int = PREVIEW) -> str:
    """The beginning of *value* as JSON; the time that it takes is bounded by *limit*, not by the value."""
    parts, left = list[str](), limit
    for part in _tokens(value, limit):
        parts.append(part[: left + 1])
        left -= len(part)
        if left < 0:
            break
    return shorten("".join(parts), limit)


def arguments(values: list[JSON], limit: int = PREVIEW) -> str:
    """Arguments as they stand in a call: ``7, "hello"``."""
    return preview(values, limit + 2).removeprefix("[").removesuffix("]")


def _tokens(value: JSON, limit: int) -> Iterator[str]:
    if isinstance(value, str):
        yield json.dumps(value[: limit + 1], ensure_ascii=False)
    elif isinstance(value, list):
        yield "["
        for at, item in enumerate(value):
            if at:
                yield ", "
            yield from _tokens(item, limit)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for at, (key, item) in enumerate(value.items()):
            yield f"{', ' if at else ''}{json.dumps(key[: limit + 1], ensure_ascii=False)}: "
            yield from _tokens(item, limit)
        yield "}"
    else:
        yield json.dumps(value)


def number(value: float | None) -> str:
    """``1,234,567``, or ``0.5``."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"


def compact(value: float) -> str:
    """``950``, ``12.3k``, ``4.5M``: for where there is little room."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scale = 1e3 if unit == "k" else size
            return f"{value / scale:.1f}".removesuffix(".0") + unit
    return number(value)


def size(count: float | None) -> str:
    """Bytes as ``3.4 MB``."""
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{max(0.0, seconds * 1000):.{1 if 0 < seconds < 0.01 else 0}f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    left, parts = round(seconds), list[str]()
    for length, unit in _UNITS:
        if left >= length:
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2])


def ago(at: datetime | None, now: float) -> str:
    """``3 min ago``, ``in 2 h``, from *now* (unix seconds)."""
    if at is None:
        return NONE
    apart = at.timestamp() - now
    if abs(apart) < 1:
        return "now"
    text = duration(abs(apart)).split(" ")
    short = " ".join(text[:2])
    return f"in {short}" if apart > 0 else f"{short} ago"


def moment(at: datetime | None) -> str:
    """``2026-11-24 07:44:46 UTC``."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def exact(at: datetime | None) -> str:
    """ISO 8601 with a fraction of a second."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plural(count: int, one: str, many: str = "") -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """``0.4 %``; a dash for no whole."""
    if not whole:
        return NONE
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"
