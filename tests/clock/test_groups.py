"""Queues that share a limit: in a strict order, by weight, or one after the other; and a limit for all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
import trio

from exq_anyio import ConfigError, RedisError, worker
from exq_anyio.config import Config
from exq_anyio.group import QueueGroup
from exq_anyio.load import load_config
from exq_anyio.node.dequeuer import Line, LocalLimit
from exq_anyio.node.shared import Shared, ask_all
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


@worker
async def lasts(name: str, seconds: float) -> None:
    began.append((at(), name))
    running["all"] += 1
    most["all"] = max(most["all"], running["all"])
    await anyio.sleep(seconds)
    running["all"] -= 1


async def fill(site: Site, *names: str, seconds: float = 1) -> None:
    """Jobs that last a second, each called like its queue and a number."""
    for name in names:
        await site.q.enqueue(name[0], lasts, [name, seconds])


def group(order: str = "strict", concurrency: float = 1, **queues: int) -> dict[str, Any]:
    named = queues or {"a": 1, "b": 1, "c": 1}
    return {"groups": {"g": {"queues": named, "concurrency": concurrency, "order": order}}, "queues": []}


# In a strict order


async def test_a_free_slot_goes_to_the_first_queue_that_is_not_empty(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, "c1", "b1", "a1", "c2", "b2", "a2")
    async with working(world, lasts, **group()):
        await trio.sleep(6.5)
    assert [name for _, name in began] == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert [when for when, _ in began] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.1)


async def test_a_job_of_a_better_queue_that_comes_meanwhile_is_next(world: World) -> None:
    async with working(world, lasts, **group()) as site:
        await fill(site, "c1", "c2", "c3")
        await trio.sleep(0.5)
        await fill(site, "a1")  # its queue was waited for, and there is no slot
        await trio.sleep(0.25)
        assert [len(place) for place in queue_and_backup(world, "a")] == [1, 0]
        await trio.sleep(4)
    assert [name for _, name in began] == ["c1", "a1", "c2", "c3"]
    assert most["all"] == 1


async def test_idle_queues_that_all_get_a_job_at_once_do_not_exceed_the_limit(world: World) -> None:
    async with working(world, lasts, **group(concurrency=2)) as site:
        await trio.sleep(1)
        await fill(site, "a1", "b1", "c1", "a2", "b2", "c2")
        await trio.sleep(4)
    assert len(began) == 6
    assert most["all"] == 2
    assert [place for queue in "abc" for place in queue_and_backup(world, queue)] == [[]] * 6


async def test_a_queue_that_cannot_be_taken_from_keeps_nobody_waiting(world: World) -> None:
    world.sets["paused"].add("a")
    async with working(world, lasts, **group()) as site:
        await fill(site, "a1", "b1", "b2")
        await trio.sleep(2.5)
        assert [name for _, name in began] == ["b1", "b2"]
        await site.node.unsubscribe("a")
        await fill(site, "c1")
        await trio.sleep(2)
    assert [name for _, name in began] == ["b1", "b2", "c1"]


async def test_a_queue_that_redis_refuses_keeps_nobody_waiting(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, "b1")
    async with working(world, lasts, **group()) as site:
        site.store.refuse("fetch", RedisError("memory", "no"))
        await trio.sleep(0.5)
        assert [name for _, name in began] == ["b1"]


async def test_an_outage_leaves_the_order_as_it_was(world: World) -> None:
    async with working(world, lasts, **group()) as site:
        await trio.sleep(1)
        site.store.away()
        await trio.sleep(10)
        site.store.back()
        await trio.sleep(1)
        await fill(site, "c1", "b1", "a1")
        await trio.sleep(4)
    assert sorted(name for _, name in began) == ["a1", "b1", "c1"]
    assert most["all"] == 1


# By weight


async def test_each_queue_has_its_turn_as_often_as_it_weighs(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, *(f"{queue}{number}" for queue in "abc" for number in range(20)))
    async with working(world, lasts, **group("weighted", a=3, b=2, c=1)):
        await trio.sleep(12.9)
    assert Counter(name[0] for _, name in began[1:]) == {"a": 6, "b": 4, "c": 2}  # who asked first had nobody beside it
    assert "aaa" not in "".join(name[0] for _, name in began)


async def test_an_empty_queue_leaves_its_share_to_the_others(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, *(f"c{number}" for number in range(5)))
    async with working(world, lasts, **group("weighted", a=1000, b=1000, c=1)):
        await trio.sleep(5.5)
    assert len(began) == 5


# For all of them


async def test_the_total_is_never_exceeded_and_the_queues_take_turns(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, *(f"{queue}{number}" for queue in "abc" for number in range(9)))
    async with working(world, lasts, queues={"a": 5, "b": 5, "c": 5}, total_concurrency=1):
        await trio.sleep(8.9)
    assert Counter(name[0] for _, name in began) == {"a": 3, "b": 3, "c": 3}
    assert most["all"] == 1


async def test_a_group_and_the_total_hold_both(world: World) -> None:
    async with working(world, lasts, queues=[]) as site:
        await fill(site, *(f"{queue}{number}" for queue in "abq" for number in range(8)))
    settings = {**group(concurrency=2, a=1, b=1), "queues": {"q": 3}, "total_concurrency": 4}
    async with working(world, lasts, **settings):
        for _ in range(100):
            await trio.sleep(0.1)
            assert running["all"] <= 4
    assert len(began) == 24
    assert [name for _, name in began if name[0] != "q"][:8] == [f"a{number}" for number in range(8)]


async def test_a_queue_at_its_own_limit_keeps_nobody_waiting(world: World) -> None:
    async with working(world, lasts, queues={"a": 1, "b": 1}, total_concurrency=9) as site:
        await fill(site, "a1", "a2", "b1", seconds=5)
        await trio.sleep(1)
    assert sorted(name for _, name in began) == ["a1", "b1"]


# The turns themselves


async def test_a_turn_that_another_limit_does_not_allow_is_kept() -> None:
    group, total = Shared(2, "weighted", {"a": 1, "b": 5}), Shared(1)
    a, b = Line("a", LocalLimit(9), limits=(group, total)), Line("b", LocalLimit(9), limits=(group, total))
    total.take(a)
    assert ask_all(a.limits, a, 9) == 0
    assert ask_all(b.limits, b, 9) == 0
    total.release()
    assert (a.freed.is_set(), b.freed.is_set()) == (True, False)
    assert ask_all(a.limits, a, 9) == 1
    assert ask_all(b.limits, b, 9) == 0


# Settings


def test_groups_replace_the_default_queue_and_no_other() -> None:
    groups = {"web": {"queues": ["critical", "low"]}}
    config = Config(groups=groups)
    assert (config.queues, config.groups[0].order, config.groups[0].queues) == ((), "strict", {"critical": 1, "low": 1})
    assert [queue.name for queue in Config(groups=groups, queues=["default"]).queues] == ["default"]
    assert [queue.name for queue in Config().queues] == ["default"]


def test_groups_are_read_from_a_file_and_from_text(tmp_path: Any) -> None:
    file = tmp_path / "exq.toml"
    file.write_text('[groups.bulk]\nqueues = { import = 3, export = 1 }\nconcurrency = 4\norder = "weighted"\n')
    group = QueueGroup(name="bulk", queues={"import": 3, "export": 1}, concurrency=4, order="weighted")
    assert load_config(file, environ={}).groups == (group,)
    text = '{"bulk": {"queues": "import:3,export", "concurrency": "4", "order": "weighted"}}'
    assert load_config(None, environ={"EXQ_GROUPS": text}).groups == (group,)


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"g": {"queues": ["a", "a"]}}, "groups.queues: 'a' is named twice"),
        ({"g": {"queues": []}}, "groups.queues: must name at least one queue"),
        ({"g": {"queues": {"a": 0}}}, "groups.queues: the weight of 'a' must be from 1 to 1,000, not 0"),
        ({"g": {"queues": ["a"], "concurrency": 0}}, "groups.concurrency: must be 1 or more"),
        ({"g": {"queues": ["a"], "order": "random"}}, "groups.order: must be 'strict' or 'weighted', not 'random'"),
        ({"g": {"queues": ["a"], "limit": 1}}, "groups.g.limit: is no setting"),
        ({"g": {}}, "groups: group 'g' must say its queues"),
        ({"g": 3}, "groups: group 'g' must be a mapping, not int"),
        ({"g": {"queues": ["a"]}, "h": {"queues": ["a"]}}, "groups: queue 'a' is named twice"),
        ({"g": {"queues": ["q"]}}, "groups.g: queue 'q' is in `queues` too; name it once"),
        ("[", "groups: as text must be a JSON object"),
        ([1], "groups: must be a mapping, or a list of QueueGroup, not of int"),
    ],
)
def test_what_cannot_be_is_named(groups: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config(groups=groups, queues=["q"])
    assert str(refused.value).startswith(says)
