"""Where Redis is: the kinds of place, the URLs that name them, and how to show one without its password."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

import attrs

from .errors import ConfigError

REDIS_PORT = 6379
SENTINEL_PORT = 26379

#: What may be in no name: it would break a log line or a terminal.
CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Hosts: TypeAlias = tuple[tuple[str, int], ...]
CertReqs: TypeAlias = Literal["required", "optional", "none"]

_NETWORK_SCHEMES = {"redis", "redis+sentinel", "redis+cluster", "rediss", "rediss+sentinel", "rediss+cluster"}
_UNIX_SCHEMES = {"unix", "redis+unix"}
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\s\[\]@/,]+)\]|(?P<name>[^\s\[\]@/,:]+))(?::(?P<port>[0-9]{1,5}))?")


def mask(secret: str | None) -> str:
    """What the ``repr`` of a password shows: whether there is one."""
    return repr(secret and "***")


@attrs.frozen
class Tcp:
    """One server on the network."""

    host: str
    port: int


@attrs.frozen
class Unix:
    """A Unix socket of this machine; *path* is absolute."""

    path: str


@attrs.frozen
class Embedded:
    """A server that this package starts itself; *directory* keeps its data, ``""`` is private and gone at exit."""

    directory: str


@attrs.frozen
class Sentinel:
    """The master of *group*, as the sentinels at *hosts* know it.

    *username* and *password* are for the sentinels themselves; those of the :class:`Address` are for the master.
    """

    hosts: Hosts
    group: str
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=mask)


@attrs.frozen
class Cluster:
    """A Redis Cluster, found through any of *hosts*."""

    hosts: Hosts


Place: TypeAlias = Tcp | Unix | Embedded | Sentinel | Cluster


@attrs.frozen(kw_only=True)
class Address:
    """Where Redis is, and how to connect to it.  The ``repr`` masks passwords."""

    place: Place
    """The server or servers: Tcp, Unix, Embedded, Sentinel or Cluster."""

    database: int = 0
    """The number of the database; always 0 in a cluster."""

    username: str | None = attrs.field(default=None, repr=mask)
    """The ACL user; None is Redis's user ``default``.  Masked: ``redis://secret@host`` is a common slip."""

    password: str | None = attrs.field(default=None, repr=mask)
    """The password; None connects without one."""

    tls: bool = False
    """Whether the connection is encrypted.  The fields from ``ca_certs`` to ``cert_reqs`` count only then."""

    ca_certs: str | None = None
    """The file of the trusted certificates (PEM); None trusts those of the system."""

    certfile: str | None = None
    """The file of the client's certificate (PEM)."""

    keyfile: str | None = None
    """The file of the client's private key (PEM)."""

    check_hostname: bool = True
    """Whether the server's certificate must name the host."""

    cert_reqs: CertReqs = "required"
    """Whether the server must show a certificate that is trusted."""

    connect_timeout: float = 2.0
    """Seconds until an attempt to connect is given up."""

    timeout: float = 5.0
    """Seconds until a command without an answer is given up."""

    def display(self) -> str:
        """The URL for messages: where, but never the user or the password."""
        scheme = "rediss" if self.tls else "redis"
        match self.place:
            case Tcp(host, port):
                return f"{scheme}://{_shown(((host, port),))}/{self.database}"
            case Unix(path):
                return f"unix://{quote(path)}?db={self.database}"
            case Embedded(directory):
                return f"embedded://{directory}"
            case Sentinel(hosts, group):
                return f"{scheme}+sentinel://{_shown(hosts)}/{quote(group, safe='')}/{self.database}"
            case Cluster(hosts):
                return f"{scheme}+cluster://{_shown(hosts)}"


def _shown(hosts: Hosts) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)


def redact(url: str) -> str:
    """*url* with its user and password replaced by ``***``; the whole of it where it cannot be read."""
    try:
        address = parse_url(url)
    except ConfigError:
        return "***"
    scheme, _, rest = url.partition("://")
    userinfo, _, place = rest.rpartition("@")
    return f"{scheme}://***@{place}" if userinfo and not isinstance(address.place, Embedded) else url


def parse_host(text: str, default_port: int) -> tuple[str, int]:
    """Split ``host``, ``host:port``, ``[ipv6]`` or ``[ipv6]:port``.

    Raises:
        ValueError: there is no host, or no port from 1 to 65535.  The message does not repeat *text*, which may be a
            password in the wrong place.
    """
    found = _HOST.fullmatch(text)
    if found is None or CONTROL_CHARACTERS.search(text):
        raise ValueError("must have hosts of the form host, host:port or [ipv6]:port")
    port = int(found["port"] or default_port)
    if not 1 <= port <= 65535:
        raise ValueError(f"must have a port from 1 to 65535, not {port}")
    return found["ipv6"] or found["name"], port


def parse_url(url: str, *, database: int = 0, username: str | None = None, password: str | None = None) -> Address:
    """The address that *url* names; what it leaves out comes from the other arguments.

    ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` with TLS; ``valkey`` stands for ``redis`` in
    every scheme.  ``unix:///path[?db=database]``, ``redis+unix://``.  ``embedded://[directory]``: the path as it
    stands, nothing in it is decoded, and it has no credentials.
    ``redis+sentinel://[user:password@]host[:port][,...]/group[/database]``,
    ``redis+cluster://[user:password@]host[:port][,...]``; ``rediss+...`` with TLS.
    User, password, path and group are percent-decoded.

    Raises:
        ConfigError: of key ``url``; no part of the URL is repeated in the message.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower().replace("valkey", "redis", 1)
    if CONTROL_CHARACTERS.search(url):
        raise ConfigError("url", "holds a control character; percent-encode it")
    if separator and scheme == "embedded":
        return Address(place=Embedded(rest), database=database)
    if not separator or scheme not in _NETWORK_SCHEMES | _UNIX_SCHEMES:
        raise ConfigError(
            "url", "must begin with redis://, rediss://, unix://, embedded://, redis+sentinel:// or redis+cluster://"
        )
    user, secret, hosts, path, said = _split(rest)
    if scheme in _UNIX_SCHEMES:
        place: Place = _unix(hosts, path)
    else:
        place, path = _network(scheme.partition("+")[2], hosts, path)
        said = _agreed(path, said)
    return Address(
        place=place,
        database=_database(said, database),
        username=user or username,
        password=secret or password,
        tls=scheme.startswith("rediss"),
    )


def _split(rest: str) -> tuple[str, str, str, str, str]:
    """What follows ``://`` as user, password, hosts, path (with its first slash) and the ``db`` of the query."""
    place, _, query = rest.partition("?")
    hosts, slash, path = place.partition("/")
    userinfo, _, hosts = hosts.rpartition("@")
    if "@" in path + query or "#" in rest:
        raise ConfigError("url", "a '/', '?', '#' or '@' in a user, password or path must be percent-encoded")
    name, equals, said = query.partition("=")
    if query and (name != "db" or not equals or not said):
        raise ConfigError("url", "knows no parameter but ?db=NUMBER; TLS and timeouts belong in redis_options")
    user, _, secret = userinfo.partition(":")
    return _decoded(user), _decoded(secret), hosts, slash + path, said


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError("url", "what is percent-encoded must be UTF-8") from None


def _unix(hosts: str, path: str) -> Unix:
    decoded = _decoded(path)
    if hosts or decoded in ("", "/"):
        raise ConfigError("url", "a Unix socket needs an absolute path: unix:///path/of/socket")
    return Unix(_printable(decoded))


def _network(kind: str, hosts: str, path: str) -> tuple[Place, str]:
    """The place, and what the path says of the database."""
    try:
        found = tuple(
            parse_host(host, SENTINEL_PORT if kind == "sentinel" else REDIS_PORT) for host in hosts.split(",")
        )
    except ValueError as error:
        raise ConfigError("url", str(error)) from None
    path = path.removeprefix("/")
    if kind == "sentinel":
        group, _, path = path.partition("/")
        if not group:
            raise ConfigError("url", "needs the sentinels' name for the master: redis+sentinel://host:port/group")
        return Sentinel(found, _printable(_decoded(group))), path
    if kind == "cluster":
        return Cluster(found), path
    if found[1:]:
        raise ConfigError("url", "names several hosts; that needs redis+sentinel:// or redis+cluster://")
    host, port = found[0]
    return Tcp(host, port), path


def _printable(text: str) -> str:
    if CONTROL_CHARACTERS.search(text):
        raise ConfigError("url", "holds a control character in its path")
    return text


def _agreed(path: str, query: str) -> str:
    if path and query:
        raise ConfigError("url", "names the database twice, in its path and in ?db=")
    return path or query


def _database(said: str, default: int) -> int:
    if not said:
        return default
    if not re.fullmatch("[0-9]{1,9}", said):
        raise ConfigError("url", "the database must be a number, 0 or more")
    return int(said)
