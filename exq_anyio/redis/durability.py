"""Says at the start what a server is set to that loses jobs: it may evict them, or it keeps nothing on disk."""

from __future__ import annotations

import logging
from typing import cast

from ..errors import RedisError, RedisUnavailable
from .connect import Connections

logger: logging.Logger = logging.getLogger("exq_anyio")


async def warn_of_loss(connections: Connections) -> None:
    """Log one warning if the settings of the server may lose jobs; nothing where it does not tell them (ACL).

    Raises:
        RedisUnavailable: it cannot be reached.
    """
    try:
        risks = await _risks(connections)
    except RedisUnavailable:
        raise
    except RedisError:
        return
    if risks:
        logger.warning("Redis may lose jobs: address=%s reason=%s", connections.address, "; ".join(risks))


async def _risks(connections: Connections) -> list[str]:
    request = connections.commands.request
    risks: list[str] = []
    info = _fields(await request(b"INFO", "memory")) | _fields(await request(b"INFO", "persistence"))
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        # The volatile policies take only keys that expire, which no job is in.
        risks.append(f"maxmemory-policy {policy} evicts queues when memory is full, set noeviction")
    if info.get("aof_enabled") == "0" and await _saves_never(connections):
        risks.append("nothing is kept on disk, set appendonly yes")
    return risks


async def _saves_never(connections: Connections) -> bool:
    reply = await connections.commands.request(b"CONFIG GET", "save")
    if isinstance(reply, dict):
        return reply.get(b"save") == b""
    return isinstance(reply, list) and reply[1:] == [b""]


def _fields(reply: object) -> dict[str, str]:
    lines = cast("bytes", reply).decode().splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
