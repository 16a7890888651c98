"""Looks at the web UI as a browser without a script would: pages, links, forms and their buttons."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlencode

import anyio
import attrs
import httpx
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream
from starlette.requests import ClientDisconnect


@attrs.define
class Form:
    """A form of a page."""

    action: str
    method: str
    fields: list[tuple[str, str]] = attrs.field(factory=list)
    """Hidden and typed fields, as they stand."""
    boxes: list[tuple[str, str]] = attrs.field(factory=list)
    """Checkboxes."""
    buttons: list[tuple[str, str, str]] = attrs.field(factory=list)
    """Name, value, and what stands on it."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._form: Form | None = None
        self._open: str = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append((tag, given))
        self._open = tag if tag in ("script", "style", "textarea", "button") else self._open
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "form":
            self._form = Form(given.get("action") or "", given.get("method") or "get")
            self.forms.append(self._form)
        elif self._form is not None and tag == "button":
            self._form.buttons.append((name, value, ""))
        elif self._form is not None and name and tag in ("input", "textarea"):
            (self._form.boxes if given.get("type") == "checkbox" else self._form.fields).append((name, value))

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == self._open else self._open
        self._form = None if tag == "form" else self._form

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.texts.append(data)
        if self._form is not None and self._open == "textarea":
            name, _ = self._form.fields[-1]
            self._form.fields[-1] = (name, data)
        if self._form is not None and self._open == "button":
            name, value, text = self._form.buttons[-1]
            self._form.buttons[-1] = (name, value, text + data)


class Page:
    """An answer, read."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.html = response.text
        self.path = response.url.raw_path.decode()
        reader = _Reader()
        reader.feed(self.html)
        self.forms, self.links, self.tags = reader.forms, reader.links, reader.tags
        self.text = " ".join(" ".join(reader.texts).split())

    def __repr__(self) -> str:
        return f"<Page {self.path} {self.status} {self.text[:300]!r}>"

    def form(self, button: str, holds: str = "") -> Form:
        """The form with a *button* of this text, and a field or box whose value holds *holds*."""
        for form in self.forms:
            if any(text.strip() == button for _, _, text in form.buttons) and (
                not holds or any(holds in value for _, value in (*form.fields, *form.boxes))
            ):
                return form
        raise AssertionError(f"no form has the button {button!r} and {holds!r}: {self!r}")

    def buttons(self) -> set[str]:
        return {text.strip() for form in self.forms for _, _, text in form.buttons}


class Visitor:
    """One browser."""

    def __init__(
        self, app: Any, base: str = "http://localhost", client: tuple[str, int] = ("127.0.0.1", 50_000), root: str = ""
    ) -> None:
        transport = httpx.ASGITransport(app=app, client=client, root_path=root, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url=base, follow_redirects=True)

    async def __aenter__(self) -> Visitor:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, error, trace)

    async def get(self, path: str, **headers: str) -> Page:
        return Page(await self.client.get(path, headers=headers))

    async def send(self, path: str, fields: list[tuple[str, str]], **headers: str) -> Page:
        """Send a form as it is given."""
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": "http://localhost", **headers}
        return Page(await self.client.post(path, content=urlencode(fields), headers=headers))

    async def press(
        self,
        path: str,
        button: str,
        holds: str = "",
        *,
        choose: Callable[[str], bool] = lambda value: False,
        typed: Mapping[str, str] | None = None,
    ) -> Page:
        """Press a button on the page at *path*, with the boxes that *choose* takes and what was *typed*."""
        page = await self.get(path)
        assert page.status == 200, page
        form = page.form(button, holds)
        name, value = next((name, value) for name, value, text in form.buttons if text.strip() == button)
        fields = [(field, (typed or {}).get(field, value)) for field, value in form.fields]
        chosen = [(field, value) for field, value in form.boxes if choose(value)]
        return await self.send(form.action, [*fields, *chosen, *([(name, value)] if name else [])])

    async def json(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the JSON API."""
        response = await self.client.request(method, f"/api{path}", json=body if method == "POST" else None)
        return response.status_code, response.json()


@attrs.define
class Answer:
    """An answer while it comes."""

    parts: MemoryObjectReceiveStream[bytes]
    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)

    async def event(self, name: str) -> Any:
        """The data of the next server-sent event of that name."""
        with anyio.fail_after(10):
            async for part in self.parts:
                lines = part.decode().splitlines()
                if lines and lines[0] == f"event: {name}":
                    return msgspec.json.decode(lines[1].removeprefix("data: "))
        raise AssertionError(f"the stream ended before an event {name}")

    async def rest(self) -> bytes:
        """All that is still to come."""
        with anyio.fail_after(10):
            return b"".join([part async for part in self.parts])


@asynccontextmanager
async def asking(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes] = (b"",),
    spec: str = "2.3",
) -> AsyncGenerator[Answer, None]:
    """Ask *app* as a server does, and read the answer as it comes; the browser leaves at the end of the block."""
    path, _, query = path.partition("?")
    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": spec}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000), "server": ("localhost", 80), "state": {},
    }  # fmt: skip
    into, out = anyio.create_memory_object_stream[bytes](100)
    answer, started, left = Answer(out), anyio.Event(), anyio.Event()
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Mapping[str, Any]:
        if waiting:
            return waiting.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if left.is_set() and spec >= "2.4":
            raise OSError("the browser has gone")
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            started.set()
        elif message.get("body") and not left.is_set():
            await into.send(bytes(message["body"]))

    async def serve() -> None:
        with into:
            try:
                await app(scope, receive, send)
            except ClientDisconnect:
                assert left.is_set()

    with out:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await started.wait()
            yield answer
            left.set()
