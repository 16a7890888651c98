"""The style sheet, the scripts and what else never changes: read once, and cached by browsers for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


class Assets:
    """All files under ``static/``, by path; a digest over all of them is part of their addresses."""

    def __init__(self) -> None:
        self._files: Mapping[str, bytes] = dict(_walk(files(__package__) / "static", ""))
        digest = hashlib.blake2s(digest_size=8)
        for path, content in sorted(self._files.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        self.digest: str = digest.hexdigest()
        """16 hex digits."""

    def path(self, name: str) -> str:
        """Where the file *name* is, below the application."""
        assert name in self._files, name
        return f"/static/{self.digest}/{name}"

    async def serve(self, request: Request) -> Response:
        """The file of the request; one with another digest is that of now, and not cached."""
        name: str = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            raise HTTPException(404, "There is no such file.")
        same = request.path_params["digest"] == self.digest
        headers = {"cache-control": "public, max-age=31536000, immutable" if same else "no-cache"}
        return Response(content, media_type=_TYPES.get(name.rpartition(".")[2], _TYPES["txt"]), headers=headers)


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in directory.iterdir():
        if item.is_dir():
            yield from _walk(item, f"{prefix}{item.name}/")
        elif item.name.rpartition(".")[2] in _TYPES or item.name == "LICENSE":
            yield f"{prefix}{item.name}", item.read_bytes()
