"""Runs the real Sidekiq: its client and API, its worker process, its web page."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import attrs

RUBY = Path(__file__).parent / "ruby"


@attrs.frozen
class Ruby:
    """Sidekiq's side of one Redis."""

    url: str
    """Where Redis is."""

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "REDIS_URL": self.url, "LANG": "C.UTF-8"}

    async def say(self, question: str) -> Any:
        """The value of the Ruby expression *question*, which sees the workers and Sidekiq's API."""
        done = await anyio.run_process(
            ["ruby", f"-I{RUBY}", str(RUBY / "answer.rb")], input=question.encode(), env=self.environment, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        (value,) = json.loads(done.stdout)
        return value

    @asynccontextmanager
    async def working(
        self, *queues: str, seconds: int = 2, program: str = "workers.rb"
    ) -> AsyncIterator[anyio.abc.Process]:
        """A real Sidekiq process at work on *queues*; it ends as ``kill`` ends one, with *seconds* for its jobs."""
        named = [part for queue in queues or ("default",) for part in ("-q", queue)]
        command = ["sidekiq", "-r", str(RUBY / program), "-c", "5", "-t", str(seconds), "-e", "production", *named]
        # Its log goes nowhere: a pipe that nobody reads would stop it.
        async with await anyio.open_process(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                with anyio.move_on_after(15, shield=True):
                    await process.wait()

    @asynccontextmanager
    async def web(self) -> AsyncIterator[Browser]:
        """Sidekiq's web page, and somebody who looks at it."""
        async with await anyio.open_process(
            ["ruby", str(RUBY / "web.rb")], env=self.environment, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert process.stdout is not None
                port = int(await process.stdout.receive(16))
                yield Browser(f"http://127.0.0.1:{port}")
            finally:
                process.kill()


@attrs.frozen
class Page:
    """What a page answered."""

    path: str
    status: int
    text: str

    def links(self, under: str) -> list[str]:
        """The paths of the links that begin with *under*, each once."""
        found = re.findall(r'href="([^"]+)"', self.text)
        return sorted({link for link in found if link.startswith(under)})


class Browser:
    """Follows links and presses buttons, with a cookie and with the tokens that the forms hold."""

    def __init__(self, address: str) -> None:
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._address = address
        self._opener = urllib.request.build_opener(cookies)

    async def get(self, path: str) -> Page:
        return await anyio.to_thread.run_sync(self._open, path, None)

    async def press(self, page: str, action: str, button: str, **fields: str) -> Page:
        """Press *button* of the form on *page* that goes to *action* (``""``: to the page); the page that follows."""
        shown = await self.get(page)
        form = _form(shown.text, action, button)
        return await anyio.to_thread.run_sync(self._open, action or page, {**form, **fields})

    def _open(self, path: str, form: Mapping[str, str] | None) -> Page:
        sent = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            with self._opener.open(self._address + urllib.parse.quote(path, "/?=&%:|"), sent, timeout=30) as answer:
                return Page(path, answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(path, error.code, error.read().decode("utf-8", "replace"))


def _form(text: str, action: str, button: str) -> dict[str, str]:
    """The hidden fields and the pressed button of a form, as a browser would send them."""
    for form in re.findall(r"<form.*?</form>", text, re.S):
        target = re.search(r'^<form[^>]* action="([^"]*)"', form)
        pressed = re.search(rf'<(?:input|button)[^>]*name="{button}"[^>]*>', form)
        if (target[1] if target else "") == action and pressed:
            hidden = re.findall(r"<input[^>]*type='?\"?hidden[^>]*>", form)
            pairs = {_attribute(field, "name"): _attribute(field, "value") for field in [*hidden, pressed[0]]}
            return {name: value for name, value in pairs.items() if name}
    raise AssertionError(f"no button {button!r} that is sent to {action!r}")


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf"""{name}=(?:"([^"]*)"|'([^']*)')""", tag)
    return (found[1] or found[2] or "") if found else ""
