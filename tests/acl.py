"""The users that SECURITY.md describes, and a way to run any test as one of them.

With ``EXQ_ACL=1`` the servers of the fixtures take everybody who names no user, as our engine in the tests, for the
described worker, in whatever process it is; the clients that tests look with are an administrator.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import coredis
import valkey

ADMIN = "admin"
"""User, and password, of the tests' own clients."""


def rules(user: str) -> list[str]:
    """The words that SECURITY.md gives *user*, without its password."""
    text = (Path(__file__).parent.parent / "SECURITY.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^ACL SETUSER {user} on >PASSWORD (.*?)^```", text, re.M | re.S)
    return [str(word) for word in block.split()]


def server_args(*given: str) -> list[str]:
    """What a server of the tests is started with: *given*, and with ``EXQ_ACL`` the users, if it names none."""
    if not os.environ.get("EXQ_ACL") or "--user" in given:
        return list(given)
    words = ["~*" if word == "~exq:*" else word for word in rules("exq-worker")]
    admin = ["--user", ADMIN, "on", f">{ADMIN}", "~*", "&*", "+@all"]
    return [*given, "--user", "default", "on", "nopass", *words, *admin]


def make_clients_admin() -> None:
    """Have the clients that tests make log in as the administrator."""
    for client in (coredis.Redis, valkey.Valkey):
        _log_in(client)


def _log_in(client: type) -> None:
    made = client.__init__  # type: ignore[misc]

    def init(self: object, *args: object, **options: object) -> None:
        made(self, *args, **{"username": ADMIN, "password": ADMIN, **options})

    client.__init__ = init  # type: ignore[misc]
