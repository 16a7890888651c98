"""The lifespan of an ASGI application, without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import exq_anyio as exq
from exq_anyio.contrib.asgi import lifespan
from exq_anyio.testing import Mock


@exq.worker
async def greet(name: str) -> None: ...


async def test_an_instance_lives_as_long_as_the_application(valkey: Any, namespace: str) -> None:
    live = lifespan(url=valkey.url, namespace=namespace, mode="enqueuer")
    async with live(object()) as state:
        assert list(state) == ["exq"]
        await state["exq"].push(greet.job("a"))


async def test_another_lifespan_is_around_it_and_keeps_its_state() -> None:
    seen: list[object] = []

    @asynccontextmanager
    async def database(app: object) -> AsyncIterator[dict[str, object]]:
        seen.append(app)
        yield {"database": "open"}
        seen.append("closed")

    with Mock() as mock:
        async with lifespan({"url": "redis://127.0.0.1:1"}, within=database, queues=["q"])("the app") as state:
            assert (state["database"], state["exq"].subscriptions()) == ("open", {"q": 100})
            await state["exq"].push(greet.job("a"))
            assert seen == ["the app"]
        mock.assert_enqueued(greet.job("a"))
    assert seen == ["the app", "closed"]


async def test_what_cannot_be_opened_is_told_when_the_application_starts() -> None:
    live = lifespan(concurency=1)
    with pytest.raises(exq.ConfigError, match="concurency"):
        async with live(object()):
            pass
