"""Where settings come from: the program, the environment, a file, in this order."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from .config import Config
from .errors import ConfigError
from .resource import find_named
from .setting import check_key, is_reference, type_name

#: Variables that begin with ``EXQ_`` and are no settings of a Config.
OTHER_VARIABLES = frozenset(
    f"EXQ_{name}"
    for name in (
        "CONFIG", "HEALTH_HOST", "HEALTH_PORT", "LOG_FORMAT", "LOG_LEVEL", "MAX_JOBS", "MAX_RSS", "PROCESSES", "RELOAD"
    )
)  # fmt: skip

#: Files that settings are looked for in, the first that has some; only ``exq`` itself looks.
FILES = ("exq.toml", "pyproject.toml")

#: Settings that are code, and so can be said neither in the environment nor in a file.
_CODE_ONLY = frozenset({"queue_adapter"})


@attrs.frozen
class _Given:
    """A value as it was given, and where: a variable, a file, or ``""`` for the program itself."""

    value: object
    source: str = ""


def load_config(
    config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
    /,
    *,
    environ: Mapping[str, str] | None = None,
    **overrides: object,
) -> Config:
    """The settings from *config*, with *overrides* on top.

    *config* is one of

    - None: the environment, ``EXQ_`` and the name of a setting in capitals: ``EXQ_URL``, ``EXQ_CONCURRENCY=10``,
      ``EXQ_QUEUES=mail:10,default``.  What is code is named, ``EXQ_MIDDLEWARE=tasks:timing``; only
      ``queue_adapter`` has no variable.  An empty variable counts as unset, but an empty ``EXQ_NAMESPACE`` means no
      prefix.
      A variable whose name is almost that of a setting is an error; ``EXQ_LOG_LEVEL`` is none, and read elsewhere.
    - a path: a TOML file, its top-level keys, or the table ``[tool.exq]`` of a ``pyproject.toml``; the environment
      beats it.
    - a mapping or a Config: complete as it is, the environment adds nothing.

    So keywords beat the environment, the environment beats the file, the file beats the defaults.  Where Redis is
    counts as one thing: a ``host`` or ``port`` beats the ``url`` of what it beats.

    Any value may be ``{"env": "NAME", "default": ...}``: the variable's text, read now, else the default.
    *environ* is the environment to read, by default that of the process.

    Raises:
        ConfigError: ``key`` is the setting (or the variable, if it is that of no setting; or ``"config"``, if the file
            cannot be read), and the message says where it was given.
    """
    environ = os.environ if environ is None else environ
    match config:
        case Config():
            given = _from_program({field.name: getattr(config, field.name) for field in attrs.fields(Config)})
        case Mapping():
            given = _from_program(config)
        case None:
            given = _from_environ(environ)
        case str() | os.PathLike():
            given = _merged(_from_file(config), _from_environ(environ))
        case _:
            raise ConfigError("config", f"must be a Config, a mapping, a path or None, not {type_name(config)}")
    return _built(_merged(given, _from_program(overrides)), environ)


def with_code(config: Config) -> Config:
    """*config* with the code itself where it is given by its name; a name may stand for a list of middlewares.

    Raises:
        ConfigError: it cannot be imported, or is nothing to be called.
    """
    found: dict[str, Any] = {}
    for key in ("middleware", "client_middleware", "listeners"):
        given = getattr(config, key) or ()
        if any(isinstance(part, str) for part in given):
            found[key] = [code for part in given for code in _code(key, part)]
    backoff: object = config.backoff
    if isinstance(backoff, str):
        (found["backoff"],) = _code("backoff", backoff)
    return attrs.evolve(config, **found) if found else config


def _code(key: str, part: object) -> tuple[object, ...]:
    if not isinstance(part, str):
        return (part,)
    found = find_named(key, part)
    several = tuple(found) if isinstance(found, list | tuple) and key != "backoff" else (found,)
    for code in several:
        if not callable(code):
            raise ConfigError(key, f"{part!r} is nothing to be called, but {type_name(code)}")
    return several


def find_file(directory: str | os.PathLike[str]) -> Path | None:
    """The file of settings in *directory*: ``exq.toml``, or a ``pyproject.toml`` with a table ``[tool.exq]``.

    None when there is neither, or when the ``pyproject.toml`` cannot be read, which is then the business of others.
    """
    own, shared = (Path(directory, name) for name in FILES)
    if own.is_file():
        return own
    try:
        table = tomllib.loads(shared.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    match table:
        case {"tool": {"exq": _}}:
            return shared
        case _:
            return None


def _from_program(values: Mapping[str, object]) -> dict[str, _Given]:
    return {key: _Given(value) for key, value in values.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    settings = {f"EXQ_{name.upper()}": name for name in attrs.fields_dict(Config)}
    given = {}
    for variable in environ:
        if not variable.upper().startswith("EXQ_") or variable in OTHER_VARIABLES:
            continue
        name = settings.get(variable)
        if name is None:
            _check_variable(variable, settings)
        elif (text := _variable(variable, name, environ)) is not None:
            if name in _CODE_ONLY:
                raise ConfigError(name, f"is code, and cannot be given as text (from {variable})")
            given[name] = _Given(text, variable)
    return given


def _check_variable(variable: str, settings: Iterable[str]) -> None:
    """Refuse a misspelt setting.  Other variables may belong to other programs, which name themselves alike."""
    prefix = len("EXQ_")
    names = [setting[prefix:] for setting in settings]
    if close := difflib.get_close_matches(variable[prefix:].upper(), names, n=1, cutoff=0.8):
        raise ConfigError(variable, f"is no setting; did you mean EXQ_{close[0]}?")


def _variable(variable: str, key: str, environ: Mapping[str, str]) -> str | None:
    """The text of a variable.  An empty one is unset, except where empty has a meaning."""
    text = environ.get(variable)
    return text if text or key == "namespace" else None


def _from_file(path: str | os.PathLike[str]) -> dict[str, _Given]:
    file = Path(path)
    if "://" in os.fspath(path):
        raise ConfigError("config", "is the path of a TOML file; give a URL as url=...")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError("config", f"{file} is not TOML: {error}") from None
    if file.name == "pyproject.toml":
        match table:
            case {"tool": {"exq": dict(table)}}:
                pass
            case _:
                raise ConfigError("config", f"{file} has no table [tool.exq]")
    return {key: _Given(value, file.name) for key, value in table.items()}


def _merged(lower: Mapping[str, _Given], upper: Mapping[str, _Given]) -> dict[str, _Given]:
    """*upper* over *lower*.  A host beats a url from below, which would win over it within one place."""
    kept = dict(lower)
    if "url" not in upper and upper.keys() & {"host", "port"}:
        kept.pop("url", None)
    return kept | dict(upper)


def _built(given: Mapping[str, _Given], environ: Mapping[str, str]) -> Config:
    sources = {key: _source(one, environ) for key, one in given.items()}
    try:
        for key in given:
            check_key(Config, "", key)
        values = {key: _resolved(key, one.value, environ) for key, one in given.items()}
        return Config(**cast("dict[str, Any]", values))
    except ConfigError as error:
        source = sources.get(error.key.partition(".")[0])
        if not source:
            raise
        raise ConfigError(error.key, f"{error.problem} (from {source})") from None


def _source(one: _Given, environ: Mapping[str, str]) -> str:
    if is_reference(one.value):
        variable = cast("Mapping[str, str]", one.value)["env"]
        return variable if variable in environ else one.source
    return one.source


def _resolved(key: str, value: object, environ: Mapping[str, str]) -> object:
    """*value* with what it takes from the environment, at any depth."""
    if is_reference(value):
        reference = cast("Mapping[str, Any]", value)
        text = _variable(reference["env"], key, environ)
        if text is None and "default" not in reference:
            raise ConfigError(key, f"the environment variable {reference['env']} is not set, and there is no default")
        return reference["default"] if text is None else text
    if isinstance(value, Mapping):
        return {name: _resolved(f"{key}.{name}", part, environ) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(key, part, environ) for part in value]
    return value
