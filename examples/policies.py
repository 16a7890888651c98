"""What becomes of a job depends on its error: try again, later or soon; give up; forget it; tell somebody.

::

    pip install "exq-anyio[embedded]"
    python examples/policies.py
"""

import anyio

import exq_anyio as exq

story: list[str] = []
told = anyio.Event()


def tell(line: str) -> None:
    """Add to the story, which has a line for each payment."""
    story.append(line)
    if len(story) == 5:
        told.set()


class CardRefused(Exception):
    """No attempt will change that."""


class OrderGone(Exception):
    """Nobody needs the payment any more."""


class Busy(Exception):
    """The bank says when to come again."""

    seconds = 0.1


def as_the_bank_says(job: exq.Job, error: BaseException) -> float:
    """Seconds until the next attempt."""
    return error.seconds if isinstance(error, Busy) else 60


async def apologise(job: exq.Job, error: BaseException) -> None:
    """Called when a payment is given up, before it is in the dead set."""
    tell(f"given up: {job.args[0]}, {type(error).__name__}")


@exq.worker(
    retry_on=(ConnectionError, Busy),  # nothing else is retried
    backoff_on={ConnectionError: 0.05, Busy: as_the_bank_says},
    dead_on=CardRefused,
    discard_on=OrderGone,
    on_exhausted=apologise,
)
async def pay(order: str) -> None:
    """Fails in another way for each order."""
    match order, exq.worker_job().attempt:
        case "by bad line", 1:
            raise ConnectionError("try again")
        case "at noon", 1:
            raise Busy
        case "by bad card", _:
            raise CardRefused
        case "cancelled", _:
            raise OrderGone
    tell(f"paid: {order}, attempt {exq.worker_job().attempt}")


async def main() -> None:
    """Pay them all, or nearly."""
    async with exq.open(url="embedded://", scheduler_poll_timeout=0.05) as q:
        await q.enqueue_all(pay.job(order) for order in ("easy", "by bad line", "at noon", "by bad card", "cancelled"))
        with anyio.fail_after(30):
            await told.wait()
    print(*sorted(story), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
