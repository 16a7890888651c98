"""``exq``: the commands, and how their errors are shown.

Only what every command needs is imported here, so that ``exq --help`` answers at once; a command imports the rest.
"""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..errors import ConfigError, ExqError
from .demo import demo
from .enqueue import enqueue
from .run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="exq")
def exq() -> None:
    """Background jobs on Redis, in the format of Sidekiq, Resque and Exq.

    Settings that no option gives are read from the environment: EXQ_URL, EXQ_NAMESPACE, EXQ_CONCURRENCY and so on.
    """


exq.add_command(run)
exq.add_command(enqueue)
exq.add_command(demo)


def main() -> None:
    """The console script.  Exit status: 0 well, 1 failed (one line on stderr says why), 2 wrong usage."""
    try:
        exq(prog_name="exq")
    except ExqError as error:
        _fail(error)
    except BaseExceptionGroup as group:
        ours = _first(group)
        if ours is None:
            raise
        _fail(ours)


def _first(group: BaseExceptionGroup[BaseException]) -> ExqError | None:
    """The first error of ours, if the group holds nothing else."""
    ours, others = group.split(ExqError)
    if ours is None or others is not None:
        return None
    error: BaseException = ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, ExqError) else None


def _fail(error: ExqError) -> None:
    from .logs import one_line, origin

    # A ConfigError has a cause when a module of the user's cannot be imported.
    where = origin(error.__cause__) if isinstance(error, ConfigError) else ""
    click.echo(f"exq: {one_line(str(error))}{where}", err=True)
    sys.exit(1)
