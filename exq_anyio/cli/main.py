"""``exq``: the commands, and how their errors are shown.

Only what every command needs is imported here, so that ``exq --help`` answers at once; a command imports the rest.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import NoReturn

import click

from .. import __version__
from ..errors import ConfigError, ExqError
from .complete import completion
from .control import cancel, pause, quiet, resume, stop
from .demo import demo
from .enqueue import enqueue
from .health import health
from .look import busy, nodes, queues, stats
from .periodic import periodic
from .places import dead, jobs, retries, scheduled, show
from .repair import clear, delete, edit, kill, reschedule, retry, run_now
from .run import run
from .shell import shell
from .top import top
from .ui import ui

INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit statuses of what ended by Ctrl-C, and because nobody reads on: what a shell says of SIGINT and SIGPIPE."""

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Work": (run, enqueue, demo),
    "Look": (top, ui, health, stats, queues, nodes, busy, jobs, retries, scheduled, dead, show),
    "Repair": (retry, run_now, kill, delete, clear, edit, reschedule),
    "Control": (cancel, quiet, stop, pause, resume, periodic),
    "More": (shell, completion),
}
"""The commands, as the help has them."""


class Commands(click.Group):
    """All commands, in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - 6 - width
                rows = [(str(command.name), command.get_short_help_str(limit)) for command in commands]
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add one; the examples in its help stay as they are written."""
        cmd.help = inspect.cleandoc(cmd.help or "").replace("\nExamples:\n", "\n\b\nExamples:\n")
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command, and notice a pipe that was closed also for what is still to be written."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # What is left cannot be written, and Python would try, and complain, at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CLOSED_PIPE)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="exq")
def exq() -> None:
    """Background jobs on Redis, in the format of Sidekiq, Resque and Exq.

    Settings that no option gives are read from the environment, EXQ_URL, EXQ_NAMESPACE, EXQ_CONCURRENCY and so on, and
    from exq.toml, or [tool.exq] of pyproject.toml, in the current directory.

    Exit status: 0 well, 1 failed, 2 wrong usage, 3 nothing there that was named, 130 interrupted.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        exq.add_command(_command)


def main() -> None:
    """The console script.

    Exit status: 0 well, 1 failed (one line on stderr says why), 2 wrong usage, 3 what was named is not there, 130 ended
    by Ctrl-C, 141 the reader of the output closed it.
    """
    for stream in (sys.stdout, sys.stderr):
        # A job may hold what the terminal cannot show.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # tests put others in their place
    try:
        exq(prog_name="exq", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        _abort(error)
    except ExqError as error:
        _fail(error)
    except BaseExceptionGroup as group:
        ours = _first(group)
        if ours is None:
            raise
        _fail(ours)
    sys.exit(0)


def _abort(error: click.Abort) -> NoReturn:
    # click says so of a Ctrl-C at a question in the context only.
    if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
        click.echo("exq: interrupted", err=True)
        sys.exit(INTERRUPTED)
    click.echo("exq: nothing was done", err=True)
    sys.exit(1)


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
