"""What happens to jobs, told as it happens: to a reporter of errors, and to Prometheus.

::

    pip install "exq-anyio[embedded,telemetry]"
    python examples/telemetry.py
"""

import anyio
from prometheus_client import CollectorRegistry

import exq_anyio as exq
from exq_anyio.contrib.prometheus import JobMetrics
from exq_anyio.events import Event

registry = CollectorRegistry()  # a program has one already: JobMetrics() takes that
ended = anyio.Event()


def report(event: Event) -> None:
    """What an error reporter needs; with Sentry, ``sentry_sdk.capture_exception(event.error)``."""
    if event.kind == "exception" and event.error is not None and event.job is not None:
        print(
            f"{type(event.error).__name__} in {event.worker}, attempt {event.job.attempt}: it will be {event.outcome}"
        )
        if event.outcome == "dead":
            ended.set()
    if event.kind == "node_stop":
        print("the node has stopped")


@exq.worker(max_retries=1, backoff=lambda job, error: 0.05)
async def divide(by: int) -> float:
    """Fails for 0, and has no better idea a moment later."""
    return 1 / by


async def main() -> None:
    """Divide, and tell what came of it."""
    listeners = [report, JobMetrics(registry)]
    async with exq.open(url="embedded://", listeners=listeners, scheduler_poll_timeout=0.05) as q:
        await q.enqueue_all(divide.job(by) for by in (1, 2, 0))
        with anyio.fail_after(30):
            await ended.wait()
    for outcome in ("done", "retry", "dead"):
        labels = {"queue": "default", "worker": "divide", "outcome": outcome}
        print(f"{outcome}: {registry.get_sample_value('exq_jobs_total', labels):g}")


if __name__ == "__main__":
    anyio.run(main)
