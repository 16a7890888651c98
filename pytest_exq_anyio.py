"""Fixtures for the tests of programs that use exq_anyio: ``exq_mock``, ``exq_inline``, ``exq_redis``, and a marker.

Beside the package, and not in it, since every pytest in the same environment loads this file: it imports nothing of the
package until a test asks for a fixture.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from exq_anyio.testing import Mock, MockMode

MARKER = 'exq(mode="fake"): what becomes of jobs in this test: "fake", "inline" or "redis"; see exq_anyio.testing.Mock'

FIXTURES = {"exq_inline": "inline", "exq_redis": "redis"}
"""Fixtures that stand for a mode."""


class _Server:
    """A Valkey for the tests of one process, started when the first of them needs it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._url = ""
        self.socket = ""
        """Path of its socket; empty until it runs."""

    def url(self) -> str:
        """Start it, unless it runs, and return its address."""
        with self._lock:
            if not self._url:
                from exq_anyio.redis.embedded import private_directory, start_server

                server = start_server(self._stack.enter_context(private_directory()))
                self._stack.callback(server.stop)
                self._url, self.socket = server.url, server.socket
        return self._url

    def flush(self, prefix: str) -> None:
        """Remove all keys that begin with *prefix*, if it runs."""
        if self.socket:
            from exq_anyio.testing.flush import flush

            flush(self.socket, prefix)

    def stop(self) -> None:
        """End it, if it runs."""
        self._stack.close()


_server = pytest.StashKey[_Server]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)
    config.stash[_server] = _Server()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server of the session."""
    config.stash[_server].stop()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have a test with the marker use ``exq_mock``, before all that may enqueue."""
    if isinstance(item, pytest.Function) and item.get_closest_marker("exq") and "exq_mock" not in item.fixturenames:
        item.fixturenames.insert(0, "exq_mock")


def pytest_runtest_logfinish() -> None:
    """End what ``Mock.set_mode`` has set."""
    mock = sys.modules.get("exq_anyio.testing.mock")
    if mock is not None:
        mock.test_has_ended()


def _mode(request: pytest.FixtureRequest) -> MockMode:
    marker = request.node.get_closest_marker("exq")
    said = {} if marker is None else {"the marker": dict(marker.kwargs).pop("mode", "fake")}
    if marker is not None and (marker.args or marker.kwargs.keys() - {"mode"}):
        raise pytest.UsageError(f"the marker exq has one argument, by name: {MARKER}")
    said |= {fixture: mode for fixture, mode in FIXTURES.items() if fixture in request.fixturenames}
    if len(set(said.values())) > 1:
        given = " and ".join(f"{mode!r} ({source})" for source, mode in said.items())
        raise pytest.UsageError(f"{request.node.name} wants jobs to be treated in two ways: {given}")
    return cast("MockMode", next(iter(said.values()), "fake"))


@pytest.fixture
def exq_mock(request: pytest.FixtureRequest) -> Iterator[Mock]:
    """The jobs that are enqueued during the test, by whomever in this process: kept, unless the marker says else.

    No Redis is needed.  In the mode "redis", also after ``exq_mock.set_mode("redis")``, all instances that are opened
    use a private Valkey, and namespaces that only this test has.
    """
    from exq_anyio.testing import Mock

    server = request.config.stash[_server]
    namespace = f"test-{secrets.token_hex(6)}"
    with Mock(_mode(request), url=server.url, namespace=namespace, everywhere=True) as mock:
        yield mock
    server.flush(namespace)


@pytest.fixture
def exq_inline(exq_mock: Mock) -> Mock:
    """``exq_mock`` in the mode "inline": a job is performed when it is enqueued, and what it raises is raised there."""
    return exq_mock


@pytest.fixture
def exq_redis(exq_mock: Mock) -> Mock:
    """``exq_mock`` in the mode "redis": a private Valkey, where nodes perform jobs as in production."""
    return exq_mock
