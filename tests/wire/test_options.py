"""Options of Sidekiq's jobs that are not in every payload: ``retry_for``, ``expires_in``, extra fields, signal TTIN."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import Any

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.errors import ArgumentError
from exq_anyio.job import Job, encode
from exq_anyio.outcome import Policy, judge

from ..exq.scene import Record, Scene, until

NOW = 1795486660.5


def job(**fields: Any) -> Job:
    return Job.decode(encode({"class": "W", "args": [], "jid": "j", "queue": "default", **fields}))


def judged(**fields: Any) -> tuple[str, Record]:
    settlement = judge(job(**fields), ValueError("x"), NOW, 0.0, Policy())
    return settlement.kind, Job.decode(settlement.entry).record


@pytest.mark.parametrize("failed_at", [NOW - 60, int((NOW - 60) * 1000)])
@pytest.mark.parametrize(
    ("retry_for", "kind"), [(61, "retry"), (60, "retry"), (59, "dead"), (0, "retry"), ("x", "retry")]
)
def test_retry_for_ends_the_retries_that_many_seconds_after_the_first_failure(
    failed_at: float, retry_for: object, kind: str
) -> None:
    ended, record = judged(retry=True, retry_count=0, failed_at=failed_at, retry_for=retry_for)
    assert (ended, record["retry_count"], record["failed_at"]) == (kind, 1, failed_at)


def test_the_first_failure_is_within_retry_for_and_the_number_of_retries_holds_beside_it() -> None:
    assert judged(retry=True, retry_for=1)[0] == "retry"
    assert judged(retry=2, retry_count=1, failed_at=NOW, retry_for=3600)[0] == "dead"
    assert judge(job(retry=False, retry_for=3600), ValueError("x"), NOW, 0.0, Policy()).kind == "discarded"
    assert judged(retry=True, retry_count=0, failed_at=NOW - 9, retry_for=1, dead=True)[0] == "dead"


def test_a_try_by_hand_of_the_first_retry_counts_from_the_first_failure() -> None:
    ended, record = judged(retry=True, retry_count=-1, failed_at=NOW - 60, retry_for=59)
    assert (ended, record["retry_count"], record["failed_at"], record["retried_at"]) == ("dead", 0, NOW - 60, NOW)


async def test_an_expired_job_is_not_performed_and_counts_as_processed(scene: Scene) -> None:
    ran: list[int] = []

    @exq.worker(name="Fresh")
    async def fresh(number: int) -> None:
        ran.append(number)

    now = time.time()
    common: Record = {"class": "Fresh", "jid": "j", "retry": True}
    await scene.push(
        "default",
        encode({**common, "args": [1], "expiry": now - 1}),
        encode({**common, "args": [2], "expiry": now + 60}),
        encode({**common, "args": [3], "expiry": int((now - 1) * 1000)}),
        encode({**common, "args": [4], "expires_in": 60, "enqueued_at": now - 61}),
        encode({**common, "args": [5], "expires_in": 600, "enqueued_at": now - 61}),
        encode({**common, "args": [6], "expires_in": "soon", "enqueued_at": 1.0}),
        encode({**common, "args": [7], "expires_in": 60, "expiry": now + 60, "enqueued_at": now - 61}),
    )
    async with scene.open(fresh):
        await until(lambda: counted(scene, 7))
    assert sorted(ran) == [2, 5, 6, 7]
    assert (await scene.count("failed"), await scene.scored("retry"), await scene.scored("dead")) == (0, [], [])


async def counted(scene: Scene, processed: int) -> bool:
    return await scene.count("processed") == processed


async def test_expires_in_counts_from_the_enqueue_or_from_when_the_job_is_due(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        before = time.time()
        await q.enqueue("default", "W", [], extra={"expires_in": 30})
        await q.push(exq.JobSpec(worker="W").on(after=100, expires_in=30))
        after = time.time()
        with pytest.raises(ArgumentError) as wrong:
            await q.enqueue("default", "W", [], extra={"expires_in": -1})
    assert wrong.value.path == "expires_in"
    (now,) = [Job.decode(payload) for payload in await scene.queue()]
    (later,) = [Job.decode(payload) for payload, _ in await scene.scored("schedule")]
    assert before + 30 <= (now.expires_at or 0) <= after + 30
    assert before + 130 <= (later.expires_at or 0) <= after + 130


def test_a_retry_lives_no_longer_than_its_job() -> None:
    _, record = judged(retry=True, expires_in=60, enqueued_at=NOW - 10)
    assert record["expiry"] == NOW + 50
    assert Job.decode(encode({**record, "enqueued_at": NOW + 40})).expires_at == NOW + 50


async def test_extra_fields_are_given_to_enqueue_as_a_mapping_and_collide_with_nothing(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        await q.enqueue(
            "low", "W", [1], extra={"backtrace": 10, "dead": False, "retry_queue": "lower", "k": {"a": [None]}}
        )
        for taken in ("class", "queue", "args", "timeout"):
            with pytest.raises(ArgumentError) as wrong:
                await q.enqueue("low", "W", [1], extra={taken: 1})
            assert wrong.value.path == taken
    (payload,) = await scene.queue("low")
    record = Job.decode(payload).record
    assert {field: record[field] for field in ("backtrace", "dead", "retry_queue", "k")} == {
        "backtrace": 10,
        "dead": False,
        "retry_queue": "lower",
        "k": {"a": [None]},
    }


async def test_ttin_logs_what_every_task_and_thread_is_doing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    begun: list[str] = []

    @exq.worker(name="Hangs")
    async def hangs() -> None:
        begun.append(exq.worker_job().jid)
        await deep_inside()

    async with scene.open(hangs, shutdown_timeout=0) as q:
        jids = [await q.enqueue("default", hangs, []) for _ in range(2)]
        await until(lambda: len(begun) == 2)
        await scene.redis.lpush(scene.key(f"{q.node_id}-signals"), ["TTIN"])
        await until(lambda: dumps(caplog))
    (dump,) = dumps(caplog)
    at = dump.index("in deep_inside")
    head = dump.rindex("\n-- ", 0, at)
    assert all(jid in dump[head:at] for jid in jids)
    assert "worker=Hangs" in dump[head:at]
    assert "in hangs" in dump[head:at]
    assert dump.count("in deep_inside") == 1
    assert "thread MainThread" in dump


async def test_a_worker_process_does_the_same_at_the_signal_sigttin(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"url": scene.url, "namespace": scene.namespace, "workers": [], "node_identifier": "a-host"}
    works = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(exq.serve, settings, on_open=lambda _: works.set()))
        await works.wait()
        signal.raise_signal(signal.SIGTTIN)
        await until(lambda: dumps(caplog))
        signal.raise_signal(signal.SIGTERM)
    (dump,) = dumps(caplog)
    assert "node=a-host#1" in dump
    assert "in serve" in dump


async def deep_inside() -> None:
    await anyio.sleep_forever()


def dumps(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "what every task" in record.getMessage()]
