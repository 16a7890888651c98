"""``manage.py exqworker``: a process that performs jobs."""

from __future__ import annotations

import functools
import logging
import os
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any, NoReturn

import anyio
import attrs
from django.core.management.base import BaseCommand, CommandError

from .....errors import ExqError
from .....process import serve
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
        parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop; asyncio")

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        try:
            given = {"queues": options["queue"] and ",".join(options["queue"]), "concurrency": options["concurrency"]}
            changes = {name: value for name, value in given.items() if value is not None}
            config = attrs.evolve(queue().config, mode="default", **changes)
            tend_connections(Registry.build(config.workers, config.imports))
            uvloop = options["backend"] == "asyncio" and find_spec("uvloop") is not None
            all_ended = anyio.run(
                functools.partial(serve, config, last_resort=_leave),
                backend=options["backend"],
                backend_options={"use_uvloop": True} if uvloop else {},
            )
        except ExqError as error:
            raise CommandError(str(error)) from error
        if not all_ended:
            _leave()


def _leave() -> NoReturn:
    """End the process although a job in it does not, which stays for recovery: Python would wait for its thread."""
    logging.shutdown()
    os._exit(0)
