"""What several commands take."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypeVar

import click

if TYPE_CHECKING:
    from ..api import Api
    from ..config import Config

Backend: TypeAlias = Literal["asyncio", "trio"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_Result = TypeVar("_Result")

NOT_THERE = 3
"""Exit status: what was named is not there, so that nothing was done to it."""


CHILD_VARIABLE = "_EXQ_CHILD"
"""Environment variable of the processes of one ``exq run``: number and socket of this one, ``2:5``."""


def child_number(environ: Mapping[str, str]) -> int:
    """The number of this process among those of one ``exq run``; 0 when it is not one of several."""
    return int(environ.get(CHILD_VARIABLE, "0:").partition(":")[0])


def redis_options(command: _Command) -> _Command:
    """``--redis-url``, ``--namespace`` and ``--config``."""
    for option in (
        click.option(
            "--config",
            "file",
            metavar="FILE",
            type=click.Path(),
            envvar="EXQ_CONFIG",
            help="A TOML file of settings; by default exq.toml, or [tool.exq] of pyproject.toml, here.",
        ),
        click.option("--namespace", metavar="NAME", help="What precedes every key; empty: nothing, as Sidekiq >= 7."),
        click.option("--redis-url", "url", metavar="URL", help="Where Redis is: redis://, rediss://, unix://, ..."),
    ):
        command = option(command)
    return command


def backend_option(command: _Command) -> _Command:
    """``--backend``."""
    choice = click.Choice(["asyncio", "trio"])
    text = "The event loop; asyncio is uvloop where that is installed."
    return click.option("--backend", type=choice, default="asyncio", show_default=True, help=text)(command)


def backend_options(backend: Backend) -> dict[str, Any]:
    """What ``anyio.run`` is given for *backend*: the fastest loop that is installed."""
    return {"use_uvloop": True} if backend == "asyncio" and importlib.util.find_spec("uvloop") else {}


def settings(*, file: str | None = None, **given: object) -> Config:
    """The settings from the environment and a file, with those of the options that were *given* (not None) on top.

    Without a *file* the current directory is asked for ``exq.toml``, and for a ``pyproject.toml`` with ``[tool.exq]``.

    Raises:
        ConfigError: one of them is wrong.
    """
    from ..load import find_file, load_config

    overrides: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return load_config(file or find_file(os.getcwd()), **overrides)


def import_from_here() -> None:
    """Find modules in the current directory too, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def api_command(function: Callable[..., object]) -> Callable[..., object]:
    """A command that looks or repairs: *function* is given the settings first; it takes ``as_json`` too."""

    @redis_options
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
    @functools.wraps(function)
    def command(url: str | None, namespace: str | None, file: str | None, **given: object) -> object:
        # No workers: their modules need not be here, and would take their time.
        config = settings(file=file, mode="api", url=url, namespace=namespace, imports=(), workers=())
        return function(config, **given)

    return command


def ask_api(config: Config, question: Callable[[Api], Awaitable[_Result]]) -> _Result:
    """What *question* says when it is given ``q.api``.

    Raises:
        ExqError: Redis is away, or refuses.
    """
    import anyio

    from .. import app

    async def asked() -> _Result:
        async with app.open(config) as q:
            return await question(q.api)

    return anyio.run(asked)


def not_there(text: str) -> NoReturn:
    """End with one line on stderr, and the status that says that nothing was there to be acted upon."""
    click.echo(f"exq: {text}", err=True)
    sys.exit(NOT_THERE)


def confirm(question: str, yes: bool) -> None:
    """Go on if *yes*, or if the one at the terminal says so.

    Raises:
        UsageError: there is no terminal to ask at.
        Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this asks first, and there is no terminal to ask at; give --yes")
    click.confirm(question, abort=True, err=True)


def yes_option(command: _Command) -> _Command:
    """``--yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Do it without asking.")(command)
