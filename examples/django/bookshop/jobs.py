"""The workers of the shop; the file is found because of its name."""

import exq_anyio as exq

from .models import Order


@exq.worker(queue="payments", max_retries=5)
def charge(order: int) -> None:
    """Take the money once: a job may run again."""
    Order.objects.filter(pk=order, paid=False).update(paid=True)
