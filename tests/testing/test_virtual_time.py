"""Under Trio's MockClock a mock has the time of that clock, and jobs that sleep take none of ours."""

from __future__ import annotations

import math
import time

import anyio
import pytest
import trio
import trio.testing

import exq_anyio as exq
from exq_anyio.testing import Mock

begun: list[tuple[str, float]] = []


@pytest.fixture(params=[0, math.inf], ids=["autojump", "by hand"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=request.param)}


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


@exq.worker(max_retries=1)
async def polls(name: str) -> exq.Snooze | None:
    begun.append((name, trio.current_time()))
    if name == "fails":
        raise ValueError(name)
    return exq.Snooze(3600) if len(begun) < 3 else None


async def test_drain_moves_trios_clock_to_the_second_at_which_each_job_is_due() -> None:
    started = time.monotonic()
    with Mock() as mock:
        async with exq.open(workers=[polls]) as q:
            await q.push(polls.job("sleepy").on(after=600))
            await mock.drain()
            assert begun == [("sleepy", 600), ("sleepy", 4200), ("sleepy", 7800)]
            begun.clear()
            began = mock.clock()
            await q.push(polls.job("fails"))
            await mock.drain(raises=False, until=1000)
            # As Sidekiq's backoff says for the first failure, where chance says one half.
            assert begun == [("fails", 7800), ("fails", 7820)]
            assert (trio.current_time(), mock.clock() - began) == (8800, 1000)
    assert time.monotonic() - started < 60


async def test_who_sleeps_meanwhile_wakes_up_at_their_time_where_the_clock_jumps_by_itself() -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    if clock.autojump_threshold == math.inf:
        return  # who moves the clock by hand has it jump over them

    async def wakes() -> None:
        await anyio.sleep(300)
        begun.append(("wakes", trio.current_time()))

    with Mock() as mock:
        async with exq.open(workers=[polls]) as q, anyio.create_task_group() as tasks:
            tasks.start_soon(wakes)
            await q.push(polls.job("sleepy").on(after=600))
            await mock.drain(until=700)
    assert begun == [("wakes", 300), ("sleepy", 600)]


async def test_what_passes_on_trios_clock_passes_on_the_mocks() -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    with Mock() as mock:
        began = mock.clock()
        async with exq.open(workers=[polls]) as q:
            await q.push(polls.job("sleepy").on(after=600))
            clock.jump(599)
            assert (await mock.drain(until=0), mock.clock() - began) == ([], 599)
            clock.jump(1)
            assert len(await mock.drain(until=0)) == 1
