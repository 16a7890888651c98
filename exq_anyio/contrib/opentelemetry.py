"""OpenTelemetry: traces from an enqueue to all runs of the job, and metrics.  Needs the extra ``telemetry``.

::

    config = instrument(url="redis://localhost")  # takes what exq.open takes
    async with exq.open(config) as q: ...

The context travels in the fields ``traceparent`` and ``tracestate`` of the job, as W3C has them, and where the
instrumentation of Sidekiq puts and finds them too.  Names follow the semantic conventions for messaging.  A run is a
child of its enqueue, as they allow where one message is processed at a time, and linked to it, as they ask for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import attrs
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from .._version import __version__
from ..client import ClientMiddleware
from ..config import Config
from ..events import Event, Listener
from ..job import Job, new_jid
from ..load import load_config, with_code
from ..middleware import Middleware, default_middleware
from ..outcome import Halt
from ..spec import JobSpec

SYSTEM = "exq"
"""What ``messaging.system`` is."""

FIELDS = frozenset({"traceparent", "tracestate", "baggage"})
"""The fields of a job that the context is read from."""


def instrument(
    config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
    /,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    propagator: TextMapPropagator | None = None,
    **overrides: object,
) -> Config:
    """The settings with spans around each enqueue and each run, and with metrics.

    *config* and *overrides* are those of :func:`~exq_anyio.open`.  The providers and the propagator are the global ones
    unless given.

    Raises:
        ConfigError: a setting is wrong.
    """
    settings = with_code(load_config(config, **cast("dict[str, Any]", overrides)))
    tracer = trace.get_tracer("exq_anyio", __version__, tracer_provider)
    meter = metrics.get_meter("exq_anyio", __version__, meter_provider)
    stack = default_middleware if settings.middleware is None else settings.middleware
    return attrs.evolve(
        settings,
        # Outermost, so that what other middlewares log is in the trace too.
        middleware=(runs(tracer, propagator), *stack),
        client_middleware=(*settings.client_middleware, enqueues(tracer, propagator)),
        listeners=(*settings.listeners, measures(meter)),
    )


def enqueues(tracer: trace.Tracer, propagator: TextMapPropagator | None = None) -> ClientMiddleware:
    """A client middleware that puts a span around each enqueue, and its context in the job."""
    return _Enqueues(tracer, propagator)


@attrs.frozen
class _Enqueues:
    tracer: trace.Tracer
    propagator: TextMapPropagator | None

    @asynccontextmanager
    async def __call__(self, spec: JobSpec) -> AsyncIterator[JobSpec]:
        jid = spec.options.jid or new_jid()
        attributes = _of_job(spec.queue, jid, spec.worker)
        with self.tracer.start_as_current_span(_send(spec.queue), kind=SpanKind.PRODUCER, attributes=attributes):
            carrier: dict[str, str] = {}
            _propagator(self.propagator).inject(carrier)
            yield spec.on(jid=jid).with_fields(carrier)

    def __exq_tick__(self, job: Job) -> tuple[Mapping[str, str], Callable[[], object]]:
        """The same for a job of a periodic schedule, which begins a trace.

        The span is ended, and so exported, only by the node that has enqueued the job: the others were too late.
        """
        attributes = _of_job(job.queue, job.jid, job.worker)
        span = self.tracer.start_span(_send(job.queue), Context(), SpanKind.PRODUCER, attributes)
        carrier: dict[str, str] = {}
        _propagator(self.propagator).inject(carrier, trace.set_span_in_context(span, Context()))
        return carrier, span.end


def runs(tracer: trace.Tracer, propagator: TextMapPropagator | None = None) -> Middleware:
    """A middleware that puts a span around each run, in the trace that the job was enqueued in."""

    def run(job: Job) -> AbstractAsyncContextManager[object, bool | None]:
        return _run(tracer, _propagator(propagator), job)

    return run


@asynccontextmanager
async def _run(tracer: trace.Tracer, propagator: TextMapPropagator, job: Job) -> AsyncIterator[None]:
    carrier = {name: value for name in FIELDS if isinstance(value := job.record.get(name), str)}
    attributes = {**_of_job(job.queue, job.jid, job.worker, "process"), "exq.attempt": job.attempt}
    context = propagator.extract(carrier, Context())  # and not within whatever the node was started in
    enqueue = trace.get_current_span(context).get_span_context()
    with tracer.start_as_current_span(
        f"process {job.queue}",
        context=context,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(enqueue)] if enqueue.is_valid else None,  # the conventions ask for it, also where it is the parent
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Halt:
            raise  # how a middleware or a worker ends a job, and no failure
        except BaseException as error:
            span.set_attribute("error.type", _name(error))
            if isinstance(error, Exception):
                span.record_exception(error)
            # Else it was cancelled: by its timeout, a stop or an operator.
            span.set_status(Status(StatusCode.ERROR, str(error)))
            raise


def measures(meter: metrics.Meter) -> Listener:
    """A listener that counts and measures: what was sent, consumed, how long runs took, and what became of them."""
    sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Jobs enqueued by this program.")
    consumed = meter.create_counter("messaging.client.consumed.messages", "{message}", "Jobs taken by nodes.")
    duration = meter.create_histogram("messaging.process.duration", "s", "How long runs took.")
    wait = meter.create_histogram("exq.job.wait", "s", "How long jobs lay in their queue.")
    outcomes = meter.create_counter("exq.job.outcomes", "{job}", "What became of runs.")
    rescued = meter.create_counter("exq.job.rescues", "{job}", "Jobs put back that a dead node had taken.")

    def ended(event: Event, of_queue: dict[str, str]) -> None:
        of_run = {**of_queue, "exq.worker": event.worker}
        if event.error is not None:
            of_run["error.type"] = _name(event.error)
        if event.seconds is not None:
            duration.record(event.seconds, of_run)
        outcomes.add(1, {**of_run, "exq.outcome": event.outcome or "lost"})

    def measure(event: Event) -> None:
        queue = "" if event.job is None else event.job.queue
        match event.kind:
            case "enqueue":
                sent.add(1, _of_queue(queue, "send"))
            case "fetch":
                consumed.add(1, _of_queue(queue, "receive"))
                if event.seconds is not None:
                    wait.record(event.seconds, _of_queue(queue, "receive"))
            case "stop" | "exception":
                ended(event, _of_queue(queue, "process"))
            case "rescue":
                rescued.add(event.jobs)
            case "dead" if event.other:  # given up by a rescue: no run has ended
                ended(attrs.evolve(event, outcome="dead"), _of_queue(queue, "process"))
            case _:
                pass

    return measure


def _send(queue: str) -> str:
    return f"send {queue}"


def _of_job(queue: str, jid: str, worker: str, operation: str = "send") -> dict[str, str | int]:
    return {**_of_queue(queue, operation), "messaging.message.id": jid, "exq.worker": worker}


def _of_queue(queue: str, operation: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _propagator(given: TextMapPropagator | None) -> TextMapPropagator:
    return propagate.get_global_textmap() if given is None else given
