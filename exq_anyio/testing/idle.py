"""What an instance under a mock has for a node: it knows its queues, and takes nothing from them."""

from __future__ import annotations

import anyio

from ..config import Config, QueueConfig
from ..exchange import Claim

NODE_ID = "mock#1"
"""What every node of a mock is called."""


class IdleNode:
    """As far as :class:`~exq_anyio.app.Exq` and ``serve`` ask anything of a :class:`~exq_anyio.node.node.Node`."""

    left_running = False
    """No job of it runs in a thread."""

    def __init__(self, config: Config) -> None:
        self.config: Config = config
        self.claim: Claim = Claim(NODE_ID, "")
        self._queues: dict[str, float] = {}
        self._stopping = anyio.Event()
        for queue in config.queues:
            self._queues[queue.name] = self._limit(queue)

    def _limit(self, queue: QueueConfig) -> float:
        return self.config.concurrency if queue.concurrency is None else queue.concurrency

    def subscriptions(self) -> dict[str, float]:
        """The queues that it would take from."""
        return dict(self._queues)

    async def subscribe(self, queue: QueueConfig) -> None:
        """Add *queue*."""
        self._queues[queue.name] = self._limit(queue)

    async def unsubscribe(self, queue: str) -> None:
        """Remove *queue*."""
        self._queues.pop(queue, None)

    async def unsubscribe_all(self) -> None:
        """Remove all queues."""
        self._queues.clear()

    hush = unsubscribe_all

    def stop(self, grace: float | None = None) -> None:
        """End what waits in :meth:`stopped`."""
        self._stopping.set()

    async def stopped(self) -> None:
        """Return after :meth:`stop`."""
        await self._stopping.wait()
