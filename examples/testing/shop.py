"""A program to be tested: an order is paid for, and a reminder is sent where that fails for want of money.

Its tests, beside it, say how to run them.
"""

from datetime import timedelta

import exq_anyio as exq

config = exq.Config(url="redis://redis.example.com", queues=["payments", "mail"])

paid: list[int] = []
sent: list[str] = []


@exq.worker(queue="payments", max_retries=3)
async def charge(order: int, cents: int) -> None:
    """Take the money; a card without any is no reason to try again."""
    if cents < 0:
        raise ValueError(f"order {order} costs {cents} cents")
    if cents > 100_000:
        async with exq.open(config, mode="enqueuer") as q:
            await q.push(remind.job(order).on(after=timedelta(days=3)))
    else:
        paid.append(order)


@exq.worker(queue="mail")
def remind(order: int) -> None:
    """Ask for the money; it blocks, and so runs in a thread."""
    sent.append(f"order {order} is not paid")


async def place_order(order: int, cents: int) -> None:
    """What a request does in a program that does not block."""
    async with exq.open(config, mode="enqueuer") as q:
        await q.push(charge.job(order, cents))


blocking = exq.sync(config)


def place_order_and_block(order: int, cents: int) -> None:
    """What a request does in a program that blocks."""
    blocking.push(charge.job(order, cents))
