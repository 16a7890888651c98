"""Jobs that are given up, reported to Sentry; for each attempt that fails, listen to ``exception`` instead.

::

    pip install "exq-anyio[embedded]" sentry-sdk
    SENTRY_DSN=https://... python examples/sentry/reported.py
"""

import anyio
import sentry_sdk

import exq_anyio as exq
from exq_anyio.events import Event

given_up: list[str] = []
all_given_up = anyio.Event()


def report(event: Event) -> None:
    """A listener: Sentry's client only puts it in a queue, which a thread sends."""
    if event.kind != "dead" or event.job is None:
        return
    job = event.job
    with sentry_sdk.new_scope() as scope:
        scope.set_tags({"queue": job.queue, "worker": job.worker})
        scope.set_context("job", {"jid": job.jid, "node": event.node_id, "retries": job.retry_count})
        if event.error is not None:
            scope.capture_exception(event.error)
        else:  # it has returned exq.Dead, or has killed its node too often
            scope.capture_message(f"{job.error_class}: {job.record['error_message']}", "error")
    given_up.append(job.worker)
    if len(given_up) == 2:
        all_given_up.set()


@exq.worker(max_retries=1, backoff=lambda job, error: 0.05)
async def divide(by: int) -> float:
    """Fails for 0, and has no better idea a moment later."""
    return 1 / by


@exq.worker
async def ship(order: int) -> exq.Dead:
    """Knows that there is no hope."""
    return exq.Dead("there is no such order")


async def main() -> None:
    """Work on two jobs that cannot succeed."""
    # Without this Sentry reads the variables of each function, and so the arguments of jobs.
    sentry_sdk.init(include_local_variables=False)
    async with exq.open(url="embedded://", listeners=[report], scheduler_poll_timeout=0.05) as q:
        await q.enqueue_all([divide.job(0), ship.job(7)])
        await all_given_up.wait()
    print("given up:", *sorted(given_up))


if __name__ == "__main__":
    anyio.run(main)
