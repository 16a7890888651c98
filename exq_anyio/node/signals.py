"""What a node is told through Redis: Sidekiq's and Exq's signals, and our own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
import msgspec

from ..errors import RedisError, RedisUnavailable
from ..exchange import Claim
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

QUIET_SIGNALS, STOP_SIGNALS = frozenset({"TSTP", "USR1"}), frozenset({"TERM", "INT"})

PAUSE_SIGNALS = frozenset({"PAUSE", "RESUME"})
"""Followed by the name of the queue; what holds is in Redis, and the signal only says that it has changed."""


async def obey_signals(
    store: Store, claim: Claim, poll_timeout: float, obey: Callable[[str], Awaitable[object]]
) -> None:
    """Give each signal that is sent to the node of *claim* to *obey*."""
    while True:
        try:
            signal = await store.signal(claim, poll_timeout)
        except RedisUnavailable:
            await store.available()
            continue
        except RedisError as error:
            logger.error("cannot read signals: error=%s", error)
            await anyio.sleep(1.0)
            continue
        if signal is not None:
            await obey(signal)


def cancelled_jid(signal: str) -> str | None:
    """The job that *signal* cancels: ``CANCEL <jid>``, or Exq's ``CANCEL:{"jid": ...}``; None if it is neither."""
    if signal.startswith("CANCEL "):
        return signal.removeprefix("CANCEL ")
    if not signal.startswith("CANCEL:"):
        return None
    try:
        named = msgspec.json.decode(signal.removeprefix("CANCEL:"))
    except (msgspec.DecodeError, RecursionError):
        return None
    jid = named.get("jid") if isinstance(named, dict) else None
    return jid if isinstance(jid, str) else None
