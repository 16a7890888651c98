"""What all requests of one web UI have in common: its settings, its instance, its templates, its files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
from jinja2 import Environment, PackageLoader
from markupsafe import escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .. import app
from .._version import __version__
from ..app import Exq
from . import show
from .access import TOKEN_COOKIE, Action, local_only
from .assets import Assets
from .settings import Settings
from .shared import Shared
from .visit import CHANGES, Visit, url

SAID_COOKIE = "exq_said"
"""What the last action came to, shown on the next page."""

THEME_COOKIE = "exq_theme"
"""``light`` or ``dark``; what the system says when it is not there."""


class Site:
    """One web UI."""

    def __init__(self, source: object, settings: Settings, **names: object) -> None:
        self.settings: Settings = settings
        self.assets: Assets = Assets()
        self.shared: Shared = Shared()
        self.closing: anyio.Event | None = None
        """Set when the server is about to end, so that streams end first."""
        self._source = source
        self._opened: Exq | None = source if isinstance(source, Exq) else None
        self._templates = templates(**names)

    # -- the instance

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open an instance, unless one was given, and keep it while the application lives."""
        self.closing = anyio.Event()
        if self._opened is not None:
            yield
            return
        source: Any = self._source
        async with app.open(source, mode="api") as self._opened:
            try:
                yield
            finally:
                self._opened = None

    def instance(self, request: Request) -> Exq:
        """The instance: our own, or the one that lives with the application around us.

        Raises:
            HTTPException: 503, there is none.
        """
        if self._opened is not None:
            return self._opened
        around = request.scope.get("state", {}).get("exq")
        if isinstance(around, Exq):
            return around
        raise HTTPException(
            503,
            "The web UI has no instance: give create_app() an open one, or have the application around it run its "
            "`lifespan`. docs/ui.md shows how.",
        )

    # -- permission

    def offers(self, action: Action) -> bool:
        """Whether *action* is there at all, for whomever."""
        if action in CHANGES and self.settings.read_only:
            return False
        if action == "edit" and self.settings.redact is not None:
            return False  # who may not see the arguments cannot change them
        return action != "enqueue" or self.settings.allow_enqueue

    def refusal(self, request: Request, action: Action) -> str:
        """Why *action* is refused."""
        if self.settings.read_only and action in CHANGES:
            return "This web UI is read-only."
        if action == "enqueue" and not self.settings.allow_enqueue:
            return "Enqueueing by hand is not allowed here; create_app(allow_enqueue=True) allows it."
        if self.settings.authorize is local_only:
            return (
                "Nobody has said who may see this, so it is shown on this machine only, at http://localhost. "
                "Give create_app() an `authorize` hook, or `authorize=allow_all` if something else guards it."
            )
        return f"You may not do this here: {action}."

    # -- addresses and pages

    def base(self, request: Request) -> str:
        """Where the application is mounted, without a slash at its end."""
        prefix = self.settings.prefix
        return (request.scope.get("root_path", "") if prefix is None else prefix).rstrip("/")

    def page(self, visit: Visit, template: str, data: Mapping[str, object], status: int = 200) -> Response:
        """The whole page."""
        request = visit.request
        said = request.cookies.get(SAID_COOKIE)
        context = {**self.context(visit), **data, "said": show.shorten(unquote(said), 500) if said else ""}
        response = self.html(request, template, context, status)
        path = f"{self.base(request)}/"
        if request.cookies.get(TOKEN_COOKIE) != visit.token:
            secure = request.url.scheme == "https"
            response.set_cookie(TOKEN_COOKIE, visit.token, path=path, secure=secure, httponly=True, samesite="strict")
        if said:
            response.delete_cookie(SAID_COOKIE, path=path)
        return response

    def html(self, request: Request, template: str, context: Mapping[str, object], status: int) -> Response:
        """A page from its whole *context*."""
        theme = request.cookies.get(THEME_COOKIE)
        around = {
            "base": self.base(request),
            "home": f"{self.base(request)}/",
            "asset": lambda name: url(self.base(request), self.assets.path(name), {}),
            "theme": theme if theme in ("light", "dark") else "",
            "settings": self.settings,
            "version": __version__,
            "now": time.time(),
        }
        text = self._templates.get_template(template).render({**around, **context})
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def part(self, visit: Visit, template: str, block: str, data: Mapping[str, object]) -> str:
        """One block of a page."""
        found = self._templates.get_template(template)
        context = found.new_context({"now": time.time(), **self.context(visit), **data})
        return "".join(found.blocks[block](context))

    def context(self, visit: Visit) -> dict[str, object]:
        """What every page knows of its visit."""
        return {
            "visit": visit,
            "url": visit.url,
            "again": visit.again,
            "may": visit.may,
            "token": visit.token,
            "settings": self.settings,
            "redis": visit.q.config.address().display(),
            "namespace": visit.q.config.namespace,
        }


def templates(**names: object) -> Environment:
    """The templates: all that is put into them is escaped, and cleared of what cannot be seen.

    *names* are known to all of them.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        finalize=show.clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(names)
    environment.filters["exactly"] = escape  # what is sent back must be as it came
    for name in ("ago", "compact", "duration", "exact", "moment", "number", "percent", "plural", "shorten", "size"):
        environment.filters[name] = getattr(show, name)
    return environment
