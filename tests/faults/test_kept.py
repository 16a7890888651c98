"""A server that processes share and that keeps its data: whoever of them, or it itself, is killed."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import attrs
import pytest

import exq_anyio as exq
from exq_anyio.errors import ConfigError, RedisUnavailable
from exq_anyio.redis import kept
from exq_anyio.redis.kept import Site, kept_server

# Says "up" when it has joined; leaves at the end of its input.
USER = """
import sys
import anyio
import anyio.to_thread
from exq_anyio.redis.kept import kept_server

async def main():
    async with kept_server(sys.argv[1]) as server:
        print("up", server.pid, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main, backend=sys.argv[2])
"""


@attrs.define
class User:
    """Another process that shares the server."""

    process: subprocess.Popen[str]
    pid: int = 0
    """The server's."""

    def joins(self) -> User:
        assert self.process.stdout is not None
        word, pid = self.process.stdout.readline().split()
        assert word == "up"
        self.pid = int(pid)
        return self

    def leaves(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[str]:
    """No server is left in it."""
    path = str(tmp_path / "data")
    yield path
    site = Site.at(path)
    if site.server_lives():
        os.kill(site.pid(), signal.SIGKILL)
        pytest.fail("a server is left")


@pytest.fixture
def start(directory: str) -> Iterator[Callable[[], User]]:
    """Start another user, on the two backends by turns."""
    backends = itertools.cycle(["asyncio", "trio"])
    with ExitStack() as users:

        def start() -> User:
            process = subprocess.Popen(
                [sys.executable, "-c", USER, directory, next(backends)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            user = User(process)
            users.callback(user.kill)
            return user

        yield start


def say(directory: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(Site.at(directory).socket)
        client.sendall(command.encode() + b"\r\n")
        return client.recv(1000).decode().strip()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.005)


def answers(directory: str) -> bool:
    try:
        return say(directory, "PING") == "+PONG"
    except OSError:
        return False


# Who comes and who leaves


def test_users_share_one_server_which_the_last_one_stops(directory: str, start: Callable[[], User]) -> None:
    first, second = start().joins(), start().joins()
    assert first.pid == second.pid
    first.leaves()
    assert answers(directory)
    second.leaves()
    assert not Site.at(directory).server_lives()
    assert not answers(directory)


def test_many_that_come_at_once_start_one_server(directory: str, start: Callable[[], User]) -> None:
    users = [start() for _ in range(4)]
    assert len({user.joins().pid for user in users}) == 1
    for user in users:
        user.leaves()


def test_what_was_written_is_there_for_the_next_one(directory: str, start: Callable[[], User]) -> None:
    first = start().joins()
    assert say(directory, "SET key kept") == "+OK"
    first.leaves()
    second = start().joins()
    assert say(directory, "GET key") == "$4\r\nkept"
    second.leaves()


# Who is killed


def test_when_a_user_is_killed_the_server_goes_on_for_the_others(directory: str, start: Callable[[], User]) -> None:
    first, second = start().joins(), start().joins()
    first.kill()  # which had started it
    assert answers(directory)
    second.leaves()
    assert not Site.at(directory).server_lives()


def test_ctrl_c_at_the_terminal_of_one_does_not_reach_the_server(directory: str, start: Callable[[], User]) -> None:
    first, second = start().joins(), start().joins()
    os.killpg(first.process.pid, signal.SIGINT)
    first.process.communicate(timeout=30)
    assert answers(directory)
    assert Site.at(directory).pid() == first.pid
    second.leaves()


def test_the_server_of_users_that_were_all_killed_is_adopted(directory: str, start: Callable[[], User]) -> None:
    first = start().joins()
    first.kill()
    assert answers(directory)
    second = start().joins()
    assert second.pid == first.pid
    second.leaves()
    assert not Site.at(directory).server_lives()


def test_a_server_that_is_killed_is_started_again_with_its_data(directory: str, start: Callable[[], User]) -> None:
    users = [start().joins() for _ in range(2)]
    assert say(directory, "SET key kept") == "+OK"
    os.kill(users[0].pid, signal.SIGKILL)
    until(lambda: answers(directory), "it answers again")
    assert say(directory, "GET key") == "$4\r\nkept"
    users[0].kill()
    os.kill(Site.at(directory).pid(), signal.SIGKILL)
    until(lambda: answers(directory), "the other user starts it too")
    users[1].leaves()


async def test_a_node_goes_on_when_its_server_is_killed(directory: str) -> None:
    done: list[int] = []

    @exq.worker
    async def note(number: int) -> None:
        done.append(number)

    async with exq.open(url=f"embedded://{directory}", workers=[note]) as q:
        await q.push(note.job(1))
        await _until(lambda: done == [1])
        os.kill(Site.at(directory).pid(), signal.SIGKILL)
        async with exq.open(url=f"embedded://{directory}", mode="enqueuer") as other:
            await other.push(note.job(2))
        await _until(lambda: done == [1, 2])


async def _until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


# What else there is


async def test_a_server_that_hangs_is_not_joined_by_a_second_one(
    directory: str, start: Callable[[], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = start().joins()
    os.kill(user.pid, signal.SIGSTOP)
    monkeypatch.setattr(kept, "START_TIMEOUT", 0.5)
    try:
        with pytest.raises(RedisUnavailable, match="the server does not answer; the end of its log: "):
            async with kept_server(directory):
                pytest.fail("it cannot have joined")
    finally:
        os.kill(user.pid, signal.SIGCONT)
    user.leaves()


def _spoil(directory: str) -> None:
    os.makedirs(f"{directory}/appendonlydir")
    Path(directory, "appendonlydir", "appendonly.aof.manifest").write_text("nonsense\n")


async def test_a_server_that_does_not_start_says_why(directory: str) -> None:
    _spoil(directory)
    with pytest.raises(RedisUnavailable, match=r"the server does not start; .* AOF manifest"):
        async with kept_server(directory):
            pytest.fail("it cannot have started")


async def test_a_path_that_is_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 120))
    async with kept_server(long) as server:
        assert len(server.socket) < 60
        assert server.directory == long
        assert "appendonlydir" in os.listdir(long)
        async with kept_server(f"{long}/../{'x' * 120}") as same:
            assert (same.socket, same.pid) == (server.socket, server.pid)
    os.rmdir(os.path.dirname(server.socket))


async def test_what_the_block_raises_leaves_as_itself_and_the_server_is_stopped(directory: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with kept_server(directory):
            raise ZeroDivisionError
    assert not Site.at(directory).server_lives()
    with anyio.CancelScope() as scope:
        async with kept_server(directory):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not Site.at(directory).server_lives()


async def test_who_is_cancelled_while_it_starts_leaves_nothing(directory: str) -> None:
    for seconds in (0, 0.005, 0.02, 0.05):
        with anyio.move_on_after(seconds):
            async with kept_server(directory):
                await anyio.sleep_forever()
        assert not Site.at(directory).server_lives()


async def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match=f"url: embedded://{file} cannot be used: "):
        async with kept_server(str(file)):
            pytest.fail("it cannot have started")
