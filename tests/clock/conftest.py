"""Trio's mock clock, and a world whose time it is.

On Trio only: asyncio has no clock that can be mocked.  What these tests hold is told in exact seconds; that the same
code runs on asyncio is held by the tests on a real Valkey.
"""

from __future__ import annotations

import pytest
import trio.testing

from exq_anyio.testing.world import World

from .sites import EPOCH


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def anyio_backend(mock_clock: trio.testing.MockClock) -> tuple[str, dict[str, object]]:
    return "trio", {"clock": mock_clock}


@pytest.fixture
def world(mock_clock: trio.testing.MockClock) -> World:
    return World(lambda: EPOCH + mock_clock.current_time())
