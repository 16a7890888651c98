"""Periodic jobs at work: each tick is one job, whoever declares it, and it is steered while nodes run."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.testing import Mock

from .scene import Scene, records, until

SOON = exq.Every(0.1)


async def test_each_tick_is_performed_once_with_several_nodes(scene: Scene) -> None:
    ticks: Counter[float] = Counter()

    @exq.worker(schedule=SOON)
    async def work() -> None:
        told = exq.worker_job().record["periodic"]
        assert isinstance(told, dict)
        ticks[float(str(told["tick"]))] += 1

    async with AsyncExitStack() as nodes:
        for _ in range(4):
            await nodes.enter_async_context(scene.open(work))
        await until(lambda: len(ticks) >= 10)

    assert set(ticks.values()) == {1}
    # A machine that stalls misses some, which are skipped.
    since_first = [(tick - min(ticks)) / 0.1 for tick in ticks]
    assert since_first == pytest.approx([round(number) for number in since_first], abs=1e-3)


async def test_one_is_added_seen_run_paused_resumed_and_removed(scene: Scene) -> None:
    jobs: list[exq.Job] = []

    @exq.worker
    async def work(what: str) -> None:
        jobs.append(exq.worker_job())

    async with scene.open(work) as node, scene.open(mode="api") as q:
        periodic = q.api.periodic
        await periodic.add("often", work.job("a"), SOON)
        await until(lambda: len(jobs) >= 2)
        assert await periodic.pause("often")
        (often,) = await periodic.all()
        assert (often.name, often.worker, often.args, often.queue, often.schedule, often.declared) == (
            *("often", "work", ("a",), "default", SOON, False),
        )
        assert (often.paused, often.next_tick) == (True, None)
        assert often.last_tick is not None
        assert often.last_tick <= datetime.now(UTC)

        await until(lambda: _nothing_waits(scene, node))
        before = len(jobs)
        jid = await periodic.run("often")
        await until(lambda: len(jobs) == before + 1)
        assert jobs[-1].jid == jid

        assert await periodic.resume("often")
        await until(lambda: len(jobs) >= before + 3)
        assert await periodic.remove("often")
        assert (await periodic.all(), await periodic.find("often")) == ([], None)
        assert [await act("often") for act in (periodic.pause, periodic.resume, periodic.remove, periodic.run)] == [
            *(False, False, False, None)
        ]


async def _nothing_waits(scene: Scene, node: exq.Exq) -> bool:
    return not await scene.queue() and not await scene.backup(str(node.node_id))


async def test_one_that_is_unique_does_not_pile_up(scene: Scene) -> None:
    begun = anyio.Event()

    @exq.worker(schedule=SOON, unique_for=60)
    async def work() -> None:
        begun.set()
        await anyio.sleep_forever()

    async with scene.open(work, shutdown_timeout=0) as q:
        await begun.wait()
        ticks: set[datetime | None] = set()
        while len(ticks) < 5:
            (seen,) = await until(q.api.periodic.all)
            ticks.add(seen.last_tick)
        assert await scene.queue() == []
        assert await q.api.periodic.run("work") is None


async def test_a_program_may_declare_them_in_its_settings(scene: Scene) -> None:
    said: list[str] = []

    @exq.worker
    async def work(what: str) -> None:
        said.append(what)

    async with scene.open(work, periodic={"a": {"worker": "work", "args": ["x"], "every": 0.1}}):
        await until(lambda: said)

    assert set(said) == {"x"}


async def test_a_node_without_a_scheduler_enqueues_none(scene: Scene) -> None:
    @exq.worker(schedule=SOON)
    async def work() -> None: ...

    async with scene.open(work, scheduler_enable=False):
        await anyio.sleep(0.3)
        assert "periodic" not in await scene.keys()


async def test_where_there_are_none_no_key_is_written(scene: Scene) -> None:
    async with scene.open():
        await until(scene.keys)
        assert not any(key.startswith("periodic") for key in await scene.keys())


async def test_a_definition_that_nobody_can_read_is_left_alone(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    @exq.worker(schedule=SOON)
    async def work() -> None: ...

    await scene.redis.hset(scene.key("periodic:jobs"), {"odd": b"\xff{"})
    await scene.redis.zadd(scene.key("periodic"), {"odd": 1.0})
    async with scene.open(work) as q:
        await until(lambda: scene.count("processed"))
        (odd, _) = await q.api.periodic.all()
        with pytest.raises(ValueError, match="periodic job 'odd' cannot be read"):
            await q.api.periodic.run("odd")

    assert (odd.name, odd.worker, odd.schedule) == ("odd", "", None)
    assert len([message for message in caplog.messages if "'odd' cannot be read" in message]) == 1


async def test_a_queue_that_somebody_broke_holds_up_no_other(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    @exq.worker(schedule=SOON)
    async def work() -> None: ...

    def refused() -> bool:
        return any(message.startswith("cannot enqueue periodic job: name=broken") for message in caplog.messages)

    await scene.redis.set(scene.key("queue:broken"), b"text")
    broken = exq.Periodic("broken", work.job().on(queue="broken"), SOON)
    async with scene.open(work, periodic=[broken]):
        await until(refused)
        before = await scene.count("processed")
        await until(lambda: _processed(scene, before + 2))
    # The last tick may have come when no more jobs were taken.
    assert all(job["periodic"]["name"] == "work" for job in records(await scene.queue()))


async def _processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") >= count


async def test_a_mock_enqueues_what_is_due_when_it_is_told_to(exq_mock: Mock) -> None:
    @exq.worker(schedule=exq.Every(3600))
    async def hourly() -> None: ...

    @exq.worker
    async def daily(what: str) -> None: ...

    periodic = [exq.Periodic("daily", daily.job("x"), exq.Cron("0 3 * * *"))]
    async with exq.open(workers=[hourly, daily], periodic=periodic):
        ticked = await exq_mock.tick(86400)
        assert Counter(job.worker for job in ticked) == {"hourly": 24, "daily": 1}
        assert {job.worker for job in [one.job for one in await exq_mock.drain()]} == {"hourly", "daily"}
        assert len(await exq_mock.tick(3600)) in (1, 2)
