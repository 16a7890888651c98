"""``exq run``: a worker process."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from ..setting import name_and_number
from .logs import FORMATS, LEVELS, configure
from .options import Backend, backend_option, child_number, import_from_here, redis_options, settings

if TYPE_CHECKING:
    from ..config import Config
    from .probes import Look
    from .work import Probes

logger: logging.Logger = logging.getLogger("exq_anyio")


@click.command()
@click.argument("modules", metavar="[MODULE]...", nargs=-1)
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME[:N]",
    multiple=True,
    help='A queue, and how many of its jobs run at a time; "exports:*:2": each that begins so.  May be repeated.',
)
@click.option("-c", "--concurrency", metavar="N", help='Jobs at a time of each queue that does not say; or "inf".')
@click.option("--total-concurrency", metavar="N", help="Jobs at a time of all queues together.")
@backend_option
@redis_options
@click.option("--shutdown-timeout", metavar="SECONDS", help="How long a stop waits for running jobs.")
@click.option("--node-identifier", metavar="NAME", help="The first part of the node's identity; the host name.")
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 1000),
    envvar="EXQ_PROCESSES",
    help="Worker processes, of this one.",
)
@click.option("--max-rss", metavar="MB", type=click.IntRange(1), envvar="EXQ_MAX_RSS", help="Replace a larger process.")
@click.option(
    "--max-jobs", metavar="N", type=click.IntRange(1), envvar="EXQ_MAX_JOBS", help="Replace a process after N jobs."
)
@click.option("--reload", is_flag=True, envvar="EXQ_RELOAD", help="Start anew when Python files here change.")
@click.option(
    "--health-port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    envvar="EXQ_HEALTH_PORT",
    help="Serve /livez, /readyz and /metrics there.",
)
@click.option(
    "--health-host",
    metavar="HOST",
    default="",
    envvar="EXQ_HEALTH_HOST",
    help="Only at this address; by default at all.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="EXQ_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="What is logged, on stderr.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    envvar="EXQ_LOG_FORMAT",
    show_default=True,
    show_envvar=True,
    help="How: a line for people, or a JSON object a line.",
)
def run(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    backend: Backend,
    processes: int | None,
    max_rss: int | None,
    max_jobs: int | None,
    reload: bool,
    health_port: int | None,
    health_host: str,
    log_level: str,
    log_format: str,
    **given: str | None,
) -> None:
    """Work on queues with the workers in MODULEs.

    Until SIGTERM or SIGINT.

    MODULEs are names such as myapp.jobs; the current directory is searched too.  The first signal lets running jobs
    end, for as long as the shutdown timeout; a second one does not wait.  SIGTSTP takes no more jobs.

    With --processes, --max-rss, --max-jobs or --reload, and as the first process of a container, it works in processes
    of its own, which are started again when they die; SIGHUP replaces them one by one.

    Examples:
      exq run myapp.jobs --queue mail:10 --queue default
      exq run myapp.jobs --processes 4 --max-rss 500 --health-port 8080
      exq run myapp.jobs --reload --log-level debug
    """
    configure(log_level, layout=log_format, process=child_number(os.environ))
    import_from_here()
    config = settings(imports=modules or None, queues=_limits(queues) or None, **given)
    if child_number(os.environ):
        _work(config, backend, None, as_child=True)
        return
    several = processes or reload or max_rss or max_jobs or os.getpid() == 1
    rss = max_rss * 1024 if max_rss else None
    with ExitStack() as stack:
        probes = None if health_port is None else partial(_probes, stack, health_host, health_port)
        if several:
            sys.exit(supervise(config, processes or 1, rss, max_jobs, probes, reload=reload))
        _work(config, backend, probes)


def _work(config: Config, backend: Backend, probes: Probes | None, *, as_child: bool = False) -> None:
    from .child import Child
    from .work import leave, serve

    if not serve(config, backend, probes=probes, child=Child.of(os.environ) if as_child else None):
        leave()


def supervise(
    config: Config, count: int, max_rss: int | None, max_jobs: int | None, probes: Probes | None, *, reload: bool
) -> int:
    """Have *count* processes work, until told to stop; the exit status."""
    from .notify import Notifier
    from .processes import Plan, Supervisor, command
    from .reload import watcher

    plan = Plan(count=count, command=command(), grace=config.shutdown_timeout, max_rss=max_rss, max_jobs=max_jobs)
    supervisor = Supervisor(plan, Notifier(os.environ))
    if probes is not None:
        probes(supervisor.healths)
    logger.info("supervising: processes=%d pid=%d", count, os.getpid())
    status = supervisor.run(watcher(os.getcwd()) if reload else None)
    logger.info("stopped")
    return status


def _probes(stack: ExitStack, host: str, port: int, look: Look) -> None:
    from .probes import serve_probes

    port = stack.enter_context(serve_probes(host, port, look))
    logger.info("probes are answered: host=%s port=%d", host or "*", port)


def _limits(queues: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """``mail:10`` as name and concurrency, as in ``EXQ_QUEUES``."""
    return [name_and_number(queue) for queue in queues]
