"""One trace from an enqueue through all that follows from it, in the terms of the semantic conventions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import coredis
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import exq_anyio as exq
from exq_anyio.contrib.opentelemetry import enqueues, instrument
from exq_anyio.exchange import Outgoing
from exq_anyio.node.telling import TickTeller
from exq_anyio.periodic import Seen, Tick
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene, payload, until


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)


class Telemetry:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def config(self, scene: Scene, *workers: object, **settings: Any) -> exq.Config:
        return instrument(
            {"url": scene.url, "namespace": scene.namespace, "workers": workers, "scheduler_poll_timeout": 0.02},
            tracer_provider=self.traces,
            meter_provider=self.meters,
            **settings,
        )

    def spans(self) -> Sequence[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self.spans() if span.name == name]

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        found: Any = self.reader.get_metrics_data()
        return [
            (dict(point.attributes), getattr(point, "value", None) or point.count)
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@exq.worker(queue="second")
async def second() -> None: ...


async def test_a_request_and_two_chained_jobs_are_one_trace(scene: Scene) -> None:
    telemetry = Telemetry()
    instances: list[exq.Exq] = []

    @exq.worker(queue="first")
    async def first() -> None:
        await instances[0].push(second.job())

    async with exq.open(telemetry.config(scene, first, second, queues=["first", "second"])) as q:
        instances.append(q)
        with telemetry.traces.get_tracer("web").start_as_current_span("POST /orders"):
            jid = await q.push(first.job())
        await until(lambda: len(telemetry.spans()) == 5)

    spans = telemetry.spans()
    assert [(span.name, span.kind) for span in spans] == [
        ("POST /orders", SpanKind.INTERNAL),
        ("send first", SpanKind.PRODUCER),
        ("process first", SpanKind.CONSUMER),
        ("send second", SpanKind.PRODUCER),
        ("process second", SpanKind.CONSUMER),
    ]
    assert len({span.context.trace_id for span in spans}) == 1
    parents = [None if span.parent is None else span.parent.span_id for span in spans]
    assert parents == [None, *[span.context.span_id for span in spans[:-1]]]
    links = [[link.context.span_id for link in span.links] for span in spans]
    assert links == [[], [], [spans[1].context.span_id], [], [spans[3].context.span_id]]
    assert (spans[1].attributes or {})["messaging.message.id"] == jid
    assert dict(spans[2].attributes or {}) == {
        "messaging.system": "exq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "first",
        "messaging.message.id": jid,
        "exq.worker": "first",
        "exq.attempt": 1,
    }


async def test_each_job_of_a_schedule_begins_a_trace_in_the_node_that_enqueued_it(scene: Scene) -> None:
    telemetry = Telemetry()
    often = [exq.Periodic("often", second.job(), exq.Every(0.1, missed="skip"))]
    config = telemetry.config(scene, second, queues=["second"], periodic=often)
    with telemetry.traces.get_tracer("program").start_as_current_span("main"):
        async with exq.open(config), exq.open(config):
            await until(lambda: len(telemetry.named("process second")) >= 3)
            done = telemetry.named("process second")
            # One node may have done a job before the other has heard that it was enqueued.
            parents = {span.parent.span_id if span.parent else 0 for span in done}
            await until(lambda: parents <= {span.context.span_id for span in telemetry.named("send second")})

    sent = {span.context.span_id: span for span in telemetry.named("send second")}
    ids = [(span.attributes or {})["messaging.message.id"] for span in sent.values()]
    assert len(set(ids)) == len(ids)
    assert all(span.parent is None and span.kind == SpanKind.PRODUCER for span in sent.values())
    for span in done:
        assert span.parent is not None
        enqueued = sent[span.parent.span_id]
        assert enqueued.context.trace_id == span.context.trace_id
        assert (enqueued.attributes or {})["messaging.message.id"] == (span.attributes or {})["messaging.message.id"]


class Broken:
    def __exq_tick__(self, job: exq.Job) -> NoReturn:
        raise RuntimeError


def test_a_node_that_was_too_late_for_a_tick_exports_no_span_of_it(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    marks = [Broken(), enqueues(telemetry.traces.get_tracer("test"))]
    teller = TickTeller.build([], marks, time.time)
    assert teller is not None
    due = Tick(Seen("often", b"", "1"), (Outgoing("second", payload("second", jid="a"), "a"),), "1 a", 2.0)

    (tick,) = teller.before([due])
    teller.after(tick, None, "node")
    assert telemetry.spans() == []

    (tick,) = teller.before([due])
    teller.after(tick, 1, "node")
    (span,) = telemetry.spans()
    written = str(exq.Job.decode(tick.jobs[0].payload).record["traceparent"])
    assert written.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert {line.partition(":")[0] for line in caplog.messages} == {"client middleware failed for a periodic job"}


async def test_a_job_without_a_context_begins_a_trace_wherever_its_node_was_started(scene: Scene) -> None:
    telemetry = Telemetry()
    await scene.push("second", payload("second"))
    with telemetry.traces.get_tracer("program").start_as_current_span("main"):
        async with exq.open(telemetry.config(scene, second, queues=["second"])):
            await until(lambda: scene.count("processed"))

    (done,) = [span for span in telemetry.spans() if span.name == "process second"]
    assert (done.parent, list(done.links)) == (None, [])


async def test_the_context_is_where_others_look_for_it(scene: Scene) -> None:
    telemetry = Telemetry()
    async with exq.open(telemetry.config(scene, mode="enqueuer")) as q:
        await q.enqueue("default", "Ruby::Worker", extra={"other": 1})
    (payload,) = await scene.queue()
    (span,) = telemetry.spans()

    job = exq.Job.decode(payload)
    written = str(job.record["traceparent"])
    assert written.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert job.record["other"] == 1


async def test_a_retry_is_in_the_trace_and_its_error_with_it(scene: Scene) -> None:
    telemetry = Telemetry()

    @exq.worker(max_retries=1, backoff=lambda job, error: 0.01)
    async def work() -> None:
        if exq.worker_job().attempt == 1:
            raise ConnectionError("try again")

    async with exq.open(telemetry.config(scene, work)) as q:
        await q.push(work.job())
        await until(lambda: len(telemetry.spans()) == 3)

    send, failed, done = telemetry.spans()
    assert {failed.context.trace_id, done.context.trace_id} == {send.context.trace_id}
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "try again")
    assert (failed.attributes or {})["error.type"] == "ConnectionError"
    assert [event.name for event in failed.events] == ["exception"]
    assert (done.status.status_code, (done.attributes or {})["exq.attempt"]) == (StatusCode.UNSET, 2)


@pytest.mark.parametrize(("verdict", "status"), [(exq.Halt(), StatusCode.UNSET), (SystemExit(3), StatusCode.ERROR)])
async def test_ends_of_other_kinds(verdict: BaseException, status: StatusCode, scene: Scene) -> None:
    telemetry = Telemetry()

    @exq.worker
    async def work() -> None:
        raise verdict

    async with exq.open(telemetry.config(scene, work)) as q:
        await q.push(work.job())
        await until(lambda: len(telemetry.spans()) == 2)

    assert telemetry.spans()[1].status.status_code == status


async def test_what_happens_is_measured(scene: Scene) -> None:
    telemetry = Telemetry()

    @exq.worker(max_retries=0)
    async def work(how: str) -> None:
        if how == "fail":
            raise ValueError

    async with exq.open(telemetry.config(scene, work)) as q:
        await q.enqueue_all(work.job(how) for how in ("fail", "pass", "pass"))
        await until(lambda: _processed(scene, 3))

    queue = {"messaging.system": "exq", "messaging.destination.name": "default"}
    sent = {**queue, "messaging.operation.name": "send", "messaging.operation.type": "send"}
    run = {**queue, "messaging.operation.name": "process", "messaging.operation.type": "process", "exq.worker": "work"}
    assert telemetry.points("messaging.client.sent.messages") == [(sent, 3)]
    assert [count for _, count in telemetry.points("messaging.client.consumed.messages")] == [3]
    assert [count for _, count in telemetry.points("exq.job.wait")] == [3]
    assert sorted(telemetry.points("messaging.process.duration"), key=lambda point: point[1]) == [
        ({**run, "error.type": "ValueError"}, 1),
        (run, 2),
    ]
    assert sorted(telemetry.points("exq.job.outcomes"), key=lambda point: point[1]) == [
        ({**run, "error.type": "ValueError", "exq.outcome": "dead"}, 1),
        ({**run, "exq.outcome": "done"}, 2),
    ]


async def _processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") == count
