"""The ASGI application: which address is answered by what."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..app import Exq
from ..config import Config
from ..errors import ExqError, InvalidQueue, RedisUnavailable, WrongMode
from . import actions, doings, json_api, pages, streams
from .access import Authorize, local_only
from .guard import guarded
from .pages import PAGES, Page
from .settings import Redact, Settings
from .site import Site
from .visit import admit

Endpoint = Callable[[Request], Awaitable[Response]]

Failure = Callable[[Request, Exception], Awaitable[Response]]
"""What answers a request in which something went wrong."""

GENERAL = {404: "There is no such page.", 405: "This address is for something else."}
"""What is said where nobody said more."""


class WebUI:
    """The web UI, as an ASGI application.  Made by :func:`create_app`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._app = guarded(_starlette(site))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; or live, alone under a server."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "http" and self._site.settings.prefix is not None and scope["path"] != "/":
            # Litestar ends the path of what is mounted with a slash.
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await self._app(scope, receive, send)

    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[None]:
        """Open the instance, and keep it while an application lives that this one is mounted in.

        Needed where :func:`create_app` was given settings, since no framework does it for what is mounted.
        """
        return self._site.opened()

    def close_streams(self) -> None:
        """End all streams of live updates, since the server is about to end."""
        if self._site.closing is not None:
            self._site.closing.set()


def create_app(
    source: Exq | Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
    *,
    authorize: Authorize = local_only,
    read_only: bool = False,
    allow_enqueue: bool = False,
    redact: Redact | None = None,
    title: str = "exq",
    prefix: str | None = None,
    stream_seconds: float = 30,
) -> WebUI:
    """The web UI, to be mounted in an ASGI application, or served alone.

    *source* is an open instance (in mode ``"api"`` or ``"default"``), or what :func:`exq_anyio.open` takes; it is then
    opened by ``lifespan``.  With an instance of :func:`exq_anyio.contrib.asgi.lifespan` around it, it needs neither.

    *authorize* says who may do what, for each request and action; without it only this machine may do anything, by a
    local name and past no proxy.  *read_only* takes all actions away, *allow_enqueue* adds the page for a job by hand.
    *redact* says what is shown of a job.  *title* stands above the navigation.  *prefix* is where the application is
    mounted, for frameworks that do not say so in ``root_path``.  *stream_seconds* is how long one stream of live
    updates lasts, and so how long a server may have to wait for it.

    Nothing is opened or started before the application lives.
    """
    settings = Settings(
        authorize=authorize,
        read_only=read_only,
        allow_enqueue=allow_enqueue,
        redact=redact,
        title=title,
        prefix=prefix,
        stream_seconds=stream_seconds,
    )
    return WebUI(Site(source, settings, doings=doings.doings, home_of=doings.home))


def _starlette(site: Site) -> Starlette:
    looks = [(Route(page.path, _look(site, page)), page) for page in PAGES]
    routes = [
        Route("/static/{digest}/{name:path}", site.assets.serve),
        Route("/events", partial(streams.stream, site, looks)),
        Route("/find", partial(_find, site)),
        Route("/bulk", partial(_bulk, site), methods=["GET"]),
        Route("/bulk", partial(actions.post_bulk, site), methods=["POST"]),
        Route("/enqueue", partial(_enqueue, site), methods=["GET"]),
        Route("/enqueue", partial(actions.post_enqueue, site), methods=["POST"]),
        Route("/act", partial(actions.post, site), methods=["POST"]),
        Route("/payload", partial(json_api.payload, site)),
        *json_api.routes(site),
        *(route for route, _ in looks),
    ]
    failures: dict[type[Exception], Failure] = {
        HTTPException: partial(_refused, site),
        ExqError: partial(_failed, site),
        Exception: partial(_broken, site),
    }
    return Starlette(routes=routes, exception_handlers=failures, lifespan=lambda app: site.opened())


def _look(site: Site, page: Page) -> Endpoint:
    async def look(request: Request) -> Response:
        visit = await admit(site, request, "read", ask_all=True)
        path = page.path.replace("{name:path}", request.path_params.get("name", ""))
        visit = attrs.evolve(visit, path=path)
        data = {**await page.read(visit), **await pages.summary(visit), "name": page.name}
        gone = page.template == "job.html" and data.get("one") is None
        return site.page(visit, page.template, data, 404 if gone else 200)

    return look


async def _find(site: Site, request: Request) -> Response:
    visit = await admit(site, request, "read", ask_all=True)
    data = await pages.find(visit)
    if data["found"] is not None:
        return RedirectResponse(str(data["found"]), 303)
    return site.page(visit, "find.html", {**data, **await pages.summary(visit), "name": ""}, 404)


async def _bulk(site: Site, request: Request) -> Response:
    visit = await admit(site, request, "read", ask_all=True)
    data = {**await doings.bulk(visit), **await pages.summary(visit), "name": ""}
    return site.page(visit, "bulk.html", data)


async def _enqueue(site: Site, request: Request) -> Response:
    visit = await admit(site, request, "enqueue", ask_all=True)
    data = {**await pages.enqueue(visit), **await pages.summary(visit), "name": "enqueue"}
    return site.page(visit, "enqueue.html", data)


def problem(site: Site, request: Request, status: int, title: str, detail: str) -> Response:
    """What went wrong, as a page, or in JSON for who asks for that."""
    path: str = request.scope["path"]
    if path.removeprefix(site.base(request)).startswith("/api/"):
        return json_api.answer({"error": title, "detail": detail}, status)
    return site.html(request, "problem.html", {"title": title, "detail": detail, "status": status}, status)


async def _refused(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    titles = {403: "Not allowed", 404: "Not found", 405: "Not so", 409: "Conflict", 503: "Not ready"}
    detail = GENERAL.get(status, "") if error.detail == HTTPStatus(status).phrase else error.detail
    response = problem(site, request, status, titles.get(status, "That did not work"), detail)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _failed(site: Site, request: Request, error: Exception) -> Response:
    match error:
        case RedisUnavailable():
            return problem(site, request, 503, "Redis cannot be reached", str(error))
        case InvalidQueue():
            return problem(site, request, 404, "There is no such queue", str(error))
        case WrongMode():
            return problem(site, request, 503, "Not ready", f"{error}; open the instance in mode 'api' or 'default'.")
        case _:
            return problem(site, request, 500, "Redis said no", str(error))


async def _broken(site: Site, request: Request, error: Exception) -> Response:
    detail = "This is a mistake of the web UI, not yours; the log of its server has the whole story."
    return problem(site, request, 500, "Something went wrong", detail)
