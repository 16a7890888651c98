"""One request on its way: which instance, who may do what, and how addresses and answers are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlencode

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, Entry
from ..app import Exq
from .access import ACTIONS, TOKEN_COOKIE, Action, allowed, new_token
from .records import Shown, shown

if TYPE_CHECKING:
    from .site import Site

Handler: TypeAlias = "Callable[[Visit], Awaitable[Response]]"
"""What answers a request."""

CHANGES: frozenset[Action] = frozenset(ACTIONS) - {"read"}
"""The actions that change something."""


@attrs.frozen(eq=False)
class Visit:
    """A request that was let in."""

    site: Site
    request: Request
    q: Exq
    path: str
    """Of the page, below where the application is mounted."""
    params: Mapping[str, str]
    """From the path."""
    query: Mapping[str, str]
    """From the query string."""
    may: frozenset[Action]
    """What the visitor may do, as far as it was asked."""
    token: str
    """What the forms of this browser hold."""

    @property
    def api(self) -> Api:
        """What to look at and to repair with."""
        return self.q.api

    def shown(self, entry: Entry) -> Shown:
        """What may be seen of *entry*."""
        return shown(entry, self.site.settings.redact)

    def url(self, path: str, **query: object) -> str:
        """The address of *path* with *query*; what is None or empty is left out."""
        return url(self.site.base(self.request), path, query)

    def again(self, **query: object) -> str:
        """The address of this page with other parts of the query."""
        return self.url(self.path, **{**self.query, **query})

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query, from *least* to *most*.

        Raises:
            HTTPException: 400, it is none.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise HTTPException(400, f"{name} must be a whole number from {least} to {most}.")
        return value


def url(base: str, path: str, query: Mapping[str, object]) -> str:
    """An address below *base*."""
    given = {name: str(value) for name, value in query.items() if value is not None and value != ""}
    asked = f"?{urlencode(given, errors='surrogatepass')}" if given else ""
    # A slash in the name of a queue is none of the path: browsers shorten "a/../b".
    head, name = ("/queues/", path[8:]) if path.startswith("/queues/") else (path, "")
    return f"{base}{head}{quote(name, safe='~@:+,', errors='surrogatepass')}{asked}"


async def admit(site: Site, request: Request, action: Action, *, ask_all: bool) -> Visit:
    """Let a request in that may do *action*; with *ask_all* also find out what else it may do.

    Raises:
        HTTPException: 403, it may not; 503, there is no instance.
    """
    may = set[Action]()
    for each in (action, *(ACTIONS if ask_all else ())):
        if each not in may and site.offers(each) and await allowed(site.settings.authorize, request, each):
            may.add(each)
        if action not in may:
            raise HTTPException(403, site.refusal(request, action))
    return Visit(
        site=site,
        request=request,
        q=site.instance(request),
        path="/",
        params=request.path_params,
        query=dict(request.query_params),
        may=frozenset(may),
        token=request.cookies.get(TOKEN_COOKIE) or new_token(),
    )
