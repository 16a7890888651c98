"""A worker process as ``exq run`` is one, which writes down every run; the exit status 3 is that Redis was away."""

from __future__ import annotations

import argparse
import logging
import random
import sys

import exq_anyio as exq
from exq_anyio.cli.logs import configure
from exq_anyio.cli.work import leave, serve
from exq_anyio.node.dequeuer import LocalLimit

from .jobs import QUEUES, Runs, workers
from .ledger import Ledger

HEARTBEAT = 0.5
"""Seconds between two beats; six of them without one are the death of a node."""

GRACE = 1.0
"""Seconds that jobs have to end after SIGTERM."""

AWAY = 3
"""Exit status of a worker that found no Redis at its start."""

_TOLD = {
    "claim lost": "lost",
    "outcome not counted": "refused",
    "out of time, back": "back",
    "thread does not end": "left",
    "jobs held by nobody": "audited",
    "node is dead": "rescued",
    "node is up": "up",
}
"""What the engine logs that the account needs, by how the line begins; the first value in it is noted too."""


class Told(LocalLimit):
    """The usual dequeuer, which writes down when a job is taken and when the engine has done with it."""

    def __init__(self, concurrency: int, runs: Runs) -> None:
        super().__init__(concurrency)
        self._runs = runs

    def dispatched(self, job: exq.Job) -> None:
        """See :class:`~exq_anyio.node.dequeuer.Dequeuer`."""
        super().dispatched(job)
        self._runs.taken(job)

    def processed(self, job: exq.Job) -> None:
        """See :class:`~exq_anyio.node.dequeuer.Dequeuer`."""
        super().processed(job)
        self._runs.over(job)

    failed = processed


class Heard(logging.Handler):
    """Writes down what the engine says of jobs that it gave up."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        for start, event in _TOLD.items():
            if str(record.msg).startswith(start):
                # The first value is the job, the node or the queue that it is about.
                self._ledger.write(event, *(record.args[:1] if isinstance(record.args, tuple) else ()))


def main() -> None:
    """Work until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--backend", choices=["asyncio", "trio"], required=True)
    asked = parser.parse_args()
    configure("info")
    ledger = Ledger(asked.ledger)
    logging.getLogger("exq_anyio").addHandler(Heard(ledger))
    runs = Runs(ledger)
    config = exq.Config(
        url=asked.url,
        node_identifier=asked.host,
        workers=workers(runs),
        queues=[exq.QueueConfig(queue, dequeuer=Told(limit, runs)) for queue, limit in QUEUES.items()],
        middleware=(),
        backoff=lambda job, error: random.uniform(0.05, 1),
        scheduler_poll_timeout=0.2,
        heartbeat_interval=HEARTBEAT,
        shutdown_timeout=GRACE,
        max_rescues=10_000,  # whoever is killed here is innocent
        dead_max_jobs=10_000_000,
        poll_timeout=2,
        redis_options={"timeout": 2, "connect_timeout": 1},
    )
    try:
        if not serve(config, asked.backend):
            leave()
    except exq.RedisUnavailable as error:
        logging.getLogger("exq_anyio").warning("cannot start: error=%s", error)
        sys.exit(AWAY)


if __name__ == "__main__":
    main()
