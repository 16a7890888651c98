"""The web UI on a namespace of a real Valkey, and who looks at it: requests that go straight into the application."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec

import coredis
import pytest

import exq_anyio as exq
from exq_anyio import ui
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys

from ..exq.scene import Scene
from .fleet import declare, seed
from .visitor import Visitor

# Tested where the frameworks are: ``nox -s ui``.
NEEDED = ("fastapi", "litestar", "quart_trio")

collect_ignore = [] if all(map(find_spec, NEEDED)) else ["test_mounted.py"]
if not os.environ.get("EXQ_UI"):
    collect_ignore.append("browser")

Look = Callable[..., Awaitable[Visitor]]


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)


@pytest.fixture
async def q(scene: Scene) -> AsyncIterator[exq.Exq]:
    async with scene.open(mode="api") as q:
        yield q


@pytest.fixture
async def look(q: exq.Exq) -> AsyncIterator[Look]:
    """Make a web UI with the settings that are given, and look at it."""
    async with AsyncExitStack() as stack:

        async def look(**settings: object) -> Visitor:
            app = ui.create_app(q, **settings)  # type: ignore[arg-type]  # each test names them itself
            return await stack.enter_async_context(Visitor(app))

        yield look


@pytest.fixture
async def visitor(look: Look) -> Visitor:
    """Who looks at a web UI on which everything is allowed."""
    return await look(allow_enqueue=True)


@pytest.fixture
async def fleet(scene: Scene, q: exq.Exq) -> None:
    """A fleet as operators have it."""
    await seed(scene.redis, scene.namespace, time.time(), dead=60)
    await declare(q)
