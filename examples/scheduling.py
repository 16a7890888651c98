"""Jobs for later: after some time, at an instant, many in one step, only one of a kind.

::

    pip install "exq-anyio[embedded]"
    python examples/scheduling.py
"""

from datetime import UTC, datetime, timedelta

import anyio

import exq_anyio as exq

reminded: list[str] = []
all_reminded = anyio.Event()


@exq.worker(queue="reminders")
async def remind(what: str) -> None:
    """Note it."""
    reminded.append(what)
    if len(reminded) == 4:
        all_reminded.set()


async def main() -> None:
    """Schedule, and wait for all but the one of tomorrow."""
    # The scheduler looks each second for what is due; a test, or a demonstration, has less patience.
    async with exq.open(url="embedded://", queues=["reminders"], scheduler_poll_timeout=0.05) as q:
        await q.enqueue_in("reminders", 0.2, remind, ["after 0.2 s"])
        await q.enqueue_at("reminders", datetime.now(UTC) + timedelta(seconds=0.1), remind, ["at an instant"])
        # In one step: all of them or, should Redis refuse, none.
        await q.enqueue_all([remind.job("now"), remind.job("last").on(after=timedelta(seconds=0.5))])

        # While a job holds the lock (here until it succeeds, or is an hour late), an equal one is refused.
        unique = remind.job("only once").on(after=timedelta(days=1), unique_for=3600)
        jid = await q.push(unique)
        try:
            await q.push(unique)
        except exq.Conflict as conflict:
            print("refused for the sake of the one that waits:", conflict.jid == jid)

        with anyio.fail_after(30):
            await all_reminded.wait()
    print(*sorted(reminded), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
