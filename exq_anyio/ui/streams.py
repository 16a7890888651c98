"""Live updates: a stream of server-sent events for each page that is being looked at.

A stream reads its page again at the same instants as all others of its interval, so that they share what one of them
read, and sends the parts that look otherwise than before.  It ends by itself after a while, and the browser asks anew:
so nobody keeps a permission that is gone, and no server waits long for it when it is to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from functools import partial
from typing import cast
from urllib.parse import parse_qsl, unquote

import anyio
import attrs
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ..errors import ExqError
from .guard import Stream
from .pages import Data, Page, summary
from .site import Site
from .visit import Visit, admit

INTERVALS = (1, 2, 5, 15)
"""Seconds between two updates, at choice."""


@attrs.frozen
class Looking:
    """What one browser looks at."""

    page: Page
    visit: Visit
    """As if it had asked for the page."""


async def stream(site: Site, routes: list[tuple[Route, Page]], request: Request) -> Response:
    """The stream for the page whose address, with its query, is the parameter ``page``."""
    visit = await admit(site, request, "read", ask_all=True)
    interval = visit.number("every", 2, INTERVALS[0], INTERVALS[-1])
    looking = looked_at(routes, visit)
    return Stream(events(looking, interval), "text/event-stream")


def looked_at(routes: list[tuple[Route, Page]], visit: Visit) -> Looking:
    """The page that is looked at.  Raises HTTPException: 404, there is none."""
    address, _, asked_for = visit.query.get("page", "").partition("?")
    base = visit.site.base(visit.request)
    path = unquote(address.removeprefix(base)) or "/"
    pairs = parse_qsl(asked_for)[:100]
    for route, page in routes:
        match, scope = route.matches({"type": "http", "method": "GET", "path": path, "root_path": ""})
        if match is Match.FULL:
            return Looking(page, attrs.evolve(visit, path=path, params=scope["path_params"], query=dict(pairs)))
    raise HTTPException(404, "There is no such page.")


async def events(looking: Looking, interval: float) -> AsyncGenerator[bytes, None]:
    """The events of one stream."""
    page, visit = looking.page, looking.visit
    site, sent = visit.site, dict[str, bytes]()
    key = (page.path, visit.path, tuple(sorted(visit.query.items())), id(visit.q))
    ends = anyio.current_time() + site.settings.stream_seconds
    yield b"retry: 1000\n\n"
    with site.shared.watch(key) as own, site.shared.watch(("summary", id(visit.q))) as common:
        while True:
            try:
                data = cast("Data", await own.get(partial(page.read, visit), interval / 2))
                around = cast("Data", await common.get(partial(summary, visit), interval / 2))
            except (ExqError, HTTPException) as error:
                detail = error.detail if isinstance(error, HTTPException) else str(error)
                yield event("trouble", {"problem": detail})
            else:
                yield event("live", changed(looking, {**data, **around}, sent))
            if anyio.current_time() >= ends or await closing(site, until_next(interval)):
                return


def changed(looking: Looking, data: Data, sent: dict[str, bytes]) -> dict[str, str]:
    """The parts of the page that look otherwise than what was *sent*, by the id of their element."""
    visit, found = looking.visit, dict[str, str]()
    for block, template in (("counts", "layout.html"), ("live", looking.page.template)):
        html = visit.site.part(visit, template, block, {**data, "name": looking.page.name})
        digest = hashlib.blake2s(html.encode("utf-8", "replace")).digest()
        if sent.get(block) != digest:
            sent[block] = digest
            found[block] = html
    return found


def event(name: str, data: object) -> bytes:
    """One server-sent event; JSON has no line breaks."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def until_next(interval: float) -> float:
    """Seconds until the instant at which all streams of this *interval* look again."""
    now = anyio.current_time()
    return interval - now % interval


async def closing(site: Site, seconds: float) -> bool:
    """Wait for *seconds*; at once true when the server is about to end."""
    if site.closing is None:
        await anyio.sleep(seconds)
        return False
    with anyio.move_on_after(seconds):
        await site.closing.wait()
    return site.closing.is_set()
