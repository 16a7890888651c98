"""``manage.py exqworker``: a process that performs jobs."""

from __future__ import annotations

import functools
import os
from argparse import ArgumentParser
from typing import Any

import anyio
import attrs
from django.core.management.base import BaseCommand, CommandError

from .....app import serve
from .....errors import ExqError
from .....worker import Registry
from ...database import tend_connections
from ...enqueue import queue


class Command(BaseCommand):
    """Perform the jobs of the workers in every app's ``jobs.py``, until SIGTERM or Ctrl-C."""

    help = "Perform jobs until SIGTERM or Ctrl-C, which let those that run end; a second one stops at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See BaseCommand."""
        parser.add_argument("-q", "--queue", action="append", help="a queue, or queue:concurrency; may be repeated")
        parser.add_argument("-c", "--concurrency", help="jobs of each queue at a time")

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        try:
            given = {"queues": options["queue"] and ",".join(options["queue"]), "concurrency": options["concurrency"]}
            changes = {name: value for name, value in given.items() if value is not None}
            config = attrs.evolve(queue().config, mode="default", **changes)
            tend_connections(Registry.build(config.workers, config.imports))
            all_ended = anyio.run(functools.partial(serve, config))
        except ExqError as error:
            raise CommandError(str(error)) from error
        if not all_ended:
            os._exit(0)  # a thread that does not end keeps its job for recovery; Python would wait for it
