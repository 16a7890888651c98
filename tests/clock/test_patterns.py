"""Queues whose names begin alike: found when they hold jobs, each with a limit of its own, and given up again."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio

import exq_anyio as exq
from exq_anyio import RedisError
from exq_anyio.config import QueueConfig
from exq_anyio.node.patterns import INTERVAL, LINGER, Patterns
from exq_anyio.testing.memory import MemoryStore
from exq_anyio.testing.world import World

from .sites import Site, at, queue_and_backup, working

began: list[tuple[float, str]] = []
running: Counter[str] = Counter()
most: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    began.clear()
    running.clear()
    most.clear()


@exq.worker
async def export(tenant: str, seconds: float = 0) -> None:
    began.append((at(), tenant))
    for name in (tenant, "all"):
        running[name] += 1
        most[name] = max(most[name], running[name])
    try:
        await anyio.sleep(seconds)
    finally:
        running.subtract((tenant, "all"))


async def put(site: Site, tenant: str, count: int = 1, seconds: float = 0) -> None:
    job = export.job(tenant, seconds).on(queue=f"exports:{tenant}")
    await site.q.enqueue_all([job] * count)


def tenants() -> list[str]:
    return [tenant for _, tenant in began]


def exports(site: Site) -> list[str]:
    return sorted(site.node.subscriptions())


async def test_a_queue_that_comes_is_found_within_a_second(world: World) -> None:
    async with working(world, export, queues=["exports:*"]) as site:
        await trio.sleep(20.5)
        await put(site, "acme")
        await trio.sleep(INTERVAL)
        assert [tenant for when, tenant in began if when <= 20.5 + INTERVAL] == ["acme"]
        assert site.node.subscriptions() == {"exports:*": 100, "exports:acme": 100}
        await put(site, "acme")
        await trio.testing.wait_all_tasks_blocked()
        assert len(began) == 2  # its line waits for the next one


async def test_what_does_not_begin_so_is_left_alone(world: World) -> None:
    async with working(world, export, queues=["exports:*"]) as site:
        await site.q.push(export.job("other").on(queue="export:other"))
        await trio.sleep(5)
    assert began == []


async def test_each_queue_has_the_whole_limit_for_itself_on_two_nodes_together(world: World) -> None:
    limit: Any = {"queues": {"exports:*": exq.Limit(fleet=2)}}
    async with working(world, export, **limit) as site, working(world, export, **limit, node_identifier="other"):
        for tenant in ("a", "b", "c"):
            await put(site, tenant, 8, seconds=10)
        await trio.sleep(45)
    assert [most[tenant] for tenant in ("a", "b", "c", "all")] == [2, 2, 2, 6]
    # Four rounds of ten seconds, and each begins within a second of what ended before it.
    assert len(began) == 24
    assert sorted(when // 10 for when, _ in began) == [number for number in range(4) for _ in range(6)]


async def test_a_place_is_not_held_by_a_node_that_has_no_slot_for_it(world: World) -> None:
    limit: Any = {"queues": {"exports:*": exq.Limit(fleet=2), "q": None}}
    async with working(world, export, **limit, total_concurrency=1) as full:
        await full.q.push(export.job("long", 60).on(queue="q"))
        await put(full, "a", 8, seconds=10)
        await trio.sleep(5.5)
        assert ("exports:a" in exports(full), world.hashes["limit:exports:a"]) == (True, {})
        async with working(world, export, **limit, node_identifier="other"):
            await trio.sleep(45)
            assert (most["a"], tenants().count("a")) == (2, 8)
            full.node.stop(grace=0)


async def test_a_queue_that_is_empty_is_given_up_and_found_again(world: World) -> None:
    async with working(world, export, queues=["exports:*"]) as site:
        await put(site, "acme")
        await put(site, "slow", seconds=LINGER + 5)
        await trio.sleep(LINGER - 1)
        assert exports(site) == ["exports:*", "exports:acme", "exports:slow"]
        await trio.sleep(3 * INTERVAL)
        assert exports(site) == ["exports:*", "exports:slow"]
        assert [line.queue for line in site.node.lines.all()] == ["exports:slow"]  # nothing is kept of the other
        await trio.sleep(2 * LINGER)
        assert exports(site) == ["exports:*"]
        await put(site, "acme")
        await trio.sleep(INTERVAL + 0.1)
        assert (sorted(tenants()[:2]), tenants()[2:]) == (["acme", "slow"], ["acme"])
        assert site.node.health().ended == {"exports:*": 3}


async def test_a_job_that_comes_while_its_queue_is_given_up_is_not_lost(world: World) -> None:
    for moment in range(20):
        began.clear()
        async with working(world, export, queues=["exports:*"]) as site:
            await put(site, "acme")
            while "exports:acme" not in exports(site):
                await trio.sleep(0.1)
            while exports(site) != ["exports:*"]:
                await trio.sleep(INTERVAL)
                if at() % 1 == 0:
                    for _ in range(moment):
                        await trio.lowlevel.checkpoint()
            await put(site, "acme")
            await trio.sleep(2 * INTERVAL)
            assert tenants() == ["acme", "acme"]
        assert queue_and_backup(world, "exports:acme") == ([], [])


async def test_one_job_behind_the_backlog_of_another_has_its_turn(world: World) -> None:
    async with working(world, export, queues=["exports:*"], total_concurrency=5) as site:
        await put(site, "big", 5_000, seconds=0.5)
        await trio.sleep(3)
        before = len(began)
        await put(site, "small")
        await trio.sleep(INTERVAL + 1)
        assert "small" in tenants()[: before + 5 * 3 + 1]  # those that begin until it is found, and no more
        assert most["all"] == 5
        site.node.stop(grace=0)


@pytest.mark.parametrize("order", ["strict", "weighted"])
async def test_in_a_group_they_have_one_place_and_take_turns_in_it(world: World, order: str) -> None:
    group = {"queues": {"urgent": 2, "exports:*": 1}, "concurrency": 1, "order": order}
    async with working(world, export, queues=[], groups={"g": group}) as site:
        await put(site, "a", 20, seconds=1)
        await put(site, "b", 20, seconds=1)
        await trio.sleep(INTERVAL + 0.5)
        await site.q.enqueue_all([export.job("urgent", 1).on(queue="urgent")] * 6)
        await trio.sleep(12)
        assert most["all"] == 1
        first = tenants()[2:12]
        assert first.count("urgent") >= 5  # one may have begun before the others were there
        rest = [tenant for tenant in tenants()[2:] if tenant != "urgent"]  # until both were found it may be one alone
        assert len(rest) >= 4
        assert all(one != next_one for one, next_one in pairwise(rest))
        if order == "strict":
            assert first[:5] == ["urgent"] * 5
        site.node.stop(grace=0)


async def test_a_queue_of_a_group_that_is_given_up_keeps_nobody_waiting(world: World) -> None:
    group = {"queues": ["exports:*", "low"], "concurrency": 1}
    async with working(world, export, queues=[], groups={"g": group}) as site:
        await put(site, "a")
        await trio.sleep(LINGER + 3)
        assert exports(site) == ["exports:*", "low"]
        await site.q.push(export.job("low").on(queue="low"))
        await trio.sleep(0.5)
        assert tenants() == ["a", "low"]


async def test_a_pattern_ends_with_its_queues_and_jobs_that_run_go_on(world: World) -> None:
    async with working(world, export, queues=["exports:*", "q"]) as site:
        await put(site, "a", seconds=5)
        await put(site, "b")
        await trio.sleep(INTERVAL + 0.1)
        await site.node.unsubscribe("exports:*")
        assert exports(site) == ["q"]
        await put(site, "a")
        await put(site, "c")
        await trio.sleep(3)
        assert sorted(tenants()) == ["a", "b"]
        await site.node.subscribe(QueueConfig("exports:*", 1))  # while one of its jobs still runs
        await trio.sleep(0.5)
        assert sorted(tenants()) == ["a", "a", "b", "c"]
        await trio.sleep(2)
        assert exports(site) == ["exports:*", "exports:a", "exports:c", "q"]
        assert [queue_and_backup(world, f"exports:{name}") for name in "abc"] == [([], [])] * 3


async def test_what_names_a_queue_itself_holds_before_all_and_the_longest_pattern_before_others(world: World) -> None:
    queues = {"*": 4, "exports:*": 3, "exports:big:*": 2, "exports:big:one": 1}
    async with working(world, export, queues=queues) as site:
        for queue in ("other", "exports:a", "exports:big:two", "exports:big:one"):
            await site.q.enqueue_all([export.job(queue, 1).on(queue=queue)] * 10)
        await trio.sleep(INTERVAL + 0.1)
        assert [most[name] for name in ("other", "exports:a", "exports:big:two", "exports:big:one")] == [4, 3, 2, 1]
        await site.node.unsubscribe("exports:big:*")
        await trio.sleep(2)
        assert site.node.subscriptions()["exports:big:two"] == 3
        site.node.stop(grace=0)


async def test_a_pattern_that_changes_changes_its_queues(world: World) -> None:
    async with working(world, export, queues={"exports:*": 1}) as site:
        await put(site, "a", 100, seconds=10)
        await trio.sleep(INTERVAL + 0.1)
        await site.node.subscribe(QueueConfig("exports:*", 3))
        await trio.sleep(1)
        assert running["a"] == 3
        await site.node.subscribe(QueueConfig("exports:a", 5))
        await trio.sleep(LINGER + 21.7)
        assert running["a"] == 5
        await site.node.unsubscribe("exports:*")
        assert exports(site) == ["exports:a"]  # it is there by itself now
        site.node.stop(grace=0)


async def test_a_queue_that_is_unsubscribed_by_its_own_name_stays_out(world: World) -> None:
    async with working(world, export, queues=["exports:*"]) as site:
        await put(site, "a")
        await trio.sleep(INTERVAL + 0.1)
        await site.node.unsubscribe("exports:a")
        await put(site, "a")
        await put(site, "b")
        await trio.sleep(3)
        assert tenants() == ["a", "b"]
        await site.node.subscribe(QueueConfig("exports:*"))
        await trio.sleep(0.1)
        assert tenants() == ["a", "b", "a"]


async def test_a_paused_queue_stays_paused_and_is_soon_not_even_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    fetch = MemoryStore.fetch

    async def counted(self: MemoryStore, claim: Any, queue: str, limit: int) -> Any:
        fetched.append(queue)
        return await fetch(self, claim, queue, limit)

    monkeypatch.setattr(MemoryStore, "fetch", counted)
    async with working(world, export, queues=["exports:*"]) as site:
        await put(site, "a")
        await trio.sleep(1)
        world.sets["paused"] |= {"exports:a", "exports:b"}
        await put(site, "a")
        await put(site, "b")
        await trio.sleep(2 * LINGER)
        fetched.clear()
        await trio.sleep(60.5)
        assert (fetched, exports(site)) == ([], ["exports:*"])
        world.sets["paused"].clear()
        await site.node.lines.recheck("exports:a")  # as the signal does
        await trio.sleep(0.1)
    assert sorted(tenants()) == ["a", "a", "b"]


async def test_without_patterns_nobody_looks_and_with_them_once_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    filled = MemoryStore.filled

    async def counted(self: MemoryStore, beginnings: Any) -> Any:
        looks.append(at())
        return await filled(self, beginnings)

    monkeypatch.setattr(MemoryStore, "filled", counted)
    async with working(world, export) as site:
        await trio.sleep(10)
        assert looks == []
        await site.node.subscribe(QueueConfig("exports:*"))
        await site.node.subscribe(QueueConfig("imports:*"))
        await put(site, "a", 50, seconds=0.1)
        await trio.sleep(9.5)
        assert 9 <= len(looks) <= 12
        await site.node.unsubscribe_all()
        looks.clear()
        await trio.sleep(5)
        assert (looks, site.node.subscriptions()) == ([], {})


async def test_an_outage_and_a_refusal_keep_nothing_from_being_found_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(world, export, queues=["exports:*"]) as site:
        await trio.sleep(0.5)
        site.store.refuse("filled", RedisError("memory", "no"))
        await trio.sleep(1)
        site.store.away()
        await trio.sleep(10)
        site.store.back()
        await put(site, "a")
        await trio.sleep(2)
        assert tenants() == ["a"]
    assert "cannot look for queues: error=Redis at memory: no" in caplog.messages


async def test_jobs_of_a_node_that_stops_are_back_in_their_queues(world: World) -> None:
    async with working(world, export, queues=["exports:*"], shutdown_timeout=1) as site:
        await put(site, "a", 3, seconds=100)
        await put(site, "b", 200, seconds=100)
        await trio.sleep(INTERVAL + 0.1)
        assert running["all"] == 103
    assert [len(place) for name in "ab" for place in queue_and_backup(world, f"exports:{name}")] == [3, 0, 200, 0]


async def test_many_queues_that_come_and_go_leave_nothing(world: World) -> None:
    async with working(world, export, queues={"exports:*": exq.Limit(fleet=1)}) as site:
        for round_ in range(5):
            for number in range(40):
                await put(site, f"{round_}-{number}")
            await trio.sleep(LINGER + 3)
        assert len(began) == 200
        assert site.node.lines.all() == []
        assert {key for key, held in world.hashes.items() if held and key.startswith("limit:")} == set()
        assert site.node.health().ended == {"exports:*": 200}


async def test_a_process_entry_shows_a_pattern_and_the_queues_that_are_there_for_it(world: World) -> None:
    async with working(world, export, queues={"exports:*": 3, "q": 1}) as site:
        await put(site, "a")
        await trio.sleep(INTERVAL + 0.1)
        capsules = site.node.lines.capsules()
    assert {name: (one.limit, dict(one.weights)) for name, one in capsules.items()} == {
        "exports:*": (3, {"exports:*": 0, "exports:a": 0}),
        "q": (1, {"q": 0}),
    }


def test_the_longest_pattern_that_fits_stands_for_a_queue() -> None:
    patterns = Patterns()
    for name in ("a:*", "*", "a:b:*"):
        patterns.put(QueueConfig(name))
    found = {queue: one.name for queue in ("a:b:c", "a:b:", "a:c", "b") if (one := patterns.of(queue))}
    assert found == {"a:b:c": "a:b:*", "a:b:": "a:b:*", "a:c": "a:*", "b": "*"}
    patterns.drop("*")
    assert patterns.of("b") is None
