"""Counts what jobs cost, without a clock: round trips, commands that the server executes, calls of our functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import anyio
import anyio.lowlevel
import attrs
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.connect import Argument, Link, Reply

from ..exq.scene import payload

OURS = str(Path(exq.__file__).parent)
AT_ONCE, JOBS = 100, 500


@attrs.frozen
class Cost:
    """What one job costs."""

    round_trips: float
    """Commands that this process sends."""
    server_commands: float
    """Commands that the server executes, those inside of scripts among them."""
    calls: float
    """Calls of functions of this package, and steps of its coroutines."""


class Together:
    """Jobs that end together, so that how they are grouped owes nothing to the machine."""

    def __init__(self) -> None:
        self.left = JOBS
        self.over = anyio.Event()
        self._waiting = 0
        self._go = anyio.Event()

    async def perform(self) -> None:
        """Wait until as many jobs run as may run at a time."""
        self._waiting += 1
        go = self._go
        if self._waiting == AT_ONCE:
            self._waiting, self._go = 0, anyio.Event()
            go.set()
        await go.wait()
        self.left -= 1
        if not self.left:
            self.over.set()


async def cost_of_a_job(
    redis: coredis.Redis[bytes], url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> Cost:
    """Perform ``JOBS`` no-op jobs, ``AT_ONCE`` at a time, in an instance with *settings*, and count."""
    together = Together()

    @exq.worker(name="Together")
    async def job() -> None:
        await together.perform()

    await redis.lpush(f"{namespace}:queue:default", [payload("Together", number=number) for number in range(JOBS)])
    sent = 0
    request = Link.request

    async def counted(self: Link, command: bytes, *args: Argument, timeout: float | None = None) -> Reply:
        nonlocal sent
        sent += 1
        return await request(self, command, *args, timeout=timeout)

    monkeypatch.setattr(Link, "request", counted)
    # Without services: they cost nothing more when there are more jobs.
    settings |= {"heartbeat_enable": False, "scheduler_enable": False, "queues": [], "workers": [job]}
    async with exq.open(settings, url=url, namespace=namespace) as q:
        assert q._node is not None
        before, sent = await executed(redis), 0
        with calls() as called:
            await q.subscribe("default", AT_ONCE)
            await together.over.wait()
            while q._node.performer.running:  # until the last outcome is written
                await anyio.lowlevel.checkpoint()
        trips, after = sent, await executed(redis)
    return Cost(trips / JOBS, (after - before - 1) / JOBS, called[0] / JOBS)


async def executed(redis: coredis.Redis[bytes]) -> int:
    """How many commands the server has executed so far."""
    return int(str((await redis.info("stats"))["total_commands_processed"]))


@contextmanager
def calls() -> Iterator[list[int]]:
    """How many functions of ours are called in the block, in this thread."""
    count = [0]

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            count[0] += 1

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(former)
