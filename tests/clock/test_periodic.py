"""Periodic jobs through a year with two changes of clocks: each tick is enqueued once, with nodes that come and die."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import attrs
import msgspec
import pytest
import trio
import trio.testing

import exq_anyio as exq
from exq_anyio.client import declared_periodic
from exq_anyio.config import Config
from exq_anyio.job import Job, new_jid
from exq_anyio.node.periodic import IDLE, SPREAD, Bell, Ticker
from exq_anyio.periodic import FRESH, Arrange, Definition, Missed, Schedule, Seen, Tick
from exq_anyio.testing.timetable import MemoryTimetable
from exq_anyio.testing.world import World
from exq_anyio.worker import Registry

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
YEAR = 365 * 86400.0


@pytest.fixture
def world(mock_clock: trio.testing.MockClock) -> World:
    return World(lambda: NEW_YEAR + 0.5 + mock_clock.current_time())


@exq.worker
async def work() -> None: ...


def schedules(missed: Missed) -> dict[str, Schedule]:
    """Together 10,220 ticks a year."""
    return {
        "hourly": exq.Cron("17 * * * *", timezone="Europe/Berlin", missed=missed, limit=1_000),
        "nightly": exq.Cron("30 2 * * *", timezone="Europe/Berlin", missed=missed, limit=1_000),
        "steady": exq.Every(8 * 3600, missed=missed, limit=1_000),
    }


def ticker(world: World, wanted: dict[str, Schedule], bell: Bell | None = None) -> Ticker:
    config = Config(periodic=[exq.Periodic(name, work.job(), schedule) for name, schedule in wanted.items()])
    declared = declared_periodic(config, Registry.build([work]))
    return Ticker(MemoryTimetable(world), declared, trio.lowlevel.checkpoint, lambda: 0.5, "seconds", bell or Bell())


def enqueued(world: World) -> list[tuple[str, float, float]]:
    """Name, tick and time of each job that was enqueued, in order."""
    found = []
    for payload in reversed(world.lists["queue:default"]):
        record = Job.decode(payload).record
        told = msgspec.convert(record["periodic"], dict[str, float | str])
        found.append((str(told["name"]), float(told["tick"]), float(str(record["enqueued_at"]))))
    return found


def all_ticks(schedule: Schedule, begin: float, end: float) -> Iterator[float]:
    at = schedule.after(begin)
    while at is not None and at <= end:
        yield at
        at = schedule.after(at)


@pytest.mark.slow
@pytest.mark.parametrize("missed", ["skip", "once", "all"])
@pytest.mark.long
async def test_each_tick_of_a_year_is_enqueued_once_while_nodes_come_and_die(
    missed: Missed, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exq_anyio.node.periodic.IDLE", YEAR)  # half a million looks, which change nothing
    begin, chance = world.clock(), random.Random(7)
    wanted = schedules(missed)
    down: list[tuple[float, float]] = []

    async def live_and_die() -> None:
        while True:
            with anyio.move_on_after(chance.uniform(0, 40) * 3600):
                await ticker(world, wanted).run()

    async def lives() -> None:
        # At any time another node is there, but for half a day in each month.
        for _ in range(12):
            with anyio.move_on_after(30 * 86400):
                async with anyio.create_task_group() as nodes:
                    for _ in range(2):
                        nodes.start_soon(live_and_die)
            gone = world.clock()
            await anyio.sleep(11 * 3600 + 1234)
            down.append((gone, world.clock()))
        with anyio.move_on_after(1):
            await ticker(world, wanted).run()

    await lives()
    found = enqueued(world)

    assert max(Counter((name, tick) for name, tick, _ in found).values()) == 1
    for name, schedule in wanted.items():
        due = list(all_ticks(schedule, begin, world.clock()))
        assert [tick for one, tick, _ in found if one == name] == list(kept(due, missed, down))
    assert len(found) > (10_000 if missed == "all" else 9_500)


def kept(due: list[float], missed: Missed, down: list[tuple[float, float]]) -> Iterator[float]:
    """Which of the ticks that were *due* are enqueued, when nobody was there at the times *down*."""
    for at, tick in enumerate(due):
        gap = next(((gone, back) for gone, back in down if gone < tick <= back), None)
        following = due[at + 1] if at + 1 < len(due) else float("inf")
        last_of_gap = gap is not None and following > gap[1] and (missed == "once" or gap[1] - tick < FRESH)
        if gap is None or missed == "all" or last_of_gap:
            yield tick


async def test_a_tick_is_enqueued_at_its_time_and_nothing_is_asked_between(world: World) -> None:
    looks: list[float] = []

    class Watched(MemoryTimetable):
        async def due(self, limit: int) -> tuple[float, float, list[Seen]]:
            looks.append(world.clock() - NEW_YEAR)
            return await super().due(limit)

    one = ticker(world, {"hourly": exq.Every(3600)})
    one._timetable = Watched(world)
    with anyio.move_on_after(3700):
        await one.run()

    ((name, tick, at),) = enqueued(world)
    assert (name, tick) == ("hourly", NEW_YEAR + 3600)
    assert at - tick == pytest.approx(SPREAD / 2)
    assert len(looks) == pytest.approx(3700 / IDLE, abs=4)


async def test_a_job_that_is_added_is_enqueued_without_waiting_for_the_next_look(world: World) -> None:
    bell = Bell()
    (declared,) = ticker(world, {"a": exq.Every(10)})._declared.values()
    added = attrs.evolve(declared, declared=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker(world, {}, bell).run)
        await trio.testing.wait_all_tasks_blocked()
        await MemoryTimetable(world).arrange([Arrange(Seen("a", b""), added.encode(), NEW_YEAR + 10)])
        bell.ring()
        await anyio.sleep(15)
        tasks.cancel_scope.cancel()

    assert [tick for _, tick, _ in enqueued(world)] == [NEW_YEAR + 10]


async def test_what_a_program_declares_no_more_waits_for_one_that_does(world: World) -> None:
    with anyio.move_on_after(5):
        await ticker(world, {"a": exq.Every(10)}).run()
    with anyio.move_on_after(50):
        await ticker(world, {}).run()
    assert enqueued(world) == []

    with anyio.move_on_after(1):
        await ticker(world, {"a": exq.Every(10)}).run()
    assert [tick for _, tick, _ in enqueued(world)] == [NEW_YEAR + 50]


async def test_a_restart_misses_nothing_and_repeats_nothing(world: World) -> None:
    for _ in range(10):
        with anyio.move_on_after(7):
            await ticker(world, {"a": exq.Every(10)}).run()

    assert [tick - NEW_YEAR for _, tick, _ in enqueued(world)] == [10, 20, 30, 40, 50, 60, 70]


async def test_another_schedule_holds_from_the_start_of_the_program_that_declares_it(world: World) -> None:
    with anyio.move_on_after(25):
        await ticker(world, {"a": exq.Every(10)}).run()
    with anyio.move_on_after(25):
        await ticker(world, {"a": exq.Every(7)}).run()

    third = exq.Every(7).after(NEW_YEAR + 25.5)
    assert third is not None
    assert [tick for _, tick, _ in enqueued(world)][:4] == [NEW_YEAR + 10, NEW_YEAR + 20, third, third + 7]


async def test_what_is_paused_stays_so_when_a_program_declares_it_again(world: World) -> None:
    timetable = MemoryTimetable(world)
    with anyio.move_on_after(5):
        await ticker(world, {"a": exq.Every(10)}).run()
    _, (seen,) = await timetable.everything()
    await timetable.arrange([Arrange(seen, seen.kept, None, paused=True)])

    with anyio.move_on_after(50):
        await ticker(world, {"a": exq.Every(20)}).run()

    _, (seen,) = await timetable.everything()
    assert (enqueued(world), seen.paused, Definition.decode("a", seen.kept).schedule) == ([], True, exq.Every(20))


async def test_a_node_that_was_frozen_with_a_tick_in_its_hand_repeats_nothing(world: World) -> None:
    with anyio.move_on_after(5):
        await ticker(world, {"a": exq.Every(10)}).run()
    await anyio.sleep(6)
    frozen = MemoryTimetable(world)
    now, _, (seen,) = await frozen.due(10)
    with anyio.move_on_after(30):
        await ticker(world, {"a": exq.Every(10)}).run()
    before = enqueued(world)

    job = Definition.decode("a", seen.kept).outgoing(seen.next_tick, now, new_jid(), "seconds")
    assert await frozen.tick([Tick(seen, (job,), "", seen.next_tick + 10)]) == [None]
    assert enqueued(world) == before
