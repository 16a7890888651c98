"""A queue and a limit for each customer, of which nobody knows beforehand which there are.

::

    pip install "exq-anyio[embedded]"
    python examples/tenants.py
"""

from collections import Counter

import anyio

import exq_anyio as exq

running: Counter[str] = Counter()
most: Counter[str] = Counter()
began: list[str] = []
all_done = anyio.Event()


@exq.worker(queue="exports:{tenant}")
async def export(tenant: str, part: int) -> None:
    """Each customer's jobs go to a queue of its own: exports:acme, exports:globex."""
    began.append(tenant)
    running[tenant] += 1
    most[tenant] = max(most[tenant], running[tenant])
    await anyio.sleep(0.01)
    running[tenant] -= 1
    if len(began) == 121 and not running.total():
        all_done.set()


async def main() -> None:
    """However many nodes do this, two exports of a customer run at a time; here three of all customers together."""
    queues = {"exports:*": exq.Limit(fleet=2)}
    async with exq.open(url="embedded://", queues=queues, total_concurrency=3) as q:
        await q.enqueue_all([*(export.job("acme", part) for part in range(120)), export.job("globex", 0)])
        with anyio.fail_after(20):
            await all_done.wait()
        print("taken from:", *sorted(q.subscriptions()))
    print("exports of acme at a time, at most:", most["acme"])
    print("globex waited for acme's backlog:", began.index("globex") > 110)


if __name__ == "__main__":
    anyio.run(main)
