"""Wrap each job: measure it, see its failures, turn it away.

::

    pip install "exq-anyio[embedded]"
    python examples/middleware.py
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

import exq_anyio as exq

seen: list[str] = []
all_seen = anyio.Event()


@asynccontextmanager
async def report(job: exq.Job) -> AsyncIterator[None]:
    """The first in the list is outermost: it sees all that happens further in."""
    try:
        yield
    except exq.Halt:
        seen.append(f"{job.worker}{job.args}: turned away")
        raise
    except Exception as error:
        # The failure goes on, so that the job is retried; a middleware that swallows it makes the job a success.
        seen.append(f"{job.worker}{job.args}: failed, {error}")
        raise
    else:
        seen.append(f"{job.worker}{job.args}: returned {exq.job_result()}")
    finally:
        if len(seen) == 3:
            all_seen.set()


@asynccontextmanager
async def only_positive(job: exq.Job) -> AsyncIterator[None]:
    """End a job without performing it."""
    if job.args[0] == -1:
        raise exq.Halt(exq.Discard("negative"))
    yield


@exq.worker
async def halve(number: int) -> int:
    """Fails for odd numbers."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


async def main() -> None:
    """Run a job that succeeds, one that fails and one that is turned away."""
    # The list replaces exq.default_middleware, which logs each job that is done; name it to keep it.
    stack = [*exq.default_middleware, report, only_positive]
    async with exq.open(url="embedded://", middleware=stack) as q:
        for number in (8, 7, -1):
            await q.push(halve.job(number))
        with anyio.fail_after(10):
            await all_seen.wait()
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
