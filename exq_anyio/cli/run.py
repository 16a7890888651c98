"""``exq run``: a worker process."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from .logs import LEVELS, configure
from .options import Backend, backend_option, backend_options, import_from_here, redis_options, settings

if TYPE_CHECKING:
    from ..config import Config

logger: logging.Logger = logging.getLogger("exq_anyio")


@click.command()
@click.argument("modules", metavar="[MODULE]...", nargs=-1)
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME[:N]",
    multiple=True,
    help="A queue, and how many of its jobs run at a time; may be repeated.",
)
@click.option("-c", "--concurrency", metavar="N", help='Jobs at a time of each queue that does not say; or "inf".')
@backend_option
@redis_options
@click.option("--shutdown-timeout", metavar="SECONDS", help="How long a stop waits for running jobs.")
@click.option("--node-identifier", metavar="NAME", help="The first part of the node's identity; the host name.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="EXQ_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="What is logged, on stderr.",
)
def run(
    modules: tuple[str, ...], queues: tuple[str, ...], backend: Backend, log_level: str, **given: str | None
) -> None:
    """Work on queues with the workers in MODULEs.

    Until SIGTERM or SIGINT.

    MODULEs are names such as myapp.jobs; the current directory is searched too.  The first signal lets running jobs
    end, for as long as the shutdown timeout; a second one does not wait.  SIGTSTP takes no more jobs.
    """
    configure(log_level)
    import_from_here()
    config = settings(imports=modules or None, queues=_limits(queues) or None, **given)
    if not serve(config, backend):
        leave()


def serve(config: Config, backend: Backend) -> bool:
    """Work until told to stop; whether all jobs have ended.

    Raises:
        ExqError: it cannot start.
    """
    import anyio

    from .. import app
    from ..worker import Registry

    # Imported here, as `python -m` would do it, before there is an event loop.
    workers = Registry.build(config.workers, config.imports).workers
    if not workers:
        raise click.UsageError(
            "there are no workers: name the MODULEs that mark some with @exq.worker, or set EXQ_IMPORTS"
        )
    logger.info("starting: backend=%s redis=%s workers=%d", backend, config.address().display(), len(workers))
    serving = partial(app.serve, config, last_resort=leave)
    ended = anyio.run(serving, backend=backend, backend_options=backend_options(backend))
    logger.info("stopped")
    return ended


def leave() -> NoReturn:
    """End the process although something in it does not: a job in a thread, or one that is deaf to its cancellation.

    The log has named it.  Python would wait for a thread, and a task group for a task, however long it takes.
    """
    logger.warning("leaving what does not end in time")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _limits(queues: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """``mail:10`` as name and concurrency; the last colon separates them, as in ``EXQ_QUEUES``."""
    split = [queue.rpartition(":") for queue in queues]
    return [(name, limit) if colon else (limit, None) for name, colon, limit in split]
