"""``manage.py order CENTS``, in the place of a view."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ...orders import place


class Command(BaseCommand):
    """Place an order."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See BaseCommand."""
        parser.add_argument("cents", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        self.stdout.write(str(place(options["cents"])))
