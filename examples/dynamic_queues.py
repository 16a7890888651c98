"""Queues that come and go while the worker runs: here one for each customer, so that none waits behind another.

::

    pip install "exq-anyio[embedded]"
    python examples/dynamic_queues.py
"""

import anyio

import exq_anyio as exq

CUSTOMERS = ("acme", "globex")

done: list[str] = []
all_done = anyio.Event()


@exq.worker
async def export(customer: str, part: int) -> None:
    """Note which queue the job came from."""
    await anyio.sleep(0.01)
    done.append(f"{exq.worker_job().queue}: part {part}")
    if len(done) == len(CUSTOMERS) * 3:
        all_done.set()


async def main() -> None:
    """Take from a new queue for each customer, then from none."""
    async with exq.open(url="embedded://", queues=[]) as q:
        for customer in CUSTOMERS:
            queue = f"exports:{customer}"
            await q.enqueue_all(export.job(customer, part).on(queue=queue) for part in range(3))
            await q.subscribe(queue, concurrency=1)  # one at a time for this customer, all customers side by side
        assert q.subscriptions() == {"exports:acme": 1, "exports:globex": 1}

        with anyio.fail_after(10):
            await all_done.wait()

        await q.unsubscribe("exports:acme")  # returns when nothing more will be taken; running jobs go on
        await q.unsubscribe_all()
        assert q.subscriptions() == {}
    print(*sorted(done), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
