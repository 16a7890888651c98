"""What the shop does."""

from django.db import transaction

from exq_anyio.contrib.django import push_on_commit

from .jobs import charge
from .models import Order


@transaction.atomic
def place(cents: int) -> Order:
    """Store an order, and have it charged as soon as it is there for all to see; one that costs nothing is refused."""
    order = Order.objects.create(cents=cents)
    push_on_commit(charge.job(order.pk))
    if cents <= 0:
        raise ValueError("an order costs something")
    return order
