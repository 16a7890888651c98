"""A job costs no more than it did.  Counted and not timed, so that a slow machine does not matter."""

from __future__ import annotations

import attrs
import coredis
import pytest

from exq_anyio import log_jobs
from exq_anyio.middleware import Run
from exq_anyio.node import settler
from exq_anyio.node.performer import Performer
from exq_anyio.redis.embedded import EmbeddedServer

from .meter import Cost, cost_of_a_job

KNOWN = Cost(round_trips=0.028, server_commands=1.22, calls=63.7)
"""What a job costs.  Who makes it cheaper lowers these; who makes it dearer has to say why it is worth it."""

MARGIN = 1.10


def too_much(cost: Cost) -> set[str]:
    """What a job costs more of than is known, and a tenth."""
    known, found = attrs.asdict(KNOWN), attrs.asdict(cost)
    return {what for what in known if found[what] > known[what] * MARGIN}


async def test_a_job_costs_no_more_than_it_did(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = await cost_of_a_job(redis, valkey.url, namespace, monkeypatch)
    assert not too_much(cost), cost
    assert cost.round_trips < 0.05


async def test_a_second_round_trip_is_too_much(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = Performer._run

    async def asks_first(self: Performer, run: Run) -> object:
        await self._store.unlock("token", run.job.jid)
        return await perform(self, run)  # type: ignore[arg-type]  # a Running

    monkeypatch.setattr(Performer, "_run", asks_first)
    cost = await cost_of_a_job(redis, valkey.url, namespace, monkeypatch)
    assert cost.round_trips > 1
    assert {"round_trips", "server_commands"} <= too_much(cost)


async def test_outcomes_written_one_by_one_are_too_much(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler, "GROUP_LIMIT", 1)
    cost = await cost_of_a_job(redis, valkey.url, namespace, monkeypatch)
    assert {"round_trips", "server_commands"} <= too_much(cost)


async def test_more_code_on_the_way_of_each_job_is_too_much(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = await cost_of_a_job(redis, valkey.url, namespace, monkeypatch, middleware=[log_jobs] * 4)
    assert too_much(cost) == {"calls"}
