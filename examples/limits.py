"""Limits that all nodes keep together: so many jobs at a time, and so many in a length of time.

::

    pip install "exq-anyio[embedded]"
    python examples/limits.py
"""

import anyio

import exq_anyio as exq

running: list[int] = []
most: list[int] = []
begun: list[float] = []
all_done = anyio.Event()


def note_end() -> None:
    """Let the program end after the last job."""
    if len(most) == 20 and len(begun) == 15 and not running:
        all_done.set()


@exq.worker(queue="database")
async def query(number: int) -> None:
    """The database bears three of these at a time, from however many nodes."""
    running.append(number)
    most.append(len(running))
    await anyio.sleep(0.02)
    running.remove(number)
    note_end()


@exq.worker(queue="sms")
async def send(number: int) -> None:
    """The provider takes five in a fifth of a second, and no more."""
    begun.append(anyio.current_time())
    note_end()


QUEUES = {
    "database": exq.Limit(fleet=3),
    "sms": exq.Limit(rates=exq.Rate(5, per=0.2)),  # or kind="fixed", or kind="bucket", burst=5
}


async def main() -> None:
    """One node here, which could run a hundred jobs of each queue at a time; as many as you like share the limits."""
    async with exq.open(url="embedded://", queues=QUEUES) as q:
        await q.enqueue_all(query.job(number) for number in range(20))
        await q.enqueue_all(send.job(number) for number in range(15))
        with anyio.fail_after(20):
            await all_done.wait()
    print("queries at a time, at most:", max(most))
    print("15 messages took long enough:", begun[-1] - begun[0] > 0.35)


if __name__ == "__main__":
    anyio.run(main)
