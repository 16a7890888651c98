"""Whoever listens is told of all that happens, in order, and cannot do any harm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.events import Event
from exq_anyio.job import Job
from exq_anyio.node.performer import Performer
from exq_anyio.node.telling import TellingPerformer, TickTeller
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock

from ..exq.scene import Scene, payload, until


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)


@exq.worker(max_retries=1, backoff=lambda job, error: 0.01)
async def work(how: str) -> object:
    if how == "fail":
        raise ValueError("no")
    if how == "hang":
        await anyio.sleep_forever()
    verdicts: dict[str, object] = {"discard": exq.Discard("no"), "dead": exq.Dead("no")}
    return exq.Snooze(0.01) if how == "snooze" and not exq.worker_job().snooze_count else verdicts.get(how)


@exq.worker(dead_on=KeyError, discard_on=ValueError)
async def choosy(error: str) -> None:
    raise {"KeyError": KeyError, "ValueError": ValueError}[error]


def read(member: bytes) -> object:
    """The record of an entry; None of what is no job."""
    return Job.decode(member).record if member.startswith(b"{") else None


def told(events: list[Event]) -> Iterator[tuple[object, ...]]:
    for event in events:
        yield (event.kind, *([event.outcome] if event.outcome else []))


async def test_a_job_that_fails_is_told_from_its_enqueue_to_its_death(scene: Scene) -> None:
    events: list[Event] = []
    began = time.monotonic()
    async with scene.open(work, listeners=[events.append]) as q:
        jid = await q.push(work.job("fail"))
        await until(lambda: any(event.kind == "dead" for event in events))
        node_id = q.node_id
    took = time.monotonic() - began

    assert list(told(events)) == [
        ("node_start",),
        ("enqueue",),
        *[("fetch",), ("start",), ("exception", "retry"), ("retry",)],
        *[("fetch",), ("start",), ("exception", "dead"), ("dead",)],
        ("node_stop",),
    ]
    of_job = [event for event in events if event.job is not None]
    assert {event.job.jid for event in of_job if event.job} == {jid}
    assert [event.node_id for event in of_job] == ["", *[node_id] * 8]
    raised = [event for event in of_job if event.kind == "exception"]
    assert [(event.worker, repr(event.error)) for event in raised] == [("work", "ValueError('no')")] * 2
    assert all(event.seconds is not None and 0 <= event.seconds <= took for event in raised)
    written = [event.job for event in of_job if event.kind in ("retry", "dead")]
    assert [job.retry_count for job in written if job] == [0, 1]
    assert [repr(event.error) for event in of_job if event.kind in ("retry", "dead")] == ["ValueError('no')"] * 2


async def test_what_ends_without_an_error_stops(scene: Scene) -> None:
    events: list[Event] = []
    async with scene.open(work, listeners=[events.append]) as q:
        await q.push(work.job("snooze"))
        await until(lambda: ("stop", "done") in told(events))

    assert list(told(events))[2:-1] == [
        *[("fetch",), ("start",), ("stop", "schedule"), ("fetch",), ("start",), ("stop", "done")]
    ]


async def test_the_time_in_the_queue_is_told_with_the_fetch(scene: Scene) -> None:
    events: list[Event] = []
    await scene.push("default", payload("work", "x", enqueued_at=1.0), payload("work", "y"))
    async with scene.open(work, listeners=[events.append]):
        await until(lambda: list(told(events)).count(("stop", "done")) == 2)

    waits = [event.seconds for event in events if event.kind == "fetch"]
    assert waits[0] is not None
    assert waits[0] > 1e9
    assert waits[1] is None


async def test_a_stop_that_cuts_a_run_short_is_no_exception(scene: Scene) -> None:
    begun = anyio.Event()

    @exq.worker
    async def forever() -> None:
        begun.set()
        await anyio.sleep_forever()

    events: list[Event] = []
    async with scene.open(forever, listeners=[events.append], shutdown_timeout=0) as q:
        await q.push(forever.job())
        await begun.wait()

    assert list(told(events))[-2:] == [("stop", "push_back"), ("node_stop",)]


async def test_a_rescue_is_told_by_who_did_it(scene: Scene) -> None:
    events: list[Event] = []
    dead = await scene.dead_node("here")
    await scene.leave_taken(dead, "default", payload("work", "x"), payload("work", "y"))
    async with scene.open(work, listeners=[events.append], node_identifier="here"):
        await until(lambda: list(told(events)).count(("stop", "done")) == 2)

    first, second = events[:2]
    assert [(event.kind, event.other, event.jobs) for event in (first, second)] == [
        *[("rescue", dead, 2), ("node_start", "", 0)]
    ]


@pytest.mark.parametrize(
    ("job", "end"),
    [
        (work.job("discard"), [("stop", "discarded")]),
        (work.job("dead"), [("stop", "dead"), ("dead",)]),
        (work.job("fail").on(max_retries=False), [("exception", "discarded")]),
        (work.job("hang").on(max_retries=0, timeout=0.01), [("exception", "dead"), ("dead",)]),
        (choosy.job("KeyError"), [("exception", "dead"), ("dead",)]),
        (choosy.job("ValueError"), [("exception", "discarded")]),
        (exq.JobSpec(worker="unknown").on(max_retries=0), [("exception", "dead"), ("dead",)]),
    ],
    ids=lambda one: one.worker if isinstance(one, exq.JobSpec) else "-".join(one[0]),
)
async def test_each_end_is_told_once(scene: Scene, job: exq.JobSpec, end: list[tuple[str, ...]]) -> None:
    events: list[Event] = []
    async with scene.open(work, choosy, listeners=[events.append]) as q:
        await q.push(job)
        await until(lambda: scene.count("processed"))

    assert list(told(events)) == [("node_start",), ("enqueue",), ("fetch",), ("start",), *end, ("node_stop",)]


async def test_a_job_that_is_cancelled_is_told_of_as_one_that_fails_for_good(scene: Scene) -> None:
    events: list[Event] = []
    async with scene.open(work, listeners=[events.append], poll_timeout=0.1) as q:
        jid = await q.push(work.job("hang"))
        await until(lambda: ("start",) in told(events))
        await q.api.cancel(jid)
        await until(lambda: ("dead",) in told(events))

    assert list(told(events))[3:] == [("start",), ("exception", "dead"), ("dead",), ("node_stop",)]
    assert [type(event.error).__name__ for event in events if event.kind == "dead"] == ["JobCancelled"]


async def test_what_an_operator_does_is_not_told(scene: Scene) -> None:
    events: list[Event] = []
    async with scene.open(mode={"enqueuer", "api"}, listeners=[events.append]) as q:
        await q.push(work.job("x").on(after=1000))
        (job,) = await q.api.scheduled().page()
        assert await q.api.scheduled().kill(job)
        (job,) = await q.api.dead().page()
        assert await q.api.dead().retry(job)

    assert list(told(events)) == [("enqueue",)]
    assert len(await scene.queue()) == 1


async def test_a_job_that_a_rescue_gives_up_is_told_to_be_dead(scene: Scene) -> None:
    events: list[Event] = []
    dead = await scene.dead_node("here")
    often = {"rescue_count": 3, "rescued_at": time.time()}
    killer = payload("killer", **often)
    await scene.leave_taken(dead, "default", payload("work", "x"), killer, b"no job")
    await scene.redis.hset(scene.key(f"{dead}:lease"), {"alone": "jid-killer"})
    async with scene.open(work, listeners=[events.append], node_identifier="here"):
        await until(lambda: ("stop", "done") in told(events))

    given_up, rescue, *_ = events
    assert list(told(events)) == [
        ("dead",), ("rescue",), ("node_start",), ("fetch",), ("start",), ("stop", "done"), ("node_stop",)
    ]  # fmt: skip
    assert given_up.job is not None
    assert (given_up.job.jid, given_up.other, given_up.error) == ("jid-killer", dead, None)
    assert (given_up.job.record["error_class"], given_up.job.queue) == ("PoisonJob", "default")
    assert (rescue.jobs, rescue.other) == (3, dead)
    assert given_up.job.record in [read(member) for member, _ in await scene.scored("dead")]


async def test_what_another_rescue_left_is_told_by_who_finishes_it(scene: Scene) -> None:
    events: list[Event] = []
    dead = await scene.dead_node("elsewhere")
    await scene.redis.hdel(scene.key(f"{dead}:lease"), ["token"])
    await scene.redis.hset(scene.key(f"{dead}:lease"), {"condemned": "1"})
    await scene.leave_taken(dead, "default", payload("work", "x"))
    async with scene.open(work, listeners=[events.append], heartbeat_interval=0.1):
        await until(lambda: ("stop", "done") in told(events))

    assert [(event.other, event.jobs) for event in events if event.kind == "rescue"] == [(dead, 1)]


async def test_a_node_that_breaks_is_told_to_have_stopped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    broken = anyio.Event()

    async def breaks(*_: object) -> None:
        await broken.wait()
        raise ZeroDivisionError

    monkeypatch.setattr("exq_anyio.node.heartbeat.tick", breaks)

    async def open_one() -> None:
        async with scene.open(work, listeners=[events.append]):
            broken.set()
            await anyio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await open_one()

    assert list(told(events)) == [("node_start",), ("node_stop",)]


def often(job: exq.JobSpec) -> list[exq.Periodic]:
    return [exq.Periodic("often", job, exq.Every(0.1, missed="skip"))]


async def test_each_job_of_a_schedule_is_told_by_the_node_that_enqueued_it(scene: Scene) -> None:
    events: list[Event] = []
    settings: dict[str, object] = {"listeners": [events.append], "periodic": often(work.job("x")), "queues": []}
    async with scene.open(work, **settings) as one, scene.open(work, **settings) as two:
        await until(lambda: list(told(events)).count(("enqueue",)) >= 4)
        enqueued = [event for event in events if event.kind == "enqueue"]
        there = {Job.decode(one).jid for one in await scene.queue()}

    jids = [event.job.jid for event in enqueued if event.job]
    assert len(set(jids)) == len(enqueued)
    assert set(jids) <= there
    assert {event.node_id for event in enqueued} <= {one.node_id, two.node_id}
    assert all(event.job.queue == "default" for event in enqueued if event.job)


async def test_what_a_unique_lock_keeps_out_of_a_schedule_is_not_told(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    caplog.set_level("INFO", "exq_anyio")
    periodic = often(work.job("x").on(unique_for=60))
    async with scene.open(work, listeners=[events.append], periodic=periodic, queues=[]):
        await until(lambda: sum("jobs=0 locked=1" in line for line in caplog.messages) >= 2)

    assert list(told(events)) == [("node_start",), ("enqueue",), ("node_stop",)]


async def test_jobs_that_are_refused_are_not_told(scene: Scene) -> None:
    events: list[Event] = []
    async with scene.enqueuer(listeners=[events.append]) as q:
        await q.enqueue_all([exq.JobSpec(worker="w").on(unique_for=9), exq.JobSpec(worker="w").on(unique_for=9)])

    assert list(told(events)) == [("enqueue",)]


async def test_a_listener_that_fails_costs_no_job_and_no_other_listener(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError

    async with scene.open(work, listeners=[broken, events.append]) as q:
        await q.push(work.job("x"))
        await until(lambda: scene.count("processed"))

    assert ("stop", "done") in told(events)
    assert "listener failed: event=start" in caplog.messages


async def test_where_nobody_listens_nothing_is_told(scene: Scene) -> None:
    async with scene.open(work) as q:
        assert type(q._node.performer) is Performer  # type: ignore[union-attr]
        assert q._node.rescues._buried("x") is None  # type: ignore[union-attr]
    assert TickTeller.build([], [lambda spec: spec], time.time) is None
    async with scene.open(work, listeners=[print]) as q:
        assert type(q._node.performer) is TellingPerformer  # type: ignore[union-attr]


@pytest.mark.parametrize("listeners", [print, "print", [7]])
def test_listeners_are_a_list_of_functions(listeners: Any) -> None:
    with pytest.raises(exq.ConfigError, match="listeners: must be a list"):
        exq.Config(listeners=listeners)


async def test_a_mock_tells_of_schedules_as_a_node_does(exq_mock: Mock) -> None:
    events: list[Event] = []
    hourly = exq.Periodic("hourly", work.job("x").on(unique_for=10_000), exq.Every(3600))
    async with exq.open(workers=[work], listeners=[events.append], periodic=[hourly]):
        jobs = await exq_mock.tick(until=7200)

    assert [(event.kind, event.job.jid, event.node_id) for event in events if event.job] == [
        ("enqueue", jobs[0].jid, "mock#1")
    ]


async def test_a_mock_tells_as_a_node_does(exq_mock: Mock) -> None:
    events: list[Event] = []
    async with exq.open(workers=[work], listeners=[events.append], mode="enqueuer") as q:
        await q.push(work.job("fail"))
        await exq_mock.drain(raises=False)

    assert list(told(events)) == [
        *[("enqueue",), ("start",), ("exception", "retry"), ("retry",), ("start",), ("exception", "dead"), ("dead",)]
    ]
