"""An instance that lives as long as an ASGI application: Starlette, FastAPI, and what else has such a lifespan."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from ..app import open  # noqa: A004  # exq.open is the name that users know
from ..config import Config

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager["Mapping[str, Any] | None"]]
"""What such applications take: from the application to a context manager around its life, which gives state."""


def lifespan(
    config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
    /,
    *,
    within: Lifespan | None = None,
    **overrides: object,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Open an instance with the application: ``FastAPI(lifespan=lifespan(config))``, then ``request.state.exq``.

    *config* and *overrides* are those of :func:`~exq_anyio.open`: ``mode="enqueuer"`` leaves the jobs to others.
    *within* is another lifespan, which begins before and ends after it, and whose state is kept.

    Nothing is opened before the application starts.  It then raises what :func:`~exq_anyio.open` does.
    """

    @asynccontextmanager
    async def live(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            state = None if within is None else await stack.enter_async_context(within(app))
            instance = await stack.enter_async_context(open(config, **overrides))
            yield {**(state or {}), "exq": instance}

    return live
