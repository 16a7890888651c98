"""Every state that the real Exq, Sidekiq and Resque were seen to leave is read, and taken on from there."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import coredis
import msgspec
import pytest

import exq_anyio as exq
from exq_anyio.errors import MalformedPayload
from exq_anyio.job import Job
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene, until
from .golden import GOLDEN, load, payloads, read

FILES = sorted(
    f"{path.parent.name}/{path.name}"
    for path in GOLDEN.glob("*/*")
    # What Sidekiq's own API said, and the two files that hold no more than a signal's effect on that.
    if not re.search(r"inspect|signal\.json|iter-running", path.name)
)
RECORDED = datetime(2026, 11, 24, tzinfo=UTC)
TIMES = ("created_at", "enqueued_at", "failed_at", "retried_at")


@pytest.mark.parametrize("file", FILES)
def test_every_job_of_a_state_is_read_with_its_times_its_count_and_its_error(file: str) -> None:
    for payload in payloads(read(file)):
        if payload == "{not json":
            with pytest.raises(MalformedPayload):
                Job.decode(payload.encode())
            continue
        job, record = Job.decode(payload.encode()), msgspec.json.decode(payload)
        assert (job.worker, job.args, job.jid) == (record["class"], record["args"], record.get("jid", ""))
        for field in TIMES:
            at = getattr(job, field)
            if record.get(field) is None:
                assert at is None, field
            else:  # in the unit of its program, which the job does not say
                assert RECORDED <= at <= RECORDED + timedelta(days=1), (field, at)
        assert job.retry_count == record.get("retry_count")
        assert job.error_class == record.get("error_class")
        assert job.error_message == record.get("error_message")
        if "error_backtrace" in record:
            assert job.error_backtrace
            assert any(".rb:" in line for line in job.error_backtrace)
        assert msgspec.json.decode(job.changed().payload) == record


def test_every_program_is_among_them() -> None:
    assert {file.partition("/")[0] for file in FILES} == {path.name for path in GOLDEN.iterdir() if path.is_dir()}
    assert sum(len(payloads(read(file))) for file in FILES) > 250


async def test_what_a_killed_exq_had_taken_is_rescued_in_order_before_what_waits(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes]
) -> None:
    state = read("exq-0.23.0/05-after-kill9.txt")
    await load(redis, state)
    await redis.zadd("exq:heartbeats", {"vm": 1.0})  # long ago, whatever the clock says
    scene = Scene(valkey.url, redis, "exq")
    async with scene.open(queues=[], heartbeat_interval=0.02, foreign_dead_after=0.05):
        await until(lambda: nothing_taken(redis))
    taken = [[*reversed(state[f"exq:queue:backup::vm::{queue}"].value)] for queue in ("default", "other")]
    waiting = [*reversed(state["exq:queue:default"].value)]
    for queue, before in (("default", taken[0] + waiting), ("other", taken[1])):
        now = [msgspec.json.decode(payload) for payload in await scene.queue(queue)]
        assert [job["jid"] for job in now] == [msgspec.json.decode(payload)["jid"] for payload in before]
        assert [job.get("rescue_count") for job in now] == [1] * len(taken[queue == "other"]) + [None] * (
            len(now) - len(taken[queue == "other"])
        )
    assert not {key for key in await scene.keys() if key == "vm" or key.startswith("vm:")}
    assert not await redis.exists(["exq:heartbeats"])


async def nothing_taken(redis: coredis.Redis[bytes]) -> bool:
    return not await redis.keys("exq:queue:backup::*") and not await redis.exists(["exq:vm"])


@pytest.mark.parametrize(
    ("file", "namespace", "unit"),
    [
        ("exq-0.23.0/08-retry1.txt", "exq", "seconds"),
        ("sidekiq-6.4.1/07-fails.json", "", "seconds"),
        ("sidekiq-7.3.10/07-fails.json", "", "seconds"),
        ("sidekiq-8.1.7/07-fails.json", "", "milliseconds"),
    ],
)
async def test_a_job_that_failed_elsewhere_fails_on_with_its_count_and_its_first_failure(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], file: str, namespace: str, unit: str
) -> None:
    state = read(file)
    await load(redis, state)
    scene = Scene(valkey.url, redis, namespace)
    before = {job["jid"]: job for job in map(msgspec.json.decode, dict(state[scene.key("retry")].value))}
    dead = await redis.zrange(scene.key("dead"), 0, -1)
    for member in await redis.zrange(scene.key("retry"), 0, -1):
        await redis.zadd(scene.key("retry"), {member: 1.0})
    failed = await scene.count("failed")
    now = time.time()
    async with scene.open(queues=["default", "low"], workers=(), timestamps=unit):
        await until(lambda: has_failed(scene, failed + len(before)))
    after = {job["jid"]: job for job in await scene.entries("retry")}
    assert after.keys() == before.keys()
    for jid, job in after.items():
        assert job["retry_count"] == before[jid]["retry_count"] + 1
        assert job["failed_at"] == before[jid]["failed_at"]
        assert job["error_class"] == "UnknownWorker"
        for field in ("enqueued_at", "retried_at"):
            at = job.pop(field)
            assert type(at) is (int if unit == "milliseconds" else float)
            assert now - 0.001 <= (at / 1000 if unit == "milliseconds" else at) <= time.time()
        kept = set(before[jid]) - {*TIMES, "retry_count", "error_class", "error_message", "error_backtrace"}
        assert {field: job[field] for field in kept} == {field: before[jid][field] for field in kept}
    assert await redis.zrange(scene.key("dead"), 0, -1) == dead


async def has_failed(scene: Scene, count: int) -> bool:
    return await scene.count("failed") == count


async def test_the_lock_of_a_unique_job_of_exq_conflicts_and_is_freed_by_its_end(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes]
) -> None:
    state = read("exq-0.23.0/11-unique.txt")
    await load(redis, state)
    scene = Scene(valkey.url, redis, "exq")

    @exq.worker(name="NoopWorker")
    async def noop(*args: object) -> None: ...

    async with scene.enqueuer(workers=[noop]) as q:
        for token in ("tok-expiry", "tok-start", "tok-sched"):
            with pytest.raises(exq.Conflict) as conflict:
                await q.enqueue("default", noop, [9], unique_for=60, unique_token=token)
            assert conflict.value.jid == state[f"exq:unique:{token}"].value
    async with scene.open(noop, scheduler_enable=False):
        await until(lambda: processed(scene, 3))
    left = {key for key in await scene.keys() if key.startswith("unique:")}
    # As Exq itself left it: 12-unique-done.
    assert left == {key.removeprefix("exq:") for key in read("exq-0.23.0/12-unique-done.txt") if "unique:" in key}


async def processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") == count
