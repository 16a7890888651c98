"""A Valkey of several processes that keeps its data: ``embedded://DIR``.

Who comes first starts it, who leaves last stops it, and whoever finds it dead starts it again.  Nobody has to be told
of anybody: three files in the directory are locked (flock), and the system frees the locks of those that are killed.

- ``join.lock``, for whoever just comes, leaves or starts the server: one at a time.
- ``users.lock``, shared by all users as long as they are there.  Who gets it alone is the last.
- ``server.lock``, held by the server itself, which inherits it: never are there two servers on the same data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import attrs

from ..errors import ConfigError, RedisUnavailable
from .embedded import (
    LONGEST_SOCKET_PATH,
    START_TIMEOUT,
    STOP_TIMEOUT,
    EmbeddedServer,
    answers,
    find_binary,
    last_lines,
)

LOOK = 0.25
"""Seconds between two looks whether the server lives; they cost a few microseconds."""

_SOCKET, _LOG, _PID = "valkey.sock", "valkey.log", "valkey.pid"

# The shell ends at once, and the server belongs to nobody: it outlives who started it.
_SCRIPT = '"$@" </dev/null &'


@attrs.frozen
class Site:
    """The directory, and where the socket is."""

    directory: str
    socket: str

    @classmethod
    def at(cls, directory: str) -> Site:
        """The site in *directory*, which is made if need be.

        Raises:
            ConfigError: it cannot be used.
        """
        real = os.path.realpath(directory)
        try:
            os.makedirs(real, mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError("url", f"embedded://{directory} cannot be used: {error.strerror}") from None
        path = os.path.join(real, _SOCKET)
        return cls(real, path if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH else _short_path(real))

    def lock(self, name: str) -> int:
        """A file descriptor of ``<name>.lock``, not locked yet."""
        path = os.path.join(self.directory, f"{name}.lock")
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError("url", f"embedded://{self.directory} cannot be used: {error.strerror}") from None

    def server_lives(self) -> bool:
        """Whether there is a server process, in whatever state."""
        with _closed(self.lock("server")) as lock:
            return not _try(lock, fcntl.LOCK_SH)

    def pid(self) -> int:
        """The process id of a server that answers; 0 when that is not known."""
        try:
            with open(os.path.join(self.directory, _PID), encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0


@contextlib.asynccontextmanager
async def kept_server(directory: str) -> AsyncIterator[EmbeddedServer]:
    """Share the server of *directory* for the length of the block.

    Raises:
        ConfigError: the directory cannot be used, or there is no server to start.
        RedisUnavailable: it does not come up, or does not answer; the message holds the end of its log.
    """
    binary = await anyio.to_thread.run_sync(find_binary)
    site = Site.at(directory)
    with _closed(site.lock("users")) as users:
        try:
            async with _joining(site):
                _try(users, fcntl.LOCK_SH)  # who leaves has it alone only while it has the other lock, which is ours
                await _run(site, binary)
            failure: BaseException | None = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, site, binary)
                try:
                    yield EmbeddedServer(socket=site.socket, pid=site.pid(), directory=site.directory)
                except BaseException as error:
                    failure = error  # and not raised here, where the task group would wrap it
                tasks.cancel_scope.cancel()
            if failure is not None:
                raise failure
        finally:
            # A cancelled caller must not leave the server behind that it alone uses.
            with anyio.move_on_after(3 * STOP_TIMEOUT, shield=True):
                async with _joining(site):
                    if _try(users, fcntl.LOCK_EX):
                        await _stop(site)


async def _watch(site: Site, binary: str) -> None:
    """Start the server again whenever it has died."""
    while True:
        await anyio.sleep(LOOK)
        if not site.server_lives():
            async with _joining(site):
                with contextlib.suppress(RedisUnavailable):  # the connections say so; the next look tries again
                    await _run(site, binary)


async def _run(site: Site, binary: str) -> None:
    """Return when the server answers; start it if there is none."""
    started = False
    with anyio.move_on_after(START_TIMEOUT):
        while not await anyio.to_thread.run_sync(answers, site.socket):
            with _closed(site.lock("server")) as lock:
                if _try(lock, fcntl.LOCK_EX):
                    if started:
                        break  # it has ended already
                    _spawn(site, binary, lock)
                    started = True
            await anyio.sleep(0.01)
        else:
            return
    log_end = last_lines(os.path.join(site.directory, _LOG))
    problem = "does not start" if started else "does not answer"
    raise RedisUnavailable(f"embedded://{site.directory}", f"the server {problem}; the end of its log: {log_end}")


def _spawn(site: Site, binary: str, lock: int) -> None:
    """Start the server, which keeps *lock* for as long as it lives."""
    ours = ["--port", "0", "--unixsocket", site.socket, "--unixsocketperm", "700", "--dir", site.directory]
    ours += ["--save", "", "--appendonly", "yes", "--daemonize", "no", "--pidfile", os.path.join(site.directory, _PID)]
    try:
        with open(os.path.join(site.directory, _LOG), "ab") as log:
            subprocess.run(
                ["/bin/sh", "-c", _SCRIPT, "sh", binary, *ours],
                cwd=site.directory,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                pass_fds=(lock,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RedisUnavailable(f"embedded://{site.directory}", f"the server cannot be started: {error}") from error


async def _stop(site: Site) -> None:
    """Have the server end, which has written all it has; kill it if it does not."""
    with anyio.move_on_after(STOP_TIMEOUT):
        while site.server_lives():  # its end is seen by its lock alone
            _ask_to_end(site)  # more than once: it may not listen yet
            await anyio.sleep(0.01)
    if site.server_lives() and (pid := site.pid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ask_to_end(site: Site) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(site.socket)
        client.sendall(b"SHUTDOWN\r\n")


@contextlib.asynccontextmanager
async def _joining(site: Site) -> AsyncIterator[None]:
    """Be the only one who comes, leaves or starts the server."""
    with _closed(site.lock("join")) as lock:
        while not _try(lock, fcntl.LOCK_EX):  # noqa: ASYNC110  # another process has it
            await anyio.sleep(0.01)
        yield


@contextlib.contextmanager
def _closed(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)  # and with it the lock, unless the server has inherited it


def _try(fd: int, how: int) -> bool:
    """Whether the lock was to be had."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _short_path(directory: str) -> str:
    """A socket for a directory whose own path is too long: in one of ours under /tmp, the same for every process."""
    short = f"/tmp/exq-{os.getuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(short, 0o700)
    found = os.lstat(short)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError("url", f"embedded:// needs {short} for its socket, and that is not ours alone; remove it")
    return os.path.join(short, _SOCKET)
