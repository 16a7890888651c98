"""Whatever is wrong with Redis at the start is one line that says where and what to do, and status 1, soon."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
import valkey as server_client

from ..conftest import PrivateValkey
from .conftest import Client, Shell, until

COMMANDS = [
    pytest.param(["run", "jobs", "--backend", "trio"], id="run"),
    pytest.param(["enqueue", "default", "nap", "[1]"], id="enqueue"),  # on asyncio
]

pytestmark = pytest.mark.parametrize("command", COMMANDS)


def said(shell: Shell, command: list[str], url: str, **environment: str) -> str:
    """The one line on stderr, without ``exq: ``."""
    began = time.monotonic()
    options = ["--log-level", "warning"] if command[0] == "run" else []
    done = shell.run(*command, *options, "--redis-url", url, env={"EXQ_REDIS_OPTIONS": "{}", **environment})
    assert (done.returncode, done.stdout) == (1, "")
    found = re.fullmatch(r"exq: (.+)\n", done.stderr)
    assert found, done.stderr
    assert time.monotonic() - began < 30
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def server_that(answers: bytes | None) -> Iterator[int]:
    """The port of a server that answers everything with the same bytes and hangs up, or (None) says nothing."""
    held: list[socket.socket] = []

    def accept(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            held.append(connection)
            if answers is not None:
                with suppress(OSError):  # it has hung up before
                    connection.recv(1000)
                    connection.sendall(answers)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1000):  # what is closed with bytes unread is reset, with all that was sent
                        pass

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept, args=(server,))
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in held:
            connection.close()


def test_a_port_that_nobody_listens_at(shell: Shell, command: list[str]) -> None:
    port = free_port()
    line = said(shell, command, f"redis://user:secret@127.0.0.1:{port}/3")
    assert line.startswith(f"Redis at redis://127.0.0.1:{port}/3: ")
    assert line.endswith("; check the address and that the server runs")
    assert "secret" not in line


def test_a_socket_that_is_not_there(shell: Shell, command: list[str]) -> None:
    line = said(shell, command, "unix:///no/such.sock")
    assert line == (
        "Redis at unix:///no/such.sock?db=0: No such file or directory; check the address and that the server runs"
    )


def test_a_host_that_is_not_known(shell: Shell, command: list[str]) -> None:
    line = said(shell, command, "redis://no-such-host.invalid")
    assert line.startswith("Redis at redis://no-such-host.invalid:6379/0: ")
    assert line.endswith("; check the address and that the server runs")


def test_a_wrong_password(shell: Shell, command: list[str], private_valkey: Callable[..., PrivateValkey]) -> None:
    server = private_valkey("--requirepass", "right")
    line = said(shell, command, server.url, EXQ_PASSWORD="wrongsecret")
    assert line == (f"Redis at {server.url}?db=0: it refuses the user or password; check username and password")


def test_a_password_that_is_not_given(
    shell: Shell, command: list[str], private_valkey: Callable[..., PrivateValkey]
) -> None:
    server = private_valkey("--requirepass", "right")
    assert said(shell, command, server.url) == (
        f"Redis at {server.url}?db=0: it wants a password; check username and password"
    )


def test_a_user_who_may_not(shell: Shell, command: list[str], private_valkey: Callable[..., PrivateValkey]) -> None:
    server = private_valkey("--user", "guest", "on", ">pw", "+hello", "+auth", "+ping", "+client")
    line = said(shell, command, server.url, EXQ_USERNAME="guest", EXQ_PASSWORD="pw")
    assert line.startswith(f"Redis at {server.url}?db=0: the user may not do this (")
    assert line.endswith("); see the documented ACL rules")


def test_a_server_that_says_nothing(shell: Shell, command: list[str]) -> None:
    with server_that(answers=None) as port:
        assert said(shell, command, f"redis://127.0.0.1:{port}") == (
            f"Redis at redis://127.0.0.1:{port}/0: "
            "no answer in time; is it a Redis there, and is it overloaded or cut off?"
        )


def test_a_server_of_web_pages(shell: Shell, command: list[str]) -> None:
    with server_that(answers=b"HTTP/1.1 400 Bad Request\r\n\r\n<html>\r\n") as port:
        line = said(shell, command, f"redis://127.0.0.1:{port}")
    assert line.startswith(f"Redis at redis://127.0.0.1:{port}/0: what answers there is no Redis (")
    assert line.endswith("); check the address")


def test_a_server_that_hangs_up(shell: Shell, command: list[str]) -> None:
    with server_that(answers=b"") as port:
        line = said(shell, command, f"redis://127.0.0.1:{port}")
    assert line.startswith(f"Redis at redis://127.0.0.1:{port}/0: ")
    assert line.endswith("; check the address and that the server runs")


def test_a_server_without_tls(shell: Shell, command: list[str]) -> None:
    with server_that(answers=b"-ERR unknown command\r\n") as port:
        line = said(shell, command, f"rediss://127.0.0.1:{port}")
    assert line.startswith(f"Redis at rediss://127.0.0.1:{port}/0: ")
    assert line.endswith("; check the address and that the server runs")


def test_a_certificate_that_is_not_there(shell: Shell, command: list[str]) -> None:
    options = '{"ca_certs": "/no/such/ca.pem"}'
    line = said(shell, command, "rediss://127.0.0.1:1", EXQ_REDIS_OPTIONS=options)
    assert line.startswith("redis_options: ")
    assert "No such file or directory" in line


def test_a_read_only_replica(shell: Shell, command: list[str], private_valkey: Callable[..., PrivateValkey]) -> None:
    port = free_port()
    private_valkey("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    replica = private_valkey("--replicaof", "127.0.0.1", str(port))
    client: Client = server_client.Valkey(unix_socket_path=replica.socket)
    with closing(client):
        until(lambda: client.info("replication")["master_link_status"] == "up", "the replica has its primary")
    assert said(shell, command, replica.url) == (
        f"Redis at {replica.url}?db=0: it is a read-only replica; connect to the primary"
    )
