"""Where a client puts its jobs: Redis, or what a test puts in its place.

In production nothing stands in for Redis, and that costs one look at a context variable for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar

from .config import Config
from .exchange import Outgoing
from .resource import Supply
from .worker import Registry

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Outbox(Protocol):
    """Where a client puts its jobs."""

    async def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """Enqueue *jobs* in one isolated step; where a unique lock is held, the place in *jobs* and its jid."""
        ...


class StandIn:
    """Takes the place of Redis for the code that it is in force for, see :func:`stand_in`.

    It is asked again at each call, so that it may change its mind.
    """

    def settings(self, config: Config) -> Config | None:
        """The settings to open an instance with, instead of *config*; None when no server is to be asked."""
        raise NotImplementedError

    def node(self, config: Config) -> object:
        """What an instance treats as its node when no server is asked."""
        raise NotImplementedError

    def api(self, config: Config) -> object:
        """What an instance has for its API when no server is asked."""
        raise NotImplementedError

    def outbox(self, config: Config, workers: Registry, real: Outbox | None) -> Outbox:
        """Where a client puts its jobs, instead of *real*; there is none when no server was asked."""
        raise NotImplementedError

    def supply(self, config: Config) -> Supply:
        """The resources of an instance with *config*."""
        return Supply.build(config.resources)

    def clock(self) -> float:
        """The time that jobs are given (unix seconds)."""
        raise NotImplementedError

    def wait(self, start: Callable[[], Future[T]]) -> T:
        """What the future that *start* returns ends in; the calling thread blocks, see :mod:`exq_anyio.sync`."""
        raise NotImplementedError


in_context: ContextVar[StandIn | None] = ContextVar("exq_anyio_stand_in", default=None)
"""What is in force for the code of one context: a test, and the tasks and threads that it starts."""

REDIS = StandIn()
"""In force where nothing may stand in for Redis, not even what is in force everywhere."""

everywhere: list[StandIn] = []
"""What is in force, the last of them, for code whose context has none: tasks and threads that were there before."""


def stand_in(config: Config) -> StandIn | None:
    """What stands in for Redis here and now: the ``queue_adapter`` of *config*, or what is in force; mostly nothing."""
    found = in_context.get()
    if found is REDIS:
        return None
    if isinstance(config.queue_adapter, StandIn):
        return config.queue_adapter
    return found or (everywhere[-1] if everywhere else None)
