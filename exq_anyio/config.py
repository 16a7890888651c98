"""Settings: what there is to set, what each may be, and where the values come from.

A converter below takes one value, as Python or as text, and raises ``ValueError`` with what it must be; the class that
uses it adds the key.  So each rule is written once, next to its setting, and each error names its setting.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs

from exq_anyio.address import (
    CONTROL_CHARACTERS,
    SENTINEL_PORT,
    Address,
    CertReqs,
    Cluster,
    Embedded,
    Hosts,
    Place,
    Sentinel,
    Tcp,
    Unix,
    mask,
    parse_host,
    parse_url,
    redact,
)
from exq_anyio.errors import ConfigError, InvalidQueue

Mode: TypeAlias = Literal["default", "enqueuer", "api"]
Timestamps: TypeAlias = Literal["seconds", "milliseconds"]

#: Variables that begin with ``EXQ_`` and are no settings of a Config.
OTHER_VARIABLES = frozenset({"EXQ_LOG_LEVEL"})

#: Settings that are code, and so can be said neither in the environment nor in a file.
_CODE_ONLY = frozenset({"backoff", "client_middleware", "middleware", "queue_adapter", "serializer"})
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
        raise InvalidQueue(name, f"must be text, not {_type(name)}")
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


def check_node_identifier(name: object) -> str:
    """*name*, if it can be the part of a node's identity before the ``#``.

    Raises:
        ConfigError: it cannot; the key is ``node_identifier``.
    """
    if not isinstance(name, str):
        raise ConfigError("node_identifier", f"must be text, not {_type(name)}")
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


def _type(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_type(value)}")
    if CONTROL_CHARACTERS.search(value):
        raise ValueError("must not hold control characters")
    return value


def _optional_text(value: str | None) -> str | None:
    return None if value is None else _text(value) or None


def _password(value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"must be text, not {_type(value)}")
    return value or None


def _name(value: str) -> str:
    problem = _name_problem(_text(value))
    if problem or not value.strip():
        raise ValueError(problem or "must not be empty")
    return value


def _namespace(value: str) -> str:
    problem = _name_problem(_text(value))
    if problem is None and value.endswith(":"):
        problem = 'must not end with ":"; leave it out, it is put between namespace and key'
    if problem is not None:
        raise ValueError(problem)
    return value


def _node_identifier(value: str | Callable[[], str] | None) -> str | Callable[[], str] | None:
    return value if value is None or callable(value) else check_node_identifier(value)


def _host(value: str) -> str:
    host = _text(value).removeprefix("[").removesuffix("]")
    if not host or host.count(":") == 1 or re.search(r"[\s/@,\[\]]", host):
        raise ValueError("must be the name or the address of one host; a port belongs in port, a URL in url")
    return host


def _url(value: str | None) -> str | None:
    url = _password(value)
    if url is not None:
        parse_url(url)
    return url


def _socket(value: str | None) -> str | None:
    path = _optional_text(value)
    if path is not None and not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


def _integer(value: int | str) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise ValueError(f"must be a whole number, not {reprlib.repr(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {_type(value)}")
    return value


def _seconds(value: float | timedelta | str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"must be a number of seconds, not {reprlib.repr(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number of seconds or a timedelta, not {_type(value)}")
    return float(value)


def _flag(value: bool | str) -> bool:
    flag = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ValueError("must be true or false (as text: true, false, 1, 0, yes, no, on, off)")
    return flag


def _concurrency(value: float | str) -> float:
    """A whole number from 1 on, or ``math.inf``."""
    if isinstance(value, str) and value.lower() in ("inf", "infinite", "infinity"):
        return math.inf
    if isinstance(value, float) and math.isinf(value) and value > 0:
        return value
    number = _integer(cast("int | str", value))
    if number < 1:
        raise ValueError(f'must be 1 or more, or inf ("infinite"), not {number}')
    return number


def _optional_concurrency(value: float | str | None) -> float | None:
    return None if value is None else _concurrency(value)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    """A list of names; as text, they are separated by commas."""
    return tuple(_name(cast("str", name)) for name in _listed(value))


def _listed(value: object) -> tuple[object, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise ValueError(f"must be a list, not {_type(value)}")
    return tuple(value)


def _modes(value: str | Iterable[str]) -> frozenset[Mode]:
    modes = _listed(value)
    for mode in modes:
        if not isinstance(mode, str) or mode not in _MODES:
            raise ValueError(f'must be of "default", "enqueuer" and "api", not {reprlib.repr(mode)}')
    if not modes:
        raise ValueError('must name at least one of "default", "enqueuer" and "api"')
    return frozenset(cast("tuple[Mode, ...]", modes))


def _callable(value: Callable[..., float | None] | None) -> Callable[..., float | None] | None:
    if value is not None and not callable(value):
        raise ValueError(f"must be callable, not {_type(value)}")
    return value


def _middleware(value: Iterable[Callable[..., object]] | None) -> tuple[Callable[..., object], ...] | None:
    if value is None:
        return None
    for part in (stack := _listed(value)):
        if not callable(part):
            raise ValueError(f"must be a list of callables, {_type(part)} is none")
    return cast("tuple[Callable[..., object], ...]", stack)


def _client_middleware(value: Iterable[Callable[..., object]]) -> tuple[Callable[..., object], ...]:
    return _middleware(value) or ()


def _workers(value: Iterable[object] | str | None) -> tuple[object, ...] | None:
    return None if value is None else _listed(value)


def _hosts(value: Iterable[str | tuple[str, int] | list[object]]) -> Hosts:
    return tuple(_host_and_port(entry) for entry in _listed(value))


def _host_and_port(entry: object) -> tuple[str, int]:
    match entry:
        case str():
            return parse_host(entry, SENTINEL_PORT)
        case [str(host), int(port) | str(port)]:
            return parse_host(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", SENTINEL_PORT)
        case _:
            raise ValueError('must be a list of [host, port] or "host:port"')


# Classes whose errors name the setting


def _between(low: float, high: float, unit: str = "") -> dict[str, object]:
    """The metadata of a setting with a range."""
    return {"low": low, "high": high, "unit": unit}


def _one_of(*choices: str) -> dict[str, object]:
    """The metadata of a setting with a few values."""
    return {"choices": choices}


def _check_limits(value: Any, limits: Mapping[Any, Any]) -> None:
    if "choices" in limits and value not in limits["choices"]:
        raise ValueError(f"must be {' or '.join(map(repr, limits['choices']))}, not {reprlib.repr(value)}")
    if "low" in limits and not limits["low"] <= value <= limits["high"]:
        low, high, unit = f"{limits['low']:,}", f"{limits['high']:,}", limits["unit"] and f" {limits['unit']}"
        allowed = f"{low} or more" if limits["high"] == math.inf else f"from {low} to {high}"
        raise ValueError(f"must be {allowed}{unit}, not {value}")


def _keyed(prefix: str = "") -> Callable[[type, list[attrs.Attribute[Any]]], list[attrs.Attribute[Any]]]:
    """A field transformer: each converter also checks the limits, and its ``ValueError`` becomes a ConfigError."""

    def transform(_cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        return [field.evolve(converter=_naming_converter(prefix + field.name, field)) for field in fields]

    return transform


def _naming_converter(key: str, field: attrs.Attribute[Any]) -> Callable[[object], object]:
    convert = cast("Callable[[object], object]", field.converter or (lambda value: value))

    def converted(value: object) -> object:
        if _is_reference(value):
            raise ConfigError(key, '{"env": ...} is read by open and load_config; give them a mapping, not a Config')
        try:
            result = convert(value)
            _check_limits(result, field.metadata)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        return result

    return converted


def _structured(cls: type[_T], key: str, value: object) -> _T:
    """*value* as *cls*, a class of settings that is the setting *key* of another."""
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping, not {_type(value)}")
    for name in value:
        _check_key(cls, f"{key}.", name)
    return cls(**value)


def _is_reference(value: object) -> bool:
    """Whether *value* is ``{"env": NAME}`` or ``{"env": NAME, "default": ...}``."""
    return isinstance(value, Mapping) and isinstance(value.get("env"), str) and value.keys() <= {"env", "default"}


def _check_key(cls: type, prefix: str, name: object) -> None:
    known = attrs.fields_dict(cast("type[attrs.AttrsInstance]", cls))
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
        raise ConfigError(f"{prefix}{name}", "is no setting" + (f"; did you mean {close[0]!r}?" if close else ""))


# The classes


@attrs.frozen(field_transformer=_keyed("queues."))
class QueueConfig:
    """One queue that a node works on."""

    name: str = attrs.field(converter=check_queue_name)
    """The name, see :func:`check_queue_name`."""

    concurrency: float | None = attrs.field(default=None, converter=_optional_concurrency)
    """Jobs of this queue at a time on one node: 1 or more, or ``math.inf``.  None: ``Config.concurrency``."""

    dequeuer: object | None = None
    """Decides whether the queue may be polled now, and how many jobs it may take.  None: the concurrency alone."""


_QueuesInput: TypeAlias = str | Iterable[str | tuple[str, float] | QueueConfig] | Mapping[str, object]


def _queues(value: _QueuesInput) -> tuple[QueueConfig, ...]:
    if isinstance(value, Mapping):
        queues = [_queue(name, setting) for name, setting in value.items()]
    elif isinstance(value, str):
        queues = [_queue_from_text(part) for part in _listed(value)]
    else:
        queues = [_queue_from_entry(entry) for entry in _listed(value)]
    names = [queue.name for queue in queues]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return tuple(queues)


def _queue_from_text(text: object) -> QueueConfig:
    name, colon, concurrency = str(text).rpartition(":")
    return _queue(name, concurrency) if colon else _queue(text, None)


def _queue_from_entry(entry: object) -> QueueConfig:
    match entry:
        case str():
            return _queue(entry, None)
        case QueueConfig():
            return entry
        case [name, setting]:
            return _queue(name, setting)
        case _:
            raise ValueError(f"must be a list of names or of (name, concurrency), not of {_type(entry)}")


def _queue(name: object, setting: object) -> QueueConfig:
    """*setting* is a concurrency, as number or text, a dequeuer, a QueueConfig, or None."""
    checked = check_queue_name(name)
    if isinstance(setting, QueueConfig):
        return attrs.evolve(setting, name=checked)
    if isinstance(setting, bool | bytes | list | tuple | Mapping):
        raise ValueError(f"{checked!r} must have a concurrency or a dequeuer, not {_type(setting)}")
    if setting is not None and not isinstance(setting, str | int | float):
        return QueueConfig(checked, dequeuer=setting)
    try:
        return QueueConfig(checked, _optional_concurrency(setting))
    except ValueError as error:
        raise ValueError(f"the concurrency of {checked!r} {error}") from None


@attrs.frozen(kw_only=True, field_transformer=_keyed("redis_options.sentinel."))
class SentinelOptions:
    """The sentinels that know where the master is: ``redis_options["sentinel"]``."""

    sentinels: Hosts = attrs.field(default=(), converter=_hosts)
    """Where they are: a list of ``[host, port]`` or ``"host[:port]"``; the port is 26379 unless given."""

    group: str = attrs.field(default="", converter=_text)
    """The name that the sentinels have for the master and its replicas."""

    username: str | None = attrs.field(default=None, converter=_optional_text)
    """The ACL user on the sentinels themselves.  ``Config.username`` is the one on the master."""

    password: str | None = attrs.field(default=None, converter=_password, repr=mask)
    """The password of the sentinels themselves.  ``Config.password`` is the one of the master."""


def _sentinel(value: SentinelOptions | Mapping[str, object] | None) -> SentinelOptions | None:
    return None if value is None else _structured(SentinelOptions, "redis_options.sentinel", value)


@attrs.frozen(kw_only=True, field_transformer=_keyed("redis_options."))
class RedisOptions:
    """How to connect to Redis: ``redis_options``, a mapping of these keys; as text, a JSON object."""

    sentinel: SentinelOptions | None = attrs.field(default=None, converter=_sentinel)
    """Ask sentinels where the master is: a mapping, see :class:`SentinelOptions`."""

    cluster: bool = attrs.field(default=False, converter=_flag)
    """The server is a node of a Redis Cluster.  The namespace then needs a hash tag, ``"{exq}"``."""

    unix_socket_path: str | None = attrs.field(default=None, converter=_socket)
    """The absolute path of a Unix socket."""

    tls: bool = attrs.field(default=False, converter=_flag)
    """Encrypt the connection, as ``rediss://`` does.  The options from ``ca_certs`` to ``cert_reqs`` need TLS."""

    ca_certs: str | None = attrs.field(default=None, converter=_optional_text)
    """The file of the trusted certificates (PEM).  None: those of the system."""

    certfile: str | None = attrs.field(default=None, converter=_optional_text)
    """The file of the client's certificate (PEM)."""

    keyfile: str | None = attrs.field(default=None, converter=_optional_text)
    """The file of the client's private key (PEM).  None: it is in ``certfile``."""

    check_hostname: bool = attrs.field(default=True, converter=_flag)
    """The server's certificate must name the host."""

    cert_reqs: CertReqs = attrs.field(default="required", metadata=_one_of("required", "optional", "none"))
    """Whether the server must show a trusted certificate.  "none" needs ``check_hostname=False`` as well."""

    connect_timeout: float = attrs.field(default=2.0, converter=_seconds, metadata=_between(0.01, 600, "seconds"))
    """Seconds until an attempt to connect is given up."""

    timeout: float = attrs.field(default=5.0, converter=_seconds, metadata=_between(0.01, 600, "seconds"))
    """Seconds until a command without an answer is given up."""


def _redis_options(value: RedisOptions | Mapping[str, object] | str) -> RedisOptions:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("as text must be a JSON object") from None
    return _structured(RedisOptions, "redis_options", value)


@attrs.frozen(kw_only=True, field_transformer=_keyed())
class Config:
    """The settings of one instance, checked when it is made; the ``repr`` masks passwords.

    Where a field says seconds, a number or a ``timedelta`` is taken, and a number is kept.  Text is taken for every
    field that is not code, since that is what an environment has: numbers, true/false/1/0/yes/no/on/off, and lists
    separated by commas.

    Raises:
        ConfigError: a value is of the wrong type, out of range or at odds with another one; ``key`` names it.
    """

    name: str = attrs.field(default="exq", converter=_name)
    """The name of the instance, in logs and as the ``tag`` of its process entry."""

    url: str | None = attrs.field(default=None, converter=_url, repr=lambda url: repr(url and redact(url)))
    """Where Redis is, see :func:`~exq_anyio.address.parse_url`: ``redis://``, ``rediss://`` (TLS), ``unix://``,
    ``embedded://``, ``redis+sentinel://`` or ``redis+cluster://``.  It beats ``host`` and ``port``; the database, user
    and password that it leaves out come from the fields below."""

    host: str = attrs.field(default="127.0.0.1", converter=_host)
    """The host of Redis, a name or an IP address."""

    port: int = attrs.field(default=6379, converter=_integer, metadata=_between(1, 65535))
    """The TCP port of Redis."""

    database: int = attrs.field(default=0, converter=_integer, metadata=_between(0, 999_999_999))
    """The number of the database."""

    username: str | None = attrs.field(default=None, converter=_optional_text)
    """The ACL user.  None: Redis's ``default``."""

    password: str | None = attrs.field(default=None, converter=_password, repr=mask)
    """The password.  None or empty: none."""

    redis_options: RedisOptions = attrs.field(default=RedisOptions(), converter=_redis_options)
    """Sentinel, cluster, TLS, timeouts, Unix socket: a mapping, see :class:`RedisOptions`; as text, a JSON object."""

    namespace: str = attrs.field(default="exq", converter=_namespace)
    """What precedes every key, followed by ``:``.  Empty: no prefix at all, as Sidekiq 7 and newer."""

    queues: tuple[QueueConfig, ...] = attrs.field(default=(QueueConfig("default"),), converter=_queues)
    """The queues to work on: a list of names or of (name, concurrency), or a mapping from name to concurrency or
    dequeuer; as text, ``mail:10,default``."""

    concurrency: float = attrs.field(default=100, converter=_concurrency)
    """Jobs at a time of each queue that sets no concurrency of its own: 1 or more, or ``math.inf`` (text: ``inf``,
    ``infinite``, ``infinity``)."""

    poll_timeout: float = attrs.field(default=5.0, converter=_seconds, metadata=_between(0.01, 3600, "seconds"))
    """Seconds of one blocking wait for jobs at an idle queue.  A job ends the wait, so that it delays nothing."""

    scheduler_enable: bool = attrs.field(default=True, converter=_flag)
    """Whether this node moves due jobs from ``schedule`` and ``retry`` to their queues."""

    scheduler_poll_timeout: float = attrs.field(
        default=1.0, converter=_seconds, metadata=_between(0.01, 3600, "seconds")
    )
    """Seconds between two looks for due jobs, times the number of live nodes."""

    max_retries: int = attrs.field(default=25, converter=_integer, metadata=_between(0, math.inf))
    """Retries of a job that sets none itself, until it is dead."""

    backoff: Callable[..., float | None] | None = attrs.field(default=None, converter=_callable)
    """(job, error) -> seconds until the next retry.  None: as Sidekiq, growing with the fourth power."""

    dead_max_jobs: int = attrs.field(default=10_000, converter=_integer, metadata=_between(0, math.inf))
    """Dead jobs that are kept; the oldest go first.  0: none."""

    dead_timeout_in_seconds: float = attrs.field(
        default=180 * 86400.0, converter=_seconds, metadata=_between(1, math.inf, "seconds")
    )
    """Seconds that a dead job is kept: 180 days."""

    mode: frozenset[Mode] = attrs.field(default=frozenset[Mode](["default"]), converter=_modes)
    """What the instance does: ``"default"`` (everything), ``"enqueuer"``, ``"api"``, or several of them."""

    shutdown_timeout: float = attrs.field(default=5.0, converter=_seconds, metadata=_between(0, 86400, "seconds"))
    """Seconds that running jobs have to end at a stop, before they are cancelled and put back."""

    heartbeat_enable: bool = attrs.field(default=True, converter=_flag)
    """Whether this node beats, and rescues the jobs of nodes that no longer do."""

    heartbeat_interval: float = attrs.field(default=5.0, converter=_seconds, metadata=_between(0.01, 30, "seconds"))
    """Seconds between two beats.  At most 30, since the process entry expires after 60."""

    missed_heartbeats_allowed: int = attrs.field(default=5, converter=_integer, metadata=_between(1, 10_000))
    """Beats that a node may miss before others take it for dead, see :attr:`node_limit`."""

    foreign_dead_after: float = attrs.field(
        default=360.0, converter=_seconds, metadata=_between(0.01, math.inf, "seconds")
    )
    """Seconds of silence after which a node that states no limit of its own is dead: Exq, which beats every 60."""

    max_rescues: int = attrs.field(default=3, converter=_integer, metadata=_between(1, 10_000))
    """Rescues of one job within 72 hours after which it is dead, as it seems to kill its process."""

    blocked_limit: float = attrs.field(default=60.0, converter=_seconds, metadata=_between(0.01, math.inf, "seconds"))
    """Seconds that the event loop may be blocked before ``/livez`` fails."""

    node_identifier: str | Callable[[], str] | None = attrs.field(default=None, converter=_node_identifier)
    """The part of the node's identity before ``#``: text without ``#`` and ``::``, or a function that returns it.
    None: the host name."""

    middleware: tuple[Callable[..., object], ...] | None = attrs.field(default=None, converter=_middleware)
    """Async context managers around each job, the first one outermost.  None: ``exq.default_middleware``."""

    client_middleware: tuple[Callable[..., object], ...] = attrs.field(default=(), converter=_client_middleware)
    """Async context managers around each enqueue, given the :class:`~exq_anyio.spec.JobSpec`; the first outermost."""

    threads: int = attrs.field(default=100, converter=_integer, metadata=_between(1, 10_000))
    """Threads of one node for workers that are no ``async def``, over all its queues."""

    queue_adapter: object | None = None
    """What takes the jobs that are enqueued.  None: Redis."""

    serializer: object | None = None
    """What turns jobs into bytes and back.  None: JSON."""

    workers: tuple[object, ...] | None = attrs.field(default=None, converter=_workers)
    """The modules, classes and functions that perform jobs; a module also by its name.  None: all that were marked."""

    imports: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Names of modules that are imported at the start, so that their workers are there."""

    timestamps: Timestamps = attrs.field(default="seconds", metadata=_one_of("seconds", "milliseconds"))
    """How instants are written: "seconds" as Exq and Sidekiq up to 7, "milliseconds" as Sidekiq 8.  Both are read."""

    max_payload_bytes: int = attrs.field(default=1_048_576, converter=_integer, metadata=_between(1, 512 * 1024**2))
    """Bytes that a job may have at enqueue."""

    max_read_bytes: int = attrs.field(default=16 * 1024**2, converter=_integer, metadata=_between(1, 512 * 1024**2))
    """Bytes that a job may have when it is taken; a larger one is dead.  Not less than ``max_payload_bytes``."""

    max_waiting_queues: int = attrs.field(default=64, converter=_integer, metadata=_between(0, 10_000))
    """Queues that are waited for with a connection each.  The rest are polled in rotation."""

    def __attrs_post_init__(self) -> None:
        if self.max_read_bytes < self.max_payload_bytes:
            raise ConfigError("max_read_bytes", f"must not be less than max_payload_bytes, {self.max_payload_bytes:,}")
        if isinstance(self.address().place, Cluster) and not re.match(r"[^{]*\{[^}]+\}", self.namespace):
            # A script touches several keys, which a cluster allows only for keys of one slot.
            raise ConfigError("namespace", 'needs a hash tag in a cluster, for example "{exq}"')

    @property
    def node_limit(self) -> float:
        """Seconds of silence after which others take this node for dead."""
        return self.heartbeat_interval * (self.missed_heartbeats_allowed + 1)

    def address(self) -> Address:
        """Where Redis is, and how to connect to it."""
        options = self.redis_options
        said = Address(database=self.database, username=self.username, password=self.password, place=_NOWHERE)
        if self.url is not None:
            said = parse_url(self.url, database=said.database, username=said.username, password=said.password)
        address = attrs.evolve(
            said,
            place=_place(None if self.url is None else said.place, options, Tcp(self.host, self.port)),
            tls=said.tls or options.tls,
            ca_certs=options.ca_certs,
            certfile=options.certfile,
            keyfile=options.keyfile,
            check_hostname=options.check_hostname,
            cert_reqs=options.cert_reqs,
            connect_timeout=options.connect_timeout,
            timeout=options.timeout,
        )
        _check_address(address)
        return address


_NOWHERE = Tcp("", 0)


def _place(named: Place | None, options: RedisOptions, default: Tcp) -> Place:
    """The one place that is said: by the URL (*named*), by an option, or else by host and port (*default*)."""
    sentinel = options.sentinel
    if isinstance(named, Sentinel) and sentinel and not sentinel.sentinels + tuple(sentinel.group):
        return attrs.evolve(named, username=sentinel.username, password=sentinel.password)
    ways = {
        "url": named,
        "redis_options.sentinel": sentinel,
        "redis_options.unix_socket_path": options.unix_socket_path,
    }
    given = [key for key, way in ways.items() if way]
    if len(given) > 1:
        raise ConfigError(given[1], f"{given[0]} says already where Redis is; give only one of them")
    place = named or default
    if sentinel:
        place = _sentinel_place(sentinel)
    elif options.unix_socket_path:
        place = Unix(options.unix_socket_path)
    return _clustered(place) if options.cluster else place


def _sentinel_place(options: SentinelOptions) -> Sentinel:
    for key in ("sentinels", "group"):
        if not getattr(options, key):
            raise ConfigError(f"redis_options.sentinel.{key}", "is missing")
    return Sentinel(options.sentinels, options.group, options.username, options.password)


def _clustered(place: Place) -> Cluster:
    match place:
        case Tcp(host, port):
            return Cluster(((host, port),))
        case Cluster():
            return place
        case _:
            raise ConfigError("redis_options.cluster", "needs a host and a port, or a redis:// or redis+cluster:// url")


def _check_address(address: Address) -> None:
    if isinstance(address.place, Cluster) and address.database:
        raise ConfigError("database", "must be 0 in a cluster")
    if address.tls and isinstance(address.place, Unix | Embedded):
        raise ConfigError("redis_options.tls", "is not for a Unix socket")
    if not address.tls:
        for key in ("ca_certs", "certfile", "keyfile"):
            if getattr(address, key):
                raise ConfigError(f"redis_options.{key}", "needs TLS: a rediss:// url, or tls in redis_options")
    if address.keyfile and not address.certfile:
        raise ConfigError("redis_options.keyfile", "needs certfile as well")
    if address.cert_reqs == "none" and address.check_hostname:
        raise ConfigError("redis_options.cert_reqs", '"none" needs check_hostname=False as well')


# Where values come from


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
      ``EXQ_QUEUES=mail:10,default``.  Only ``backoff``, ``middleware``, ``queue_adapter`` and ``serializer`` have no
      variable, as they are code.  An empty variable counts as unset, but an empty ``EXQ_NAMESPACE`` means no prefix.
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
            raise ConfigError("config", f"must be a Config, a mapping, a path or None, not {_type(config)}")
    return _built(_merged(given, _from_program(overrides)), environ)


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
            _check_key(Config, "", key)
        values = {key: _resolved(key, one.value, environ) for key, one in given.items()}
        return Config(**cast("dict[str, Any]", values))
    except ConfigError as error:
        source = sources.get(error.key.partition(".")[0])
        if not source:
            raise
        raise ConfigError(error.key, f"{error.problem} (from {source})") from None


def _source(one: _Given, environ: Mapping[str, str]) -> str:
    if _is_reference(one.value):
        variable = cast("Mapping[str, str]", one.value)["env"]
        return variable if variable in environ else one.source
    return one.source


def _resolved(key: str, value: object, environ: Mapping[str, str]) -> object:
    """*value* with what it takes from the environment, at any depth."""
    if _is_reference(value):
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
