"""What the jobs of one moment wrote down of themselves, and what Redis holds afterwards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import attrs
import coredis
import msgspec

Record = dict[str, Any]


@attrs.define
class Ledger:
    """What became of each job, by its name, the first of its arguments."""

    accepted: set[str] = attrs.field(factory=set)
    """Their enqueue returned, or they were there before."""
    uncertain: set[str] = attrs.field(factory=set)
    """Their enqueue was cut short: they may be there or not."""
    refused: set[str] = attrs.field(factory=set)
    """Another job held their lock."""
    done: Counter[str] = attrs.field(factory=Counter)
    """Runs that returned."""
    failed: Counter[str] = attrs.field(factory=Counter)
    """Runs that raised of themselves."""
    snoozed: Counter[str] = attrs.field(factory=Counter)
    """Runs that put the job off."""
    running: int = 0
    """Jobs in progress."""
    begun: anyio.Event = attrs.field(factory=anyio.Event)
    """Set as soon as one is."""
    end: float = math.inf
    """When the instance is to end, by the clock of the loop."""
    in_progress: int | None = None
    """Jobs that were in progress when the instance was ended; None when it was not yet open."""

    @contextmanager
    def run(self) -> Iterator[None]:
        self.running += 1
        self.begun.set()
        try:
            yield
        finally:
            self.running -= 1


@attrs.frozen
class Remains:
    """What an instance left in Redis."""

    keys: set[str]
    """Every key, without its prefix."""
    jobs: dict[str, list[tuple[str, Record]]]
    """For each job by its name, every place that it is in, and its record there."""
    counters: tuple[int, int]
    """The runs counted as processed and as failed."""
    locks: dict[str, str]
    """For each unique lock the jid of its holder."""


def name_of(payload: bytes) -> tuple[str, Record]:
    """A job's name, its first argument; and its record, empty for what is no job, whose name is its text."""
    try:
        record = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload.decode("utf-8", "replace").rstrip(), {}
    if not isinstance(record, dict):
        return payload.decode("utf-8", "replace").rstrip(), {}
    return record["args"][0], record


async def remains(redis: coredis.Redis[bytes], namespace: str) -> Remains:
    """Everything under *namespace*."""
    prefix = f"{namespace}:"
    keys = {key.decode().removeprefix(prefix) for key in await redis.keys(f"{prefix}*")}
    jobs: dict[str, list[tuple[str, Record]]] = {}
    for key in sorted(keys):
        if key.startswith("queue:"):
            members = await redis.lrange(prefix + key, 0, -1)
        elif key in ("retry", "schedule", "dead"):
            members = list(await redis.zrange(prefix + key, 0, -1))
        else:
            continue
        for member in members:
            name, record = name_of(member)
            jobs.setdefault(name, []).append((key, record))
    counters = [int(await redis.get(f"{prefix}stat:{name}") or 0) for name in ("processed", "failed")]
    locks = {}
    for key in keys:
        if key.startswith("unique:"):
            locks[key.removeprefix("unique:")] = (await redis.get(prefix + key) or b"").decode()
    return Remains(keys, jobs, (counters[0], counters[1]), locks)
