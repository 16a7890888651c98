"""What a query asks for: which entries, from where on, how many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import attrs
from starlette.exceptions import HTTPException

from ..api import Entry, Filter, Jobs
from .settings import Settings

FIELDS = ("worker", "error", "text", "tag", "since", "until")
"""What entries can be searched by."""

LOOK_AT = 50_000
"""Entries that one request looks at when it searches; the next one goes on behind them."""

PAGE_BYTES = 4 << 20
"""Bytes of payload after which a page ends."""

SIZES = (25, 50, 100)
"""Entries of a page."""


@attrs.frozen(kw_only=True)
class Part:
    """A part of one place: a page of it, or of what a search found."""

    entries: tuple[Entry, ...]
    total: int
    """Entries there, within the times asked for."""
    offset: int
    """Entries passed over before it."""
    next: int | None
    """Where the part behind it begins; None at the end."""
    looked: int | None
    """Entries looked at by a search; None without one."""


def filter_of(query: Mapping[str, str], settings: Settings) -> Filter | None:
    """What to look for; None: everything.

    Raises:
        HTTPException: 400, a time cannot be read; 403, what is hidden cannot be searched.
    """
    given = {name: query[name].strip() for name in FIELDS if query.get(name, "").strip()}
    if "text" in given and settings.redact is not None:
        # Each answer would say whether a hidden value holds the text.
        raise HTTPException(403, "Arguments are redacted here, so that their text cannot be searched.")
    if not given:
        return None
    times = {name: instant(name, given[name]) for name in ("since", "until") if name in given}
    worker, error, text, tag = (given.get(name) for name in FIELDS[:4])
    return Filter(worker=worker, error=error, text=text, tag=tag, since=times.get("since"), until=times.get("until"))


def instant(name: str, text: str) -> datetime:
    """An ISO 8601 time; in UTC unless it says otherwise.

    Raises:
        HTTPException: 400, it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise HTTPException(400, f"{name} must be an ISO 8601 time, such as 2030-01-31T12:00Z.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def part(jobs: Jobs, what: Filter | None, offset: int, size: int) -> Part:
    """Up to *size* entries that match, behind the first *offset*; a search looks at a bounded number."""
    if what is None:
        page = await jobs.page(offset, size, most_bytes=PAGE_BYTES)
        end = offset + len(page)
        more = end if len(page) and end < page.total else None
        return Part(entries=page.entries, total=page.total, offset=offset, next=more, looked=None)
    found: list[Entry] = []
    looked, total, end = 0, 0, offset
    async for hits in jobs.search(what, limit=size, look_at=LOOK_AT, offset=offset):
        found += hits.entries
        looked, total, end = hits.looked, hits.total, hits.offset
        if sum(len(entry.payload) for entry in hits.entries) > PAGE_BYTES:
            break
    more = end if end < total and (found or looked >= LOOK_AT) else None
    return Part(entries=tuple(found), total=total, offset=offset, next=more, looked=end - offset)
