"""The settings: what there is to set, and what it means.  What a value may be is said in `setting`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import attrs

from .address import Address, CertReqs, Cluster, Embedded, Hosts, Place, Sentinel, Tcp, Unix, mask, parse_url, redact
from .errors import ConfigError
from .group import QueueGroup, as_groups
from .job import Timestamps
from .limits import Limit
from .periodic import Periodic, as_periodic
from .resource import AnyResource
from .setting import (
    Mode,
    as_callable,
    as_client_middleware,
    as_concurrency,
    as_flag,
    as_host,
    as_hosts,
    as_integer,
    as_listed,
    as_middleware,
    as_modes,
    as_name,
    as_names,
    as_namespace,
    as_node_identifier,
    as_optional_concurrency,
    as_optional_text,
    as_password,
    as_queue_names,
    as_resources,
    as_seconds,
    as_socket,
    as_text,
    as_url,
    as_workers,
    between,
    check_subscription,
    keyed,
    name_and_number,
    one_of,
    structured,
    type_name,
)


@attrs.frozen(field_transformer=keyed("queues."))
class QueueConfig:
    """One queue that a node works on; or many, whose names begin alike."""

    name: str = attrs.field(converter=check_subscription)
    """The name, one line of text of up to 255 bytes.  A ``*`` at its end stands for all queues that begin so, each of
    which has what follows for itself."""

    concurrency: float | None = attrs.field(default=None, converter=as_optional_concurrency)
    """Jobs of this queue at a time on one node: 1 or more, or ``math.inf``.  None: ``Config.concurrency``."""

    dequeuer: object | None = None
    """Decides whether the queue may be polled now, and how many jobs it may take.  None: the concurrency alone."""

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for all queues that begin so."""
        return self.name.endswith("*")

    def __attrs_post_init__(self) -> None:
        if self.is_pattern and not isinstance(self.dequeuer, Limit | None):
            raise ConfigError(
                "queues.dequeuer",
                f"of {self.name!r} would be that of many queues at once: give a number or exq.Limit(...), of which "
                "each queue has one of its own, or subscribe them one by one",
            )


_QueuesInput: TypeAlias = str | Iterable[str | tuple[str, float] | QueueConfig] | Mapping[str, object]


class _NotGiven(tuple[QueueConfig, ...]):
    """The queues that a node works on when nothing is said, which groups replace."""


def _queues(value: _QueuesInput) -> tuple[QueueConfig, ...]:
    if isinstance(value, _NotGiven):
        return value
    if isinstance(value, Mapping):
        queues = [_queue(name, setting) for name, setting in value.items()]
    elif isinstance(value, str):
        queues = [_queue_from_text(part) for part in as_listed(value)]
    else:
        queues = [_queue_from_entry(entry) for entry in as_listed(value)]
    names = [queue.name for queue in queues]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return tuple(queues)


def _queue_from_text(text: object) -> QueueConfig:
    return _queue(*name_and_number(str(text)))


def _queue_from_entry(entry: object) -> QueueConfig:
    match entry:
        case str():
            return _queue(entry, None)
        case QueueConfig():
            return entry
        case [name, setting]:
            return _queue(name, setting)
        case _:
            raise ValueError(f"must be a list of names or of (name, concurrency), not of {type_name(entry)}")


def _queue(name: object, setting: object) -> QueueConfig:
    """*setting* is a concurrency, as number or text, a dequeuer, a QueueConfig, or None."""
    checked = check_subscription(name)
    if isinstance(setting, QueueConfig):
        return attrs.evolve(setting, name=checked)
    if isinstance(setting, bool | bytes | list | tuple | Mapping):
        raise ValueError(f"{checked!r} must have a concurrency or a dequeuer, not {type_name(setting)}")
    if setting is not None and not isinstance(setting, str | int | float):
        return QueueConfig(checked, dequeuer=setting)
    try:
        return QueueConfig(checked, as_optional_concurrency(setting))
    except ValueError as error:
        raise ValueError(f"the concurrency of {checked!r} {error}") from None


@attrs.frozen(kw_only=True, field_transformer=keyed("redis_options.sentinel."))
class SentinelOptions:
    """The sentinels that know where the master is: ``redis_options["sentinel"]``."""

    sentinels: Hosts = attrs.field(default=(), converter=as_hosts)
    """Where they are: a list of ``[host, port]`` or ``"host[:port]"``; the port is 26379 unless given."""

    group: str = attrs.field(default="", converter=as_text)
    """The name that the sentinels have for the master and its replicas."""

    username: str | None = attrs.field(default=None, converter=as_optional_text)
    """The ACL user on the sentinels themselves.  ``Config.username`` is the one on the master."""

    password: str | None = attrs.field(default=None, converter=as_password, repr=mask)
    """The password of the sentinels themselves.  ``Config.password`` is the one of the master."""


def _sentinel(value: SentinelOptions | Mapping[str, object] | None) -> SentinelOptions | None:
    return None if value is None else structured(SentinelOptions, "redis_options.sentinel", value)


@attrs.frozen(kw_only=True, field_transformer=keyed("redis_options."))
class RedisOptions:
    """How to connect to Redis: ``redis_options``, a mapping of these keys; as text, a JSON object."""

    sentinel: SentinelOptions | None = attrs.field(default=None, converter=_sentinel)
    """Ask sentinels where the master is: a mapping, see :class:`SentinelOptions`."""

    cluster: bool = attrs.field(default=False, converter=as_flag)
    """The server is a node of a Redis Cluster.  The namespace then needs a hash tag, ``"{exq}"``."""

    unix_socket_path: str | None = attrs.field(default=None, converter=as_socket)
    """The absolute path of a Unix socket."""

    tls: bool = attrs.field(default=False, converter=as_flag)
    """Encrypt the connection, as ``rediss://`` does.  The options from ``ca_certs`` to ``cert_reqs`` need TLS."""

    ca_certs: str | None = attrs.field(default=None, converter=as_optional_text)
    """The file of the trusted certificates (PEM).  None: those of the system."""

    certfile: str | None = attrs.field(default=None, converter=as_optional_text)
    """The file of the client's certificate (PEM)."""

    keyfile: str | None = attrs.field(default=None, converter=as_optional_text)
    """The file of the client's private key (PEM).  None: it is in ``certfile``."""

    check_hostname: bool = attrs.field(default=True, converter=as_flag)
    """The server's certificate must name the host."""

    cert_reqs: CertReqs = attrs.field(default="required", metadata=one_of("required", "optional", "none"))
    """Whether the server must show a trusted certificate.  "none" needs ``check_hostname=False`` as well."""

    connect_timeout: float = attrs.field(default=2.0, converter=as_seconds, metadata=between(0.01, 600, "seconds"))
    """Seconds until an attempt to connect is given up."""

    timeout: float = attrs.field(default=5.0, converter=as_seconds, metadata=between(0.01, 600, "seconds"))
    """Seconds until a command without an answer is given up."""


def _redis_options(value: RedisOptions | Mapping[str, object] | str) -> RedisOptions:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("as text must be a JSON object") from None
    return structured(RedisOptions, "redis_options", value)


@attrs.frozen(kw_only=True, field_transformer=keyed())
class Config:
    """The settings of one instance, checked when it is made; the ``repr`` masks passwords.

    Where a field says seconds, a number or a ``timedelta`` is taken, and a number is kept.  Text is taken for every
    field that is not code, since that is what an environment has: numbers, true/false/1/0/yes/no/on/off, and lists
    separated by commas.

    Raises:
        ConfigError: a value is of the wrong type, out of range or at odds with another one; ``key`` names it.
    """

    name: str = attrs.field(default="exq", converter=as_name)
    """The name of the instance, in logs and as the ``tag`` of its process entry."""

    url: str | None = attrs.field(default=None, converter=as_url, repr=lambda url: repr(url and redact(url)))
    """Where Redis is, see :func:`~exq_anyio.address.parse_url`: ``redis://``, ``rediss://`` (TLS), ``unix://``,
    ``embedded://``, ``redis+sentinel://`` or ``redis+cluster://``.  It beats ``host`` and ``port``; the database, user
    and password that it leaves out come from the fields below."""

    host: str = attrs.field(default="127.0.0.1", converter=as_host)
    """The host of Redis, a name or an IP address."""

    port: int = attrs.field(default=6379, converter=as_integer, metadata=between(1, 65535))
    """The TCP port of Redis."""

    database: int = attrs.field(default=0, converter=as_integer, metadata=between(0, 999_999_999))
    """The number of the database."""

    username: str | None = attrs.field(default=None, converter=as_optional_text)
    """The ACL user.  None: Redis's ``default``."""

    password: str | None = attrs.field(default=None, converter=as_password, repr=mask)
    """The password.  None or empty: none."""

    redis_options: RedisOptions = attrs.field(default=RedisOptions(), converter=_redis_options)
    """Sentinel, cluster, TLS, timeouts, Unix socket: a mapping, see :class:`RedisOptions`; as text, a JSON object."""

    namespace: str = attrs.field(default="exq", converter=as_namespace)
    """What precedes every key, followed by ``:``.  Empty: no prefix at all, as Sidekiq 7 and newer."""

    queues: tuple[QueueConfig, ...] = attrs.field(default=_NotGiven([QueueConfig("default")]), converter=_queues)
    """The queues to work on: a list of names or of (name, concurrency), or a mapping from name to concurrency or
    dequeuer; as text, ``mail:10,default``.  Where there are ``groups`` the default is none.  ``exports:*`` stands for
    all queues that begin so, each with that number, or ``exq.Limit``, for itself; the longest one that fits holds, and
    what names a queue itself before all."""

    groups: tuple[QueueGroup, ...] = attrs.field(default=(), converter=as_groups)
    """Queues to work on that share a limit, in an order: a mapping from names to the keys of
    :class:`~exq_anyio.group.QueueGroup`; as text, a JSON object."""

    concurrency: float = attrs.field(default=100, converter=as_concurrency)
    """Jobs at a time of each queue that sets no concurrency of its own: 1 or more, or ``math.inf`` (text: ``inf``,
    ``infinite``, ``infinity``)."""

    total_concurrency: float = attrs.field(default=math.inf, converter=as_concurrency)
    """Jobs at a time of all queues together, whatever else limits them; while it is reached, the queues take turns."""

    poll_timeout: float = attrs.field(default=5.0, converter=as_seconds, metadata=between(0.01, 3600, "seconds"))
    """Seconds of one blocking wait for jobs at an idle queue.  A job ends the wait, so that it delays nothing."""

    scheduler_enable: bool = attrs.field(default=True, converter=as_flag)
    """Whether this node moves due jobs from ``schedule`` and ``retry`` to their queues."""

    scheduler_poll_timeout: float = attrs.field(
        default=1.0, converter=as_seconds, metadata=between(0.01, 3600, "seconds")
    )
    """Seconds between two looks for due jobs, times the number of live nodes."""

    max_retries: int = attrs.field(default=25, converter=as_integer, metadata=between(0, math.inf))
    """Retries of a job that sets none itself, until it is dead."""

    backoff: Callable[..., float | None] | None = attrs.field(default=None, converter=as_callable)
    """(job, error) -> seconds until the next retry; also as ``module:name``.  None: as Sidekiq, growing with the fourth
    power."""

    dead_max_jobs: int = attrs.field(default=10_000, converter=as_integer, metadata=between(0, math.inf))
    """Dead jobs that are kept; the oldest go first.  0: none."""

    dead_timeout_in_seconds: float = attrs.field(
        default=180 * 86400.0, converter=as_seconds, metadata=between(1, math.inf, "seconds")
    )
    """Seconds that a dead job is kept: 180 days."""

    resque_queues: frozenset[str] = attrs.field(default=frozenset[str](), converter=as_queue_names)
    """Queues that Resque pushes to or works too: jobs are put at their tail and taken from their head, as Resque does,
    so that all are taken in the order in which they came.  ``"*"``: all queues.  Every program of ours that enqueues to
    such a queue or works on it must know."""

    mode: frozenset[Mode] = attrs.field(default=frozenset[Mode](["default"]), converter=as_modes)
    """What the instance does: ``"default"`` (everything), ``"enqueuer"``, ``"api"``, or several of them."""

    shutdown_timeout: float = attrs.field(default=5.0, converter=as_seconds, metadata=between(0, 86400, "seconds"))
    """Seconds that running jobs have to end at a stop, before they are cancelled and put back."""

    heartbeat_enable: bool = attrs.field(default=True, converter=as_flag)
    """Whether this node beats, and rescues the jobs of nodes that no longer do."""

    heartbeat_interval: float = attrs.field(default=5.0, converter=as_seconds, metadata=between(0.01, 30, "seconds"))
    """Seconds between two beats.  At most 30, since the process entry expires after 60."""

    missed_heartbeats_allowed: int = attrs.field(default=5, converter=as_integer, metadata=between(1, 10_000))
    """Beats that a node may miss before others take it for dead, see :attr:`node_limit`."""

    foreign_dead_after: float = attrs.field(
        default=360.0, converter=as_seconds, metadata=between(0.01, math.inf, "seconds")
    )
    """Seconds of silence after which a node that states no limit of its own is dead: Exq, which beats every 60."""

    max_rescues: int = attrs.field(default=3, converter=as_integer, metadata=between(1, 10_000))
    """Rescues of one job within 72 hours after which it is dead, as it seems to kill its process."""

    blocked_limit: float = attrs.field(default=60.0, converter=as_seconds, metadata=between(0.01, math.inf, "seconds"))
    """Seconds that the event loop may be blocked before ``/livez`` fails."""

    node_identifier: str | Callable[[], str] | None = attrs.field(default=None, converter=as_node_identifier)
    """The part of the node's identity before ``#``: text without ``#`` and ``::``, or a function that returns it.
    None: the host name."""

    middleware: tuple[Callable[..., object], ...] | None = attrs.field(default=None, converter=as_middleware)
    """Async context managers around each job, the first one outermost; one, or a list of them, also as ``module:name``.
    None: ``exq.default_middleware``."""

    client_middleware: tuple[Callable[..., object], ...] = attrs.field(default=(), converter=as_client_middleware)
    """Async context managers around each enqueue, given the :class:`~exq_anyio.spec.JobSpec`; the first outermost.
    What one yields, if it is a JobSpec, is enqueued instead.  Also as ``module:name``."""

    listeners: tuple[Callable[..., object], ...] = attrs.field(default=(), converter=as_client_middleware)
    """What is told of all that happens to jobs and nodes: functions of an :class:`~exq_anyio.events.Event`; also as
    ``module:name``."""

    threads: int = attrs.field(default=100, converter=as_integer, metadata=between(1, 10_000))
    """Threads of one node for workers that are no ``async def``, over all its queues."""

    queue_adapter: object | None = None
    """What takes the jobs that are enqueued: an object with the one method of :class:`~exq_anyio.outbox.Outbox`.  None:
    Redis."""

    workers: tuple[object, ...] | None = attrs.field(default=None, converter=as_workers)
    """The modules, classes and functions that perform jobs; a module also by its name.  None: all that were marked."""

    imports: tuple[str, ...] = attrs.field(default=(), converter=as_names)
    """Names of modules that are imported at the start, so that their workers are there."""

    resources: tuple[AnyResource | str, ...] = attrs.field(default=(), converter=as_resources)
    """What jobs are given beside their arguments, see :func:`~exq_anyio.resource`; one also as ``module:name``."""

    periodic: tuple[Periodic, ...] = attrs.field(default=(), converter=as_periodic)
    """Jobs that are enqueued again and again: a list of :class:`~exq_anyio.Periodic`, or a mapping from names to tables
    with ``worker``, ``args``, ``queue``, ``every`` or ``cron`` and ``timezone``, ``missed``, ``limit``; as text, a JSON
    object."""

    timestamps: Timestamps = attrs.field(default="seconds", metadata=one_of("seconds", "milliseconds"))
    """How instants are written: "seconds" as Exq and Sidekiq up to 7, "milliseconds" as Sidekiq 8.  Both are read."""

    max_payload_bytes: int = attrs.field(default=1_048_576, converter=as_integer, metadata=between(1, 512 * 1024**2))
    """Bytes that a job may have at enqueue."""

    max_read_bytes: int = attrs.field(default=16 * 1024**2, converter=as_integer, metadata=between(1, 512 * 1024**2))
    """Bytes that a job may have when it is taken; a larger one is dead.  Not less than ``max_payload_bytes``."""

    max_waiting_queues: int = attrs.field(default=64, converter=as_integer, metadata=between(0, 10_000))
    """Queues that are waited for with a connection each.  The rest are polled in rotation."""

    def __attrs_post_init__(self) -> None:
        self._check_groups()
        if self.max_read_bytes < self.max_payload_bytes:
            raise ConfigError("max_read_bytes", f"must not be less than max_payload_bytes, {self.max_payload_bytes:,}")
        if isinstance(self.address().place, Cluster) and not re.match(r"[^{]*\{[^}]+\}", self.namespace):
            # A script touches several keys, which a cluster allows only for keys of one slot.
            raise ConfigError("namespace", 'needs a hash tag in a cluster, for example "{exq}"')

    def _check_groups(self) -> None:
        if self.groups and isinstance(self.queues, _NotGiven):
            object.__setattr__(self, "queues", _NotGiven())
        alone = {queue.name for queue in self.queues}
        for group in self.groups:
            if twice := alone & group.queues.keys():
                raise ConfigError(f"groups.{group.name}", f"queue {min(twice)!r} is in `queues` too; name it once")

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
