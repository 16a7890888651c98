"""Unique jobs: who holds the lock, for how long, and what frees it."""

from __future__ import annotations

import time
from functools import partial

import anyio
import pytest

import exq_anyio as exq

from .scene import Scene, records, until


class Held:
    """A worker whose jobs wait to be let go, and then end as they were told."""

    def __init__(self) -> None:
        self.started = 0
        self.go_on = anyio.Event()

        @exq.worker(name="Held", unique_for=60)
        async def held(how: str) -> object:
            self.started += 1
            if exq.worker_job().snooze_count or exq.worker_job().retry_count is not None:
                return None
            await self.go_on.wait()
            if how == "raise":
                raise ValueError("boom")
            return {"snooze": exq.Snooze(300), "dead": exq.Dead("hopeless"), "discard": exq.Discard()}.get(how)

        self.worker = held


async def conflict(q: exq.Exq, spec: exq.JobSpec) -> str | None:
    """The jid of the job that keeps *spec* out; None when it went in."""
    try:
        await q.push(spec)
    except exq.Conflict as error:
        return error.jid
    return None


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


def lasts(left: int, seconds: float, since: float) -> bool:
    """Whether a lock that has *left* milliseconds was taken for *seconds*, later than *since* (monotonic seconds)."""
    passed = time.monotonic() - since
    return seconds - passed - 0.01 <= left / 1000 <= seconds


async def test_an_equal_job_is_refused_with_the_jid_of_the_one_that_is_there(scene: Scene) -> None:
    held = Held()
    async with scene.enqueuer() as q:
        before = time.monotonic()
        jid = await q.push(held.worker.job("a"))
        with pytest.raises(exq.Conflict) as refused:
            await q.push(held.worker.job("a"))
        other = await q.push(held.worker.job("b"))
        elsewhere = await q.push(held.worker.job("a").on(queue="elsewhere"))
        assert refused.value.jid == jid
        assert [job["jid"] for job in records(await scene.queue())] == [jid, other]
        assert [job["jid"] for job in records(await scene.queue("elsewhere"))] == [elsewhere]
        lock = scene.key(f"unique:{refused.value.token}")
        assert await scene.redis.get(lock) == jid.encode()
        assert lasts(await scene.redis.pttl(lock), 60, before)


async def test_a_token_of_ones_own_makes_different_jobs_equal_and_repeating_safe(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        spec = exq.JobSpec(worker="A").on(unique_for=60, unique_token="mine", jid="first")
        assert await conflict(q, spec) is None
        assert await conflict(q, exq.JobSpec(worker="B").on(unique_for=60, unique_token="mine")) == "first"
        assert await conflict(q, spec) == "first"
    assert len(await scene.queue()) == 1
    assert await scene.redis.get(scene.key("unique:mine")) == b"first"


async def test_a_token_without_a_time_is_refused(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        with pytest.raises(exq.ArgumentError, match="unique_token: needs unique_for"):
            await q.enqueue("default", "A", unique_token="t")


async def test_the_lock_of_a_scheduled_job_lasts_from_when_it_is_due(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        before = time.monotonic()
        jid = await q.enqueue_in("default", 100, "A", unique_for=60, unique_token="t")
        assert lasts(await scene.redis.pttl(scene.key("unique:t")), 160, before)
        assert await conflict(q, exq.JobSpec(worker="A").on(unique_for=60, unique_token="t")) == jid


@pytest.mark.parametrize("how", ["return", "discard", "dead"])
async def test_the_lock_is_held_while_the_job_runs_and_free_after_its_end(scene: Scene, how: str) -> None:
    held = Held()
    spec = held.worker.job(how)
    async with scene.open(held.worker) as q:
        jid = await q.push(spec)
        await until(lambda: held.started == 1)
        assert await conflict(q, spec) == jid
        held.go_on.set()
        await until(partial(counted, scene, 1))
        assert await conflict(q, spec) is None
        await until(partial(counted, scene, 2))
    assert [key for key in await scene.keys() if key.startswith("unique:")] == []


async def test_the_last_failure_frees_the_lock_and_the_first_does_not(scene: Scene) -> None:
    @exq.worker(name="Foul", unique_for=60, max_retries=1)
    async def foul() -> None:
        raise ValueError("boom")

    async with scene.open(foul, scheduler_enable=False) as q:
        jid = await q.push(foul.job())
        await until(partial(counted, scene, 1))
        assert await conflict(q, foul.job()) == jid
    ((member, _),) = await scene.scored("retry")
    await scene.redis.zadd(scene.key("retry"), {member: 1.0})
    async with scene.open(foul) as q:
        await until(partial(counted, scene, 2))
        assert len(await scene.scored("dead")) == 1
        assert await conflict(q, foul.job()) is None


@pytest.mark.parametrize(("how", "where"), [("raise", "retry"), ("snooze", "schedule")])
async def test_a_job_that_comes_again_keeps_its_lock_until_its_success(scene: Scene, how: str, where: str) -> None:
    held = Held()
    held.go_on.set()
    spec = held.worker.job(how)
    async with scene.open(held.worker, scheduler_enable=False) as q:
        jid = await q.push(spec)
        await until(partial(counted, scene, 1))
        assert await conflict(q, spec) == jid
    ((member, _),) = await scene.scored(where)
    await scene.redis.zadd(scene.key(where), {member: 1.0})
    async with scene.open(held.worker) as q:
        await until(partial(counted, scene, 2))
        assert await conflict(q, spec) is None


async def test_until_start_the_lock_is_free_as_soon_as_the_job_runs_and_its_end_frees_no_other(scene: Scene) -> None:
    held = Held()
    spec = held.worker.job("return").on(unique_until="start")
    async with scene.open(held.worker, concurrency=1) as q:
        await q.push(spec)
        await until(lambda: held.started == 1)
        second = await q.push(spec)  # waits, as there is one slot
        assert await conflict(q, spec) == second
        await q.unsubscribe("default")
        held.go_on.set()
        await until(partial(counted, scene, 1))
        assert await conflict(q, spec) == second


async def test_until_expiry_only_time_frees_the_lock(scene: Scene) -> None:
    held = Held()
    held.go_on.set()
    spec = held.worker.job("return").on(unique_until="expiry", unique_for=60, unique_token="t")
    async with scene.open(held.worker) as q:
        before = time.monotonic()
        jid = await q.push(spec)
        await until(partial(counted, scene, 1))
        assert await conflict(q, spec) == jid
        assert lasts(await scene.redis.pttl(scene.key("unique:t")), 60, before)
        await scene.redis.pexpire(scene.key("unique:t"), 1)  # its time has passed
        await until(partial(expired, scene, "unique:t"))
        assert await conflict(q, spec) is None


async def expired(scene: Scene, name: str) -> bool:
    return not await scene.redis.exists([scene.key(name)])


async def test_a_holder_whose_lock_ran_out_never_frees_a_newer_one(scene: Scene) -> None:
    held = Held()
    short = held.worker.job("return").on(unique_token="t", unique_for=0.05)
    async with scene.open(held.worker, concurrency=1) as q:
        await q.push(short)
        await until(lambda: held.started == 1)
        await until(partial(expired, scene, "unique:t"))
        newer = await q.push(held.worker.job("return").on(unique_token="t", unique_for=60, queue="elsewhere"))
        held.go_on.set()
        await until(partial(counted, scene, 1))
        assert await scene.redis.get(scene.key("unique:t")) == newer.encode()


async def test_a_start_frees_no_lock_that_another_job_has_taken_since(scene: Scene) -> None:
    held = Held()
    held.go_on.set()
    late = held.worker.job("return").on(unique_until="start", unique_token="t", unique_for=0.05)
    async with scene.open(held.worker, queues=[]) as q:
        await q.push(late)
        await until(partial(expired, scene, "unique:t"))
        newer = await q.push(held.worker.job("return").on(unique_token="t", unique_for=60, queue="elsewhere"))
        await q.subscribe("default")
        await until(partial(counted, scene, 1))
        assert await scene.redis.get(scene.key("unique:t")) == newer.encode()


async def test_a_stop_sends_a_unique_job_back_with_its_lock(scene: Scene) -> None:
    held = Held()
    async with scene.open(held.worker, shutdown_timeout=0) as q:
        jid = await q.push(held.worker.job("return"))
        await until(lambda: held.started == 1)
    async with scene.enqueuer() as q:
        assert await conflict(q, held.worker.job("return")) == jid
    assert len(await scene.queue()) == 1
