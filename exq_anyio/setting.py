"""One setting: what its value may be, and how a class of settings names it in the error.

A converter below takes one value, as Python or as text, and raises ``ValueError`` with what it must be; the class that
uses it adds the key.  So each rule is written once, and each error names its setting.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs

from .address import CONTROL_CHARACTERS, SENTINEL_PORT, Hosts, parse_host, parse_url
from .errors import ConfigError, InvalidQueue
from .resource import AnyResource, Resource

Mode: TypeAlias = Literal["default", "enqueuer", "api"]

Code: TypeAlias = Callable[..., object] | str
"""Something to call, or its name, ``module:name``."""

_MODES = frozenset({"default", "enqueuer", "api"})
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_MAX_NAME = 255

_T = TypeVar("_T")


# Names


def check_queue_name(name: object) -> str:
    """*name*, if it can be a queue: one line of text, 1 to 255 bytes of UTF-8, not only spaces.

    Fast for a name that was seen before, since each enqueue asks.

    Raises:
        InvalidQueue: it cannot.
    """
    if not isinstance(name, str):
        raise InvalidQueue(name, f"must be text, not {type_name(name)}")
    return _checked_queue_name(name)


@functools.lru_cache(maxsize=4096)
def _checked_queue_name(name: str) -> str:
    problem = _name_problem(name)
    if problem is None and not name.strip():
        problem = "must not be empty"
    if problem is None and name.startswith("backup::"):
        # Its list would be the backup queue of a node: queue:backup::<node_id>::<queue>.
        problem = 'must not begin with "backup::", where the jobs of running nodes are kept'
    if problem is not None:
        raise InvalidQueue(name, problem)
    return str.__str__(name)  # plain text, also of a member of a str enum


def check_subscription(name: object) -> str:
    """*name*, if it can be subscribed to: a queue, or a beginning and ``*``, for all queues that begin so.

    Raises:
        InvalidQueue: it cannot.
    """
    checked = check_queue_name(name)
    if "*" in checked[:-1]:
        beginning = checked[: checked.index("*") + 1]
        raise InvalidQueue(checked, f'"*" stands only at the end, for all queues that begin so; try {beginning!r}')
    return checked


def name_and_number(text: str) -> tuple[str, str | None]:
    """The parts of ``mail:10``; the last colon separates them.  ``exports:*`` is a name alone."""
    name, colon, number = text.rpartition(":")
    return (name, number) if colon and number.strip() != "*" else (text, None)


def check_node_identifier(name: object) -> str:
    """*name*, if it can be the part of a node's identity before the ``#``.

    Raises:
        ConfigError: it cannot; the key is ``node_identifier``.
    """
    if not isinstance(name, str):
        raise ConfigError("node_identifier", f"must be text, not {type_name(name)}")
    problem = _name_problem(name)
    if not name.strip():
        problem = "must not be empty; None stands for the host name"
    elif "#" in name or "::" in name:
        problem = 'must hold neither "#" nor "::", which separate the parts of a key'
    if problem is not None:
        raise ConfigError("node_identifier", problem)
    return name


def _name_problem(name: str) -> str | None:
    """Why *name* cannot be part of a Redis key, or None."""
    if CONTROL_CHARACTERS.search(name):
        return "must not hold control characters"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "must be text that UTF-8 can encode"
    return f"must be at most {_MAX_NAME} bytes long, not {size}" if size > _MAX_NAME else None


# Converters: one value, as Python or as text


def type_name(value: object) -> str:
    """The type of *value*, as an error names it."""
    return "None" if value is None else type(value).__name__


def as_text(value: str) -> str:
    """One line of text."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type_name(value)}")
    if CONTROL_CHARACTERS.search(value):
        raise ValueError("must not hold control characters")
    return value


def as_optional_text(value: str | None) -> str | None:
    """One line of text, or None, which empty text also means."""
    return None if value is None else as_text(value) or None


def as_password(value: str | None) -> str | None:
    """Text of any characters, or None."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"must be text, not {type_name(value)}")
    return value or None


def as_name(value: str) -> str:
    """A name that can be part of a key, not empty."""
    problem = _name_problem(as_text(value))
    if problem or not value.strip():
        raise ValueError(problem or "must not be empty")
    return value


def as_namespace(value: str) -> str:
    """What precedes every key, perhaps empty."""
    problem = _name_problem(as_text(value))
    if problem is None and value.endswith(":"):
        problem = 'must not end with ":"; leave it out, it is put between namespace and key'
    if problem is not None:
        raise ValueError(problem)
    return value


def as_node_identifier(value: str | Callable[[], str] | None) -> str | Callable[[], str] | None:
    """See `check_node_identifier`; or what returns one, or None."""
    return value if value is None or callable(value) else check_node_identifier(value)


def as_host(value: str) -> str:
    """The name or the address of one host."""
    host = as_text(value).removeprefix("[").removesuffix("]")
    if not host or host.count(":") == 1 or re.search(r"[\s/@,\[\]]", host):
        raise ValueError("must be the name or the address of one host; a port belongs in port, a URL in url")
    return host


def as_url(value: str | None) -> str | None:
    """A URL that `parse_url` takes, or None."""
    url = as_password(value)
    if url is not None:
        parse_url(url)
    return url


def as_socket(value: str | None) -> str | None:
    """The absolute path of a Unix socket, or None."""
    path = as_optional_text(value)
    if path is not None and not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


def as_integer(value: int | str) -> int:
    """A whole number."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise ValueError(f"must be a whole number, not {reprlib.repr(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {type_name(value)}")
    return value


def as_seconds(value: float | timedelta | str) -> float:
    """Seconds, also from a timedelta."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"must be a number of seconds, not {reprlib.repr(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number of seconds or a timedelta, not {type_name(value)}")
    return float(value)


def as_flag(value: bool | str) -> bool:
    """True or false, also as a word."""
    flag = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ValueError("must be true or false (as text: true, false, 1, 0, yes, no, on, off)")
    return flag


def as_concurrency(value: float | str) -> float:
    """A whole number from 1 on, or ``math.inf``."""
    if isinstance(value, str) and value.lower() in ("inf", "infinite", "infinity"):
        return math.inf
    if isinstance(value, float) and math.isinf(value) and value > 0:
        return value
    number = as_integer(cast("int | str", value))
    if number < 1:
        raise ValueError(f'must be 1 or more, or inf ("infinite"), not {number}')
    return number


def as_optional_concurrency(value: float | str | None) -> float | None:
    """See `as_concurrency`; or None."""
    return None if value is None else as_concurrency(value)


def as_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """A list of names; as text, they are separated by commas."""
    return tuple(as_name(cast("str", name)) for name in as_listed(value))


def as_listed(value: object) -> tuple[object, ...]:
    """The parts of a list; as text, they are separated by commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise ValueError(f"must be a list, not {type_name(value)}")
    return tuple(value)


def as_queue_names(value: str | Iterable[str]) -> frozenset[str]:
    """Names of queues, or ``"*"``."""
    return frozenset(name if name == "*" else check_queue_name(cast("str", name)) for name in as_listed(value))


def as_modes(value: str | Iterable[str]) -> frozenset[Mode]:
    """At least one mode."""
    modes = as_listed(value)
    for mode in modes:
        if not isinstance(mode, str) or mode not in _MODES:
            raise ValueError(f'must be of "default", "enqueuer" and "api", not {reprlib.repr(mode)}')
    if not modes:
        raise ValueError('must name at least one of "default", "enqueuer" and "api"')
    return frozenset(cast("tuple[Mode, ...]", modes))


def as_callable(value: Callable[..., float | None] | str | None) -> Callable[..., float | None] | None:
    """Something to call, or None.  A name stands for it until the instance is opened, which finds it."""
    if value is not None and not _is_code(value):
        raise ValueError(f"must be callable, or a name (module:name), not {_shown(value)}")
    return cast("Callable[..., float | None] | None", value)


def as_middleware(value: Iterable[Code] | str | None) -> tuple[Callable[..., object], ...] | None:
    """A list of things to call, or None; for names see :func:`as_callable`."""
    if value is None:
        return None
    for part in (stack := as_listed(value)):
        if not _is_code(part):
            raise ValueError(f"must be a list of callables, or of names (module:name); {_shown(part)} is none")
    return cast("tuple[Callable[..., object], ...]", stack)


def as_client_middleware(value: Iterable[Code] | str) -> tuple[Callable[..., object], ...]:
    """A list of things to call, perhaps empty; for names see :func:`as_callable`."""
    return as_middleware(value) or ()


def _is_code(value: object) -> bool:
    return ":" in value if isinstance(value, str) else callable(value)


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else type_name(value)


def as_workers(value: Iterable[object] | str | None) -> tuple[object, ...] | None:
    """A list of modules, classes, functions and names, or None."""
    return None if value is None else as_listed(value)


def as_resources(value: Iterable[AnyResource | str] | str) -> tuple[AnyResource | str, ...]:
    """A list of resources, each perhaps by its name, ``module:name``."""
    for part in (resources := as_listed(value)):
        if not isinstance(part, Resource | str):
            raise ValueError(f"must be a list of what @exq.resource makes, or names of such; {type_name(part)} is none")
    return cast("tuple[AnyResource | str, ...]", resources)


def as_hosts(value: Iterable[str | tuple[str, int] | list[object]]) -> Hosts:
    """A list of hosts with their ports."""
    return tuple(_host_and_port(entry) for entry in as_listed(value))


def _host_and_port(entry: object) -> tuple[str, int]:
    match entry:
        case str():
            return parse_host(entry, SENTINEL_PORT)
        case [str(host), int(port) | str(port)]:
            return parse_host(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", SENTINEL_PORT)
        case _:
            raise ValueError('must be a list of [host, port] or "host:port"')


# Classes whose errors name the setting


def between(low: float, high: float, unit: str = "") -> dict[str, object]:
    """The metadata of a setting with a range."""
    return {"low": low, "high": high, "unit": unit}


def one_of(*choices: str) -> dict[str, object]:
    """The metadata of a setting with a few values."""
    return {"choices": choices}


def _check_limits(value: Any, limits: Mapping[Any, Any]) -> None:
    if "choices" in limits and value not in limits["choices"]:
        raise ValueError(f"must be {' or '.join(map(repr, limits['choices']))}, not {reprlib.repr(value)}")
    if "low" in limits and not limits["low"] <= value <= limits["high"]:
        low, high, unit = f"{limits['low']:,}", f"{limits['high']:,}", limits["unit"] and f" {limits['unit']}"
        allowed = f"{low} or more" if limits["high"] == math.inf else f"from {low} to {high}"
        raise ValueError(f"must be {allowed}{unit}, not {value}")


def keyed(prefix: str = "") -> Callable[[type, list[attrs.Attribute[Any]]], list[attrs.Attribute[Any]]]:
    """A field transformer: each converter also checks the limits, and its ``ValueError`` becomes a ConfigError."""

    def transform(_cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        return [field.evolve(converter=_naming_converter(prefix + field.name, field)) for field in fields]

    return transform


def _naming_converter(key: str, field: attrs.Attribute[Any]) -> Callable[[object], object]:
    convert = cast("Callable[[object], object]", field.converter or (lambda value: value))

    def converted(value: object) -> object:
        if is_reference(value):
            raise ConfigError(key, '{"env": ...} is read by open and load_config; give them a mapping, not a Config')
        try:
            result = convert(value)
            _check_limits(result, field.metadata)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        return result

    return converted


def structured(cls: type[_T], key: str, value: object) -> _T:
    """*value* as *cls*, a class of settings that is the setting *key* of another."""
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping, not {type_name(value)}")
    for name in value:
        check_key(cls, f"{key}.", name)
    return cls(**value)


def is_reference(value: object) -> bool:
    """Whether *value* is ``{"env": NAME}`` or ``{"env": NAME, "default": ...}``."""
    return isinstance(value, Mapping) and isinstance(value.get("env"), str) and value.keys() <= {"env", "default"}


def check_key(cls: type, prefix: str, name: object) -> None:
    """Refuse *name* if the class of settings *cls* has no such field: a ConfigError, with *prefix* before the name."""
    known = attrs.fields_dict(cast("type[attrs.AttrsInstance]", cls))
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
        raise ConfigError(f"{prefix}{name}", "is no setting" + (f"; did you mean {close[0]!r}?" if close else ""))
