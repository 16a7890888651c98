"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """Something that somebody bought."""

    cents = models.IntegerField()
    paid = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"order {self.pk}"
