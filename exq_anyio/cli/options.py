"""What several commands take."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click

if TYPE_CHECKING:
    from ..config import Config

Backend: TypeAlias = Literal["asyncio", "trio"]

_Command = TypeVar("_Command", bound=Callable[..., object])


def redis_options(command: _Command) -> _Command:
    """``--redis-url`` and ``--namespace``."""
    for option in (
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


def settings(**given: object) -> Config:
    """The settings from the environment, with those of the options that were *given* (are not None) on top.

    Raises:
        ConfigError: one of them is wrong.
    """
    from ..load import load_config

    overrides: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return load_config(None, **overrides)


def import_from_here() -> None:
    """Find modules in the current directory too, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
