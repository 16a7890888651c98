"""The web UI within applications of other frameworks, each served from its lifespan on: links, files, forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from fastapi import FastAPI
from hypercorn.middleware.dispatcher import AsyncioDispatcherMiddleware, TrioDispatcherMiddleware
from litestar import Litestar, asgi
from quart import Quart
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.routing import Mount

from exq_anyio import ui
from exq_anyio.contrib.asgi import lifespan

from ..api.conftest import failed
from ..exq.scene import Scene
from .visitor import Visitor

Make = Callable[[ui.WebUI, dict[str, Any], str], Any]
"""From the web UI, the settings and the backend to an application in which it is mounted at /exq."""


def starlette(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    return Starlette(routes=[Mount("/exq", site)], lifespan=site.lifespan)


def beside_an_instance(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    return Starlette(routes=[Mount("/exq", ui.create_app(stream_seconds=0.1))], lifespan=lifespan(settings, mode="api"))


def fastapi(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    app = FastAPI(lifespan=site.lifespan)
    app.mount("/exq", site)
    return app


def within_a_mount(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    outer = FastAPI(lifespan=site.lifespan)
    inner = FastAPI()
    inner.mount("/exq", site)
    outer.mount("", inner)
    return outer


def litestar(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    site = ui.create_app(
        settings, prefix="/exq", stream_seconds=0.1
    )  # Litestar does not tell what is mounted where it is

    @asgi("/exq", is_mount=True, copy_scope=True)
    async def exq_ui(scope: Any, receive: Any, send: Any) -> None:
        await site(scope, receive, send)

    # Its own logging would begin a thread that stays, and set up the loggers of the whole process.
    return Litestar([exq_ui], lifespan=[site.lifespan], logging_config=None)


def quart(site: ui.WebUI, settings: dict[str, Any], backend: str) -> Any:
    if backend == "trio":
        return TrioDispatcherMiddleware({"/exq": cast("Any", site), "": cast("Any", QuartTrio("shop"))})
    return AsyncioDispatcherMiddleware({"/exq": cast("Any", site), "": cast("Any", Quart("shop"))})


FRAMEWORKS: list[Make] = [starlette, beside_an_instance, fastapi, within_a_mount, litestar, quart]


@asynccontextmanager
async def alive(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Start *app* as a server does, and end it; the state that it gives to requests."""
    state: dict[str, Any] = {}
    started, ending = anyio.Event(), anyio.Event()
    messages = [{"type": "lifespan.startup"}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await ending.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: dict[str, Any]) -> None:
        assert "failed" not in message["type"], message
        started.set()

    async with anyio.create_task_group() as tasks:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        tasks.start_soon(app, scope, receive, send)
        with anyio.fail_after(10):
            await started.wait()
        yield state
        ending.set()


@pytest.mark.parametrize("make", FRAMEWORKS, ids=lambda make: make.__name__)
async def test_it_works_under_its_prefix(make: Make, scene: Scene, anyio_backend: str) -> None:
    await scene.redis.zadd(scene.key("dead"), {failed("j0"): 1e9})
    settings = {"url": scene.url, "namespace": scene.namespace}
    app = make(ui.create_app(settings, stream_seconds=0.1), settings, anyio_backend)
    async with alive(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        async with Visitor(with_state) as visitor:
            page = await visitor.get("/exq/")
            assert page.status == 200, page
            ours = [link for link in page.links if not link.startswith("#")]
            assert all(link.startswith("/exq/") for link in ours), ours
            for tag, given in page.tags:
                if tag in ("script", "link") and given.get("rel") != "icon":
                    response = await visitor.client.get(str(given.get("src") or given.get("href")))
                    assert response.status_code == 200
            for link in set(ours):
                assert (await visitor.get(link)).status == 200, link
            events = (await visitor.get("/exq/events?every=1&page=/exq/dead%3Fsize=50")).html
            assert "event: live" in events
            assert "dead~1000000000.0" in events
            page = await visitor.press("/exq/dead", "Retry", "~j0", choose=lambda ref: True)
            assert (page.path, "1 job retried." in page.text) == ("/exq/dead", True)
            response = await visitor.client.get("/exq/api/stats")
            assert response.json()["enqueued"] == 1
            assert (await visitor.get("/exq/events?page=/exq/nowhere")).status == 404
            assert (await visitor.get("/exq/queues/q")).status == 200


async def test_without_an_instance_it_says_what_is_missing() -> None:
    async with Visitor(Starlette(routes=[Mount("/exq", ui.create_app())])) as visitor:
        page = await visitor.get("/exq/")
        assert (page.status, "run its `lifespan`" in page.text) == (503, True)


async def test_the_prefix_can_be_said_where_the_server_does_not(scene: Scene) -> None:
    async with scene.open(mode="api") as q, Visitor(ui.create_app(q, prefix="/ops/")) as visitor:
        links = [link for link in (await visitor.get("/")).links if not link.startswith("#")]
        assert all(link.startswith("/ops/") for link in links)
