"""Threads that end their jobs one after the other have their outcomes written together."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.exchange import Claim
from exq_anyio.node import performer, settler
from exq_anyio.outcome import Settlement
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.store import RedisStore
from exq_anyio.worker import FunctionWorker

JOBS = 10


@exq.worker(name="Blocks")
def blocks(seconds: float) -> None:
    time.sleep(seconds)


@exq.worker(name="Sleeps")
async def sleeps(seconds: float) -> None:
    await anyio.sleep(seconds)


@pytest.mark.parametrize(("worker", "together"), [(blocks, True), (sleeps, False)])
async def test_outcomes_of_threads_wait_for_each_other(
    valkey: EmbeddedServer,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    worker: FunctionWorker[[float], None],
    together: bool,
) -> None:
    groups: list[int] = []
    settle = RedisStore.settle

    async def counts(
        self: RedisStore, claim: Claim, number: int, group: Sequence[Settlement], now: float
    ) -> list[bool]:
        groups.append(len(group))
        return await settle(self, claim, number, group, now)

    monkeypatch.setattr(RedisStore, "settle", counts)
    monkeypatch.setattr(settler, "GATHER", 1.0)
    monkeypatch.setattr(performer, "BRIEF", 10.0)
    async with exq.open(url=valkey.url, namespace=namespace, workers=[worker], queues={"default": JOBS}) as q:
        await q.enqueue_all([worker.job(number / 100) for number in range(JOBS)])
        with anyio.fail_after(10):
            while sum(groups) < JOBS:
                await anyio.sleep(0.01)
    assert (len(groups) <= 3) == together, groups
