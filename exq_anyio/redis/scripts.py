"""The Lua scripts, loaded from the package and called by name.

A script is called by its hash; a server that does not know it (new, restarted, flushed) says so before it does
anything, and is then sent the whole text.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import attrs
import coredis.exceptions as refused

from ..errors import RedisError
from .connect import Argument, Connections, Reply


@attrs.frozen
class Script:
    """A script's text and the hash that the server knows it by."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``, with the part that stands before every script."""
    folder = files(__package__) / "lua"
    text = (folder / "head.lua").read_text() + "\n" + (folder / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run(connections: Connections, name: str, keys: list[str], args: list[Argument]) -> Reply:
    """Run the script *name* and return its reply."""
    wanted = script(name)
    request = connections.commands.request
    try:
        return await request(b"EVALSHA", wanted.sha, len(keys), *keys, *args)
    except RedisError as error:
        if not isinstance(error.__cause__, refused.NoScriptError):
            raise
    return await request(b"EVAL", wanted.text, len(keys), *keys, *args)
