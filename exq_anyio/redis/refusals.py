"""What coredis and the system say of a failure, as errors of ours."""

from __future__ import annotations

import os
import socket
import ssl

import anyio
import coredis.exceptions as refused

from ..errors import ExqError, LostClaim, RedisError, RedisFull, RedisUnavailable, WrongType

_AWAY = (
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY ",
    "MISCONF",
    "NOREPLICAS",
    "max number of clients",
    "instance state changed",  # to those who wait with a blocking command, when it becomes a replica
)
"""Answers that mean: not now.  The command was not executed."""


_NOT_ALLOWED = ("ACL failure in script", "The user executing the script can't")
"""Answers of a script whose user may not do what it does: Valkey's and Redis's."""


class Silence(refused.ConnectionError):
    """None of several servers serves; the message says why of each, and is not cut."""


def translate(error: Exception, address: str, *, maybe_done: bool) -> ExqError:
    """An error of coredis, or of the system, as one of ours."""
    text = str(error)
    match error:
        case ExqError():
            return error
        case TimeoutError():
            problem = "no answer in time; is it a Redis there, and is it overloaded or cut off?"
            return RedisUnavailable(address, problem, maybe_done=maybe_done)
        case refused.InvalidResponse() | refused.ProtocolError():
            problem = f"what answers there is no Redis ({_first_words(text)}); check the address"
            return RedisUnavailable(address, problem, maybe_done=maybe_done)
        case refused.BusyLoadingError():
            return RedisUnavailable(address, "it is still loading its data")
        case refused.ReadOnlyError():
            return RedisUnavailable(address, "it is a read-only replica; connect to the primary")
        case refused.RedisClusterError():
            # MOVED, ASK, CLUSTERDOWN, TRYAGAIN: whose our keys are is asked again at the next connection.
            return RedisUnavailable(address, "this node of the cluster does not serve our keys now")
        case refused.AuthenticationError():
            return RedisError(address, f"{reason(error)}; check username and password")
        case refused.AuthorizationError():
            return _not_allowed(text, address)
        case refused.ConnectionError() | OSError():
            return RedisUnavailable(
                address, f"{reason(error)}; check the address and that the server runs", maybe_done=maybe_done
            )
        case refused.ResponseError() | refused.RedisError():
            return _answer(text, address)
        case _:
            return RedisUnavailable(address, f"no Redis answers there ({type(error).__name__})", maybe_done=maybe_done)


def _answer(text: str, address: str) -> ExqError:
    if "EXQTYPE " in text:
        expected, found, key = text.partition("EXQTYPE ")[2].split(" ", 2)
        return WrongType(address, key.partition(" script:")[0], found, expected)
    if "EXQLOST" in text:
        return LostClaim("this node")
    if "OOM " in text:
        return RedisFull(address, "it is at maxmemory and takes no more; free memory or raise maxmemory")
    if any(word in text for word in _NOT_ALLOWED):
        return _not_allowed(text, address)
    if any(word in text for word in _AWAY):
        return RedisUnavailable(address, f"it cannot serve now: {_first_words(text)}")
    return RedisError(address, _first_words(text))


def _not_allowed(text: str, address: str) -> RedisError:
    return RedisError(address, f"the user may not do this ({_first_words(text)}); see the documented ACL rules")


def reason(error: BaseException) -> str:
    """The deepest reason in some words: coredis wraps what the system said, and a task group does."""
    if isinstance(error, BaseExceptionGroup):
        return reason(error.exceptions[0])
    if error.__cause__ is not None:
        return reason(error.__cause__)
    text = str(error)
    match error:
        case TimeoutError():
            return "no connection in time"
        case refused.AuthenticationError():
            # What it says for a wrong password is long; without one, it explains HELLO.
            wanted = "HELLO must be" in text or "NOAUTH" in text
            return "it wants a password" if wanted else "it refuses the user or password"
        case Silence():
            return text
        case anyio.EndOfStream() | anyio.BrokenResourceError() | anyio.ClosedResourceError() if not text:
            return "the connection was closed"
        case ssl.SSLError() | socket.gaierror():  # their numbers are others than the system's
            return _first_words(error.strerror or text)
        case OSError(errno=int(number)):
            return os.strerror(number)  # asyncio adds the address, which is said before
        case _:
            return _first_words(text) or type(error).__name__


def _first_words(text: str) -> str:
    return text.splitlines()[0][:200] if text else ""
