"""Reads what a request brings: a form, or JSON; bounded, and without other packages."""

from __future__ import annotations

from contextlib import aclosing
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..job import JSON

MOST_BYTES = 2 << 20
"""Of a form or a document: a job of the default ``max_payload_bytes`` fits."""

MOST_FIELDS = 1_000


async def read(request: Request) -> bytes:
    """The body.

    Raises:
        HTTPException: 413, it is too large.
    """
    parts, size = list[bytes](), 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > MOST_BYTES:
                raise HTTPException(413, f"That is more than {MOST_BYTES:,} bytes.")
            parts.append(part)
    return b"".join(parts)


class Form:
    """The fields of a form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def chosen(self) -> tuple[str, list[str]]:
        """The action, and the references of the entries: the button of a row has both in one value."""
        action, _, ref = self.get("row").partition(" ")
        return (action, [ref]) if action else (self.get("action"), self.all("ref"))

    def get(self, name: str) -> str:
        """The first value of a field, ``""`` when it is not there."""
        return next((value for field, value in self._pairs if field == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for field, value in self._pairs if field == name]

    def fields(self) -> dict[str, str]:
        """The first value of each."""
        return {name: self.get(name) for name, _ in self._pairs}


async def form(request: Request) -> Form:
    """The form that was sent.

    Raises:
        HTTPException: 400, 413 or 415, it is none, or too large.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise HTTPException(415, "A form is sent as application/x-www-form-urlencoded.")
    try:
        text = (await read(request)).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return Form(pairs)


async def json(request: Request) -> dict[str, JSON]:
    """The JSON object that was sent; the type is asked for, since no other site's form can send it.

    Raises:
        HTTPException: 400, 413 or 415, it is none, or too large.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send application/json, {} where there is nothing to say.")
    raw = await read(request)
    try:
        found = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not JSON that can be read.") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "The body must be a JSON object.")
    return found
