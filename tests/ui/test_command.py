"""``exq ui``: the web UI alone, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest
from click.testing import CliRunner

from exq_anyio.cli.main import exq
from exq_anyio.cli.ui import listen
from exq_anyio.errors import ConfigError
from exq_anyio.redis.embedded import EmbeddedServer

EXQ = str(Path(sys.executable).with_name("exq"))

HOOK = """
async def may(request, action):
    return request.headers.get("x-user") == "ops" and action == "read"
"""

Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture(params=["asyncio", "trio"])
def start(request: pytest.FixtureRequest, valkey: EmbeddedServer, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """Start ``exq ui`` with more options: the process, and where it says that it is."""
    (tmp_path / "ops.py").write_text(HOOK)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
    environment = {**inherited, "EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "PYTHONWARNINGS": "error"}
    processes = list[subprocess.Popen[str]]()

    def start(*options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [EXQ, "ui", "--port", "0", "--backend", request.param, *options],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout
        said = process.stdout.readline()
        found = re.search(r"http://\S+/", said)
        assert found, said
        return process, found[0]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def get(address: str, **headers: str) -> HTTPResponse:
    request = urllib.request.Request(address, headers=headers)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=10)
    return answer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_and_cleanly_while_browsers_look(start: Start, number: signal.Signals) -> None:
    process, address = start()
    assert b"Dashboard" in get(address).read()
    with get(f"{address}events?page=/&every=15") as stream:
        assert stream.readline() == b"retry: 1000\n"
        assert any(line.startswith(b"data: ") for line in stream)  # now it waits until it is time to read again
        process.send_signal(number)
        stream.read()  # it ends as a whole: if it were cut off, when its grace is over, this would be an IncompleteRead
        _, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (0, "")


def test_it_is_for_this_machine_alone_unless_it_is_told_who_may(start: Start) -> None:
    _, address = start()
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(address, Host="exq.example")
    with caught.value as refused:
        assert refused.code == 403
    _, address = start("--host", "0.0.0.0", "--authorize", "ops:may", "--title", "Shop")
    address = address.replace("0.0.0.0", "127.0.0.1")
    assert b"Shop" in get(address, Host="exq.example", **{"X-User": "ops"}).read()
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(address, Host="exq.example")
    with caught.value as refused:
        assert refused.code == 403


def test_a_host_that_others_see_needs_a_word_about_who_may() -> None:
    for host in ("0.0.0.0", "10.1.2.3", "::", "example.org"):
        result = CliRunner().invoke(exq, ["ui", "--host", host])
        assert (result.exit_code, "--no-authorization" in result.output) == (2, True)
    both = CliRunner().invoke(exq, ["ui", "--authorize", "os:getcwd", "--no-authorization"])
    assert (both.exit_code, "contradict" in both.output) == (2, True)


def test_a_hook_that_is_not_there_is_told() -> None:
    for name, text in (
        ("ops", "MODULE:FUNCTION"),
        ("nowhere_at_all:may", "cannot be imported"),
        ("os:name", "no function"),
    ):
        result = CliRunner().invoke(exq, ["ui", "--authorize", name])
        assert result.exit_code != 0
        assert text in f"{result.output}{result.exception}"


def test_a_port_that_is_taken_is_told_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port: {port} at 127.0.0.1 is taken; give another --port, or 0 for any"):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(ConfigError, match=r"host: cannot listen at 192.0.2.1:0"):
        listen("192.0.2.1", 0)
    with pytest.raises(ConfigError, match="is no address"):
        listen("no.such.host.invalid", 0)
