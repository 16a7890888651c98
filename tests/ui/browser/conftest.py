"""A real Chromium looks at ``exq ui``.  ``nox -s ui`` installs it and sets ``EXQ_UI``; nothing is collected without.

What is missing then is a failure, never a skip.  ``EXQ_UI_SHOTS`` names a directory for pictures of every page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import anyio
import attrs
import coredis
import pytest
import valkey as server_client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys

from ..fleet import declare, seed

EXQ = str(Path(sys.executable).with_name("exq"))

CHROMIUM = "/usr/bin/chromium"

expect.set_options(timeout=20_000)  # a machine may be busy


@attrs.frozen
class Fleet:
    """A namespace that is filled, and a client to look into it."""

    url: str
    keys: Keys
    client: Any
    """Synchronous; its own types are those of the asynchronous one as well."""

    def fill(self, dead: int = 1204) -> None:
        """Put a whole fleet there."""

        socket = self.url.removeprefix("unix://")

        async def fill() -> None:
            async with coredis.Redis(unix_socket_path=socket, decode_responses=False) as redis:
                namespace = self.keys.prefix.rstrip(":")
                await seed(redis, namespace, time.time(), dead=dead)
            async with exq.open(url=self.url, namespace=namespace, mode="api") as q:
                await declare(q)

        # Playwright's own loop runs in this thread.
        filling = Thread(target=anyio.run, args=(fill,))
        filling.start()
        filling.join()


@pytest.fixture
def fleet(valkey: EmbeddedServer, namespace: str) -> Iterator[Fleet]:
    with server_client.Valkey(unix_socket_path=valkey.socket, decode_responses=False) as client:
        yield Fleet(valkey.url, Keys(namespace), client)
        client.flushall()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


Serve = Callable[..., str]


@pytest.fixture
def serve(fleet: Fleet, namespace: str) -> Iterator[Serve]:
    """Start ``exq ui`` with more options; where it is."""
    processes = list[subprocess.Popen[str]]()

    def serve(*options: str, url: str = fleet.url) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
        process = subprocess.Popen(
            [EXQ, "ui", "--port", "0", "--redis-url", url, "--namespace", namespace, *options],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout
        return process.stdout.readline().split()[2].rstrip("/")

    yield serve
    for process in processes:
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout
        process.stdout.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The sandbox of a browser needs rights that root in a container has not.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Open a page in a context of its own; at the end nothing was complained of and no other host was asked."""
    contexts, complaints = list[BrowserContext](), list[str]()

    def open_page(address: str, *, expected: int = 200, wide: int = 1360, high: int = 900, **settings: object) -> Page:
        given = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **settings}
        context = chromium.new_context(viewport={"width": wide, "height": high}, **given)  # type: ignore[arg-type]  # what it does not know it refuses
        contexts.append(context)
        page = context.new_page()
        host = urlsplit(address).netloc
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: None if urlsplit(request.url).netloc == host else complaints.append(f"asked {request.url}"),
        )
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == expected, page.inner_text("body")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
