"""Litestar: a plugin that opens an instance with the application, and hands it to whatever asks for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import InitPlugin

from ..app import Exq, open  # noqa: A004  # exq.open is the name that users know
from ..config import Config


class ExqPlugin(InitPlugin):
    """Open an instance with the application: ``Litestar(plugins=[ExqPlugin(config)])``.

    A handler with a parameter *name* (``queue: exq.Exq``) is given it; it is also ``app.state.exq``.  *config* and
    *overrides* are those of :func:`~exq_anyio.open`: ``mode="enqueuer"`` leaves the jobs to others.

    Nothing is opened before the application starts.  It then raises what :func:`~exq_anyio.open` does.
    """

    __slots__ = ("_config", "_name", "_overrides")

    def __init__(
        self,
        config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None,
        /,
        *,
        name: str = "queue",
        **overrides: object,
    ) -> None:
        self._config = config
        self._name = name
        self._overrides = overrides

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """See InitPlugin."""
        app_config.lifespan = [*app_config.lifespan, self._live]
        app_config.dependencies = {**app_config.dependencies, self._name: Provide(_instance, sync_to_thread=False)}
        app_config.signature_types = [*app_config.signature_types, Exq]
        return app_config

    @asynccontextmanager
    async def _live(self, app: Litestar) -> AsyncIterator[None]:
        async with open(self._config, **self._overrides) as instance:
            app.state.exq = instance
            yield


def _instance(state: State) -> Exq:
    instance: Exq = state.exq
    return instance
