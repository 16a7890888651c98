"""The ways in which a job can end: done, retried, dead, discarded, put off.

::

    pip install "exq-anyio[embedded]"
    python examples/retries.py
"""

import anyio

import exq_anyio as exq

story: list[str] = []
told = anyio.Event()


def tell(line: str) -> None:
    """Add to the story, which has seven lines."""
    story.append(line)
    if len(story) == 7:
        told.set()


def soon(job: exq.Job, error: BaseException) -> float:
    """Seconds until the next attempt, instead of Sidekiq's curve (15 s, 16 s, 31 s, ... up to 20 days for the 25th)."""
    return 0.05


@exq.worker(max_retries=5, backoff=soon)
async def unsteady() -> None:
    """Fails twice; raising is all it takes to be retried."""
    # None at the first run, 0 after the first failure, 1 after the second: as Sidekiq counts.
    failures = exq.worker_job().retry_count
    tell(f"unsteady: retry_count {failures}")
    if failures != 1:
        raise ConnectionError("try again")


@exq.worker
async def order(state: str) -> exq.Snooze | exq.Dead | exq.Discard | None:
    """Ends without an error, each time in another way."""
    put_off = exq.worker_job().record.get("snooze_count", 0)
    tell(f"order: {state}, put off {put_off} times")
    match state:
        case "being paid" if not put_off:
            return exq.Snooze(0.05)  # again later; uses no attempt
        case "unknown":
            return exq.Dead("no such order")  # to the dead set at once, for a person to look at
        case "cancelled":
            return exq.Discard("nothing to do")  # gone, and nobody need look
        case _:
            return None


async def main() -> None:
    """Run them all."""
    async with exq.open(url="embedded://", scheduler_poll_timeout=0.05) as q:
        await q.push(unsteady.job())
        await q.enqueue_all(order.job(state) for state in ("being paid", "unknown", "cancelled"))
        with anyio.fail_after(30):
            await told.wait()
    print(*sorted(story), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
