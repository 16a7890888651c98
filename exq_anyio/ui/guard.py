"""Around every answer: the headers that keep a page to itself; and answers that are streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from starlette.datastructures import MutableHeaders
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Handle: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Stream(StreamingResponse):
    """A streamed answer whose generator is closed where it was made, however the stream ends.

    Starlette leaves it to the garbage collector when the browser has gone.
    """

    def __init__(self, content: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(content, media_type=media_type, headers={"x-accel-buffering": "no"})
        self._content = content

    async def stream_response(self, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        async with aclosing(self._content):
            await super().stream_response(send)


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing of another host."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would then say `Origin: null` of our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-robots-tag": "noindex, nofollow",
}


def guarded(app: ASGIApp) -> Handle:
    """*app*, with our headers on every answer; nothing is kept by caches that does not say so."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await app(scope, receive, send_guarded)

    return handle
