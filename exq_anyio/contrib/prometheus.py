"""Prometheus: what the jobs of this process did, and how the queues of all are.  Needs the extra ``telemetry``.

::

    config = exq.Config(listeners=[JobMetrics()])          # in each worker process, with exq.open or exq.serve
    Mount("/metrics", queue_metrics(q))                    # once: an ASGI application for Starlette, FastAPI, Litestar
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from ..api import Api, QueueInfo, Stats
from ..errors import ExqError
from ..events import Event

DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper ends of the buckets of durations, in seconds."""


class JobMetrics:
    """A listener (``Config.listeners``) that counts in a registry of prometheus-client.

    Labels are names of queues and of this program's own workers, so that they are bounded by what it declares.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY, prefix: str = "exq") -> None:
        queue, worker = ("queue",), ("queue", "worker")
        self._enqueued = Counter(f"{prefix}_jobs_enqueued", "Jobs enqueued by this process.", queue, registry=registry)
        self._ended = Counter(
            f"{prefix}_jobs", "Runs, by what became of the job.", (*worker, "outcome"), registry=registry
        )
        self._duration = Histogram(
            f"{prefix}_job_duration_seconds", "How long runs took.", worker, buckets=DURATIONS, registry=registry
        )
        self._wait = Histogram(
            f"{prefix}_job_wait_seconds",
            "How long jobs lay in their queue.",
            queue,
            buckets=DURATIONS,
            registry=registry,
        )
        self._rescued = Counter(f"{prefix}_jobs_rescued", "Jobs that a dead node had taken.", registry=registry)

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        queue = "" if event.job is None else event.job.queue
        match event.kind:
            case "enqueue":
                self._enqueued.labels(queue).inc()
            case "fetch" if event.seconds is not None:
                self._wait.labels(queue).observe(event.seconds)
            case "stop" | "exception":
                self._ended.labels(queue, event.worker, event.outcome or "lost").inc()
                if event.seconds is not None:
                    self._duration.labels(queue, event.worker).observe(event.seconds)
            case "rescue":
                self._rescued.inc(event.jobs)
            case "dead" if event.other:  # given up by a rescue: no run has ended
                self._ended.labels(queue, "", "dead").inc()
            case _:
                pass


class HasApi(Protocol):
    """An open instance, in a mode that offers ``api``."""

    @property
    def api(self) -> Api:
        """See :class:`~exq_anyio.Exq`."""
        ...


def queue_metrics(
    q: HasApi | Callable[[], HasApi], prefix: str = "exq"
) -> Callable[[Mapping[str, Any], Callable[..., Awaitable[Any]], Callable[..., Awaitable[Any]]], Awaitable[None]]:
    """An ASGI application that shows the sizes and latencies of all queues of the namespace of *q*, and its figures.

    *q* may be a function that returns the instance, for one that is opened later.  What it shows is the same whichever
    process is asked: one is enough.  It answers 503 while Redis is away.
    """

    async def show(scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"only http is answered, not {scope['type']}")
        accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
        try:
            status, (body, kind) = 200, await _exposed((q if hasattr(q, "api") else q()).api, prefix, accept)
        except ExqError as error:
            status, body, kind = 503, f"{error}\n".encode(), "text/plain; charset=utf-8"
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return show


async def _exposed(api: Api, prefix: str, accept: str) -> tuple[bytes, str]:
    stats, queues = await api.stats(), await api.queues()
    registry = CollectorRegistry()
    registry.register(_Collected(list(families(stats, queues, prefix))))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Collected:
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        return iter(self._found)


def families(stats: Stats, queues: list[QueueInfo], prefix: str = "exq") -> Iterator[Metric]:
    """The figures of a namespace as metrics."""
    size = GaugeMetricFamily(f"{prefix}_queue_size", "Jobs that wait in the queue.", labels=["queue"])
    latency = GaugeMetricFamily(
        f"{prefix}_queue_latency_seconds", "How long the next job has waited.", labels=["queue"]
    )
    paused = GaugeMetricFamily(f"{prefix}_queue_paused", "Whether nobody takes from the queue.", labels=["queue"])
    for queue in queues:
        size.add_metric([queue.name], queue.size)
        latency.add_metric([queue.name], queue.latency)
        paused.add_metric([queue.name], int(queue.paused))
    yield from (size, latency, paused)
    for name, text, value in (
        ("scheduled", "Jobs that are due later.", stats.scheduled),
        ("retries", "Jobs that are tried again later.", stats.retry),
        ("dead", "Jobs that were given up.", stats.dead),
        ("busy", "Jobs that run.", stats.busy),
        ("nodes", "Nodes that live.", stats.nodes),
    ):
        yield GaugeMetricFamily(f"{prefix}_{name}", text, value)
    yield CounterMetricFamily(f"{prefix}_processed", "Runs of all nodes.", stats.processed)
    yield CounterMetricFamily(f"{prefix}_failed", "Runs of all nodes that failed.", stats.failed)
