"""Which nodes are dead, and what comes of it: one node's part in putting their jobs back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from ..config import Config
from ..errors import RedisError, RedisUnavailable
from ..events import EventKind
from ..exchange import Claim, NodeSeen
from ..job import Job
from ..outcome import Policy
from . import rescuer
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

FROZEN = 3600.0
"""Seconds for which we look at what a node still does that was silent for too long: it may only have been frozen."""


class Tell(Protocol):
    """Tells whoever listens."""

    def __call__(self, kind: EventKind, job: Job | None = None, *, jobs: int = 0, other: str = "") -> None:
        """Tell of a rescue, or of a job that it gave up."""


class Rescues:
    """What the node of *claim* sees of the others; *lost* is told when its own id is another's."""

    def __init__(
        self,
        config: Config,
        store: Store,
        policy: Policy,
        claim: Claim,
        host: str,
        lost: Callable[[str], object],
        tell: Tell,
    ) -> None:
        self._config = config
        self._store = store
        self._policy = policy
        self._claim = claim
        self._host = host
        self._lost = lost
        self._tell = tell
        self._watch = rescuer.Watch(config.foreign_dead_after)
        self._former: dict[str, float] = {}
        """Ids, ours and others', whose claim was lost, and until when something may still be put in their backup."""
        self.live: int = 1
        """How many nodes live, as far as was seen."""

    def look_after(self, node_id: str, seconds: float) -> None:
        """Go on for *seconds* to put back what is put in the backup queues of *node_id*."""
        self._former[node_id] = anyio.current_time() + seconds

    async def watch(self) -> None:
        """Rescue the jobs of dead nodes."""
        while True:
            await anyio.sleep(self._config.heartbeat_interval)
            try:
                await self._look()
            except RedisUnavailable:
                await self._store.available()
            except RedisError as error:
                logger.error("cannot rescue: error=%s", error)

    async def of_this_host(self, nodes: Sequence[NodeSeen]) -> None:
        """Rescue the jobs of those of *nodes* whose processes, on this host, are gone."""
        for node in rescuer.gone_from_host(self._host, list(nodes)):
            await self._rescue(node, by_process=True)

    async def _look(self) -> None:
        token = self._claim.token
        now, nodes = await self._store.nodes()
        others = [node for node in nodes if node.lease.get("token") != self._claim.token]
        if token == self._claim.token and any(node.node_id == self._claim.node_id for node in others):
            self._lost(token)  # before our jobs are put back, of which a wait of ours might take one
        self.live = 1 + sum(1 for node in others if node.score)
        for node in others:
            if node.condemned:
                await self._rescue_rest(node.node_id)
        for node_id, until in list(self._former.items()):
            # What was under way when the claim was lost may put a job there after the rescue.
            await self._rescue_rest(node_id)
            if anyio.current_time() > until:
                del self._former[node_id]
        await self.of_this_host(others)
        for node in self._watch.dead(now, others, anyio.current_time(), self._store.outages()):
            await self._rescue(node, by_process=False)
            # It may be frozen, with a wait to send that asks for no claim, and be killed before it knows.
            self.look_after(node.node_id, FROZEN)

    async def _rescue(self, node: NodeSeen, *, by_process: bool) -> None:
        most, buried = self._config.max_rescues, self._buried(node.node_id)
        moved = await rescuer.rescue(self._store, node, self._policy, most, by_process=by_process, buried=buried)
        if moved:
            self._tell("rescue", jobs=moved, other=node.node_id)

    async def _rescue_rest(self, node_id: str) -> None:
        most, buried = self._config.max_rescues, self._buried(node_id)
        moved = await rescuer.finish_rescue(self._store, node_id, self._policy, most, buried)
        if moved:
            self._tell("rescue", jobs=moved, other=node_id)

    def _buried(self, node_id: str) -> rescuer.Buried | None:
        return (lambda job: self._tell("dead", job, other=node_id)) if self._config.listeners else None
