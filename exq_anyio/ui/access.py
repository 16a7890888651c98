"""Who may do what: the actions, the hook that decides, and where a request must come from to change anything."""

from __future__ import annotations

import hmac
import inspect
import secrets
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

Action: TypeAlias = Literal[
    "read",
    "enqueue",
    "retry",
    "run",
    "kill",
    "delete",
    "edit",
    "reschedule",
    "pause",
    "quiet",
    "stop",
    "cancel",
]
"""What somebody wants to do: look at a page, or change something."""

ACTIONS: tuple[Action, ...] = get_args(Action)
"""All of them."""

Authorize: TypeAlias = Callable[[Request, Action], "bool | Awaitable[bool]"]
"""Whether a request may do something; asked anew for each request, once for each action that its page offers."""

TOKEN_COOKIE = "exq_token"
"""Holds what each form must hold too: a form of another site does not know it."""

_LOCAL_NAMES = ("localhost", "ip6-localhost")

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def allow_all(request: Request, action: Action) -> bool:
    """The explicit opt-out: everybody who reaches the application may do everything."""
    return True


def local_only(request: Request, action: Action) -> bool:
    """What holds without a hook: only this machine, by a local name and past no proxy, may do anything.

    A proxy on this machine would make everybody local; the name keeps out pages of other sites that have their own name
    resolve to this machine.
    """
    if any(header in request.headers for header in _FORWARDED):
        return False
    host = _host(f"//{request.headers.get('host', '')}")
    return request.client is not None and is_loopback(request.client.host) and is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether *host*, an address or a name, is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOCAL_NAMES or host.lower().endswith(".localhost")


def _host(address: str) -> str:
    """The name or address in *address*, ``""`` when there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


async def allowed(authorize: Authorize, request: Request, action: Action) -> bool:
    """What *authorize* says; only True is a yes."""
    answer = authorize(request, action)
    return (await answer if inspect.isawaitable(answer) else answer) is True


def new_token() -> str:
    """A token for the forms of one browser."""
    return secrets.token_urlsafe(24)


def check_origin(request: Request) -> None:
    """Refuse what a browser sends on behalf of another site.

    Raises:
        HTTPException: 403.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = origin is None or origin.partition("://")[2] == headers.get("host")
    if not same:
        raise HTTPException(403, "This came from another site. Open the page itself, and try again there.")


def check_token(request: Request, given: str) -> None:
    """Refuse a form that was not made for this browser.

    Raises:
        HTTPException: 403.
    """
    expected = request.cookies.get(TOKEN_COOKIE, "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        raise HTTPException(403, "This form is stale, or cookies are blocked. Load its page again, and try there.")
