"""Where jobs live, in memory: :class:`exq_anyio.node.store.Store` and the client's outbox, for tests.

Several nodes may share one :class:`~exq_anyio.testing.world.World`, each by a handle of its own, :class:`MemoryStore`,
which waits, and fails when a test wants it to.  The world's clock may be a mock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import attrs

from ..errors import EnqueueUncertain, ExqError, RedisUnavailable
from ..exchange import Beat, Claim, Fetched, Move, NodeSeen, Outgoing, SortedSet
from ..outcome import Settlement
from .world import KEYS, World

P = ParamSpec("P")
T = TypeVar("T")


@attrs.define(eq=False)
class MemoryStore:
    """One node's handle on a :class:`World`.  Each method is described in :class:`~exq_anyio.node.store.Store`."""

    world: World
    """What it works on."""
    dead_max_jobs: int = 10_000
    """Most dead jobs kept."""
    dead_timeout: float = 180 * 86400.0
    """Seconds that a dead job is kept."""
    _away: bool = False
    _outages: int = 0
    _waiting: set[str] = attrs.field(factory=set)
    _refused: dict[str, list[ExqError]] = attrs.field(factory=dict)
    _lost_replies: list[str] = attrs.field(factory=list)

    # -- faults, for tests; a step is named as the method of World

    def away(self) -> None:
        """Redis cannot be reached from here, until :meth:`back`; waits that are under way fail."""
        self._away, self._outages = True, self._outages + 1
        self.world.notify()

    def back(self) -> None:
        """Redis can be reached again."""
        self._away = False
        self.world.notify()

    def refuse(self, step: str, *errors: ExqError) -> None:
        """The next calls of *step* change nothing and raise *errors*, one each."""
        self._refused.setdefault(step, []).extend(errors)

    def lose_reply(self, step: str) -> None:
        """The next call of *step* is executed, and raises RedisUnavailable, since its reply is lost."""
        self._lost_replies.append(step)

    def _execute(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._reach()
        name = step.__name__
        if refused := self._refused.get(name):
            raise refused.pop(0)
        self.world.tick()
        result = step(*args, **kwargs)
        self.world.notify()
        if name in self._lost_replies:
            self._lost_replies.remove(name)
            self._outages += 1
            raise RedisUnavailable("memory", "the reply is lost", maybe_done=True)
        return result

    def _reach(self) -> None:
        if self._away:
            raise RedisUnavailable("memory", "it is away")

    async def _step(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One isolated step.  As with a server, who is cancelled while the reply is on its way cannot undo it."""
        await anyio.lowlevel.checkpoint()
        result = self._execute(step, *args, **kwargs)
        await anyio.lowlevel.checkpoint()
        return result

    async def available(self) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        while self._away:
            await self.world.changed.wait()

    def is_available(self) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        return not self._away

    def outages(self) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        return self._outages

    # -- the way of a job

    async def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """Enqueue *jobs*: :meth:`exq_anyio.outbox.Outbox.push`."""
        try:
            return await self._step(self.world.push, jobs)
        except RedisUnavailable as error:
            if not error.maybe_done:
                raise
            raise EnqueueUncertain(error.address, error.problem, [job.jid for job in jobs]) from error

    async def fetch(self, claim: Claim, queue: str, limit: int) -> Fetched:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.fetch, claim, queue, limit)

    async def wait(self, claim: Claim, queue: str, seconds: float) -> bytes | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await anyio.lowlevel.checkpoint()
        self._waiting.add(queue)
        try:
            with anyio.move_on_after(seconds):
                while queue in self._waiting:
                    self._reach()
                    if self.world.lists[KEYS.queue(queue)]:
                        return self._execute(self.world.move, claim, queue)
                    await self.world.changed.wait()
            return None
        finally:
            self._waiting.discard(queue)

    async def unblock(self, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        self._waiting.discard(queue)
        self.world.notify()

    async def filled(self, beginnings: Sequence[str]) -> list[str]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.filled, tuple(beginnings))

    def no_more_waits(self, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        self._waiting.discard(queue)

    async def settle(self, claim: Claim, number: int, group: Sequence[Settlement], now: float) -> list[bool]:
        """See :class:`~exq_anyio.node.store.Store`."""
        oldest = now - self.dead_timeout
        return await self._step(self.world.settle, claim, number, group, now, self.dead_max_jobs, oldest)

    async def rename(self, claim: Claim, queue: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.rename, claim, queue, pairs)

    async def unlock(self, token: str, jid: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.unlock, token, jid)

    async def runs_alone(self, claim: Claim, jid: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.runs_alone, claim, jid)

    async def backup(self, claim: Claim, queue: str) -> list[bytes]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.backup, claim.node_id, queue)

    # -- time

    async def anything_due(self) -> list[SortedSet]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.anything_due)

    async def due(self, where: SortedSet, limit: int) -> tuple[float, list[bytes]]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.due, where, limit)

    async def promote(self, where: SortedSet, moves: Sequence[Move], now: float) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.promote, where, moves, now)

    async def trim_dead(self, limit: int) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.trim, self.dead_max_jobs, self.world.clock() - self.dead_timeout, limit)

    # -- the life and death of a node

    async def claim(self, claim: Claim, owner: Mapping[str, str]) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.claim, claim, owner)

    async def taking(self, claim: Claim, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.taking, claim, queue)

    async def beat(self, claim: Claim, beat: Beat) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.beat, claim, beat)

    async def signal(self, claim: Claim, seconds: float) -> str | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(seconds):
            while not self.world.lists[KEYS.signals(claim.node_id)]:
                self._reach()
                await self.world.changed.wait()
        return self._execute(self.world.signal, claim.node_id)

    async def leave(self, claim: Claim) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.leave, claim.node_id, claim.token)

    async def nodes(self) -> tuple[float, list[NodeSeen]]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.nodes)

    async def condemn(self, node: NodeSeen, *, by_process: bool) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        score, token = ("", node.lease["token"]) if by_process else (node.score, node.lease.get("token", ""))
        return await self._step(self.world.condemn, node.node_id, score, token)

    async def left_behind(self, node_id: str) -> dict[str, int]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.left_behind, node_id)

    async def ran_alone(self, node_id: str) -> str | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.ran_alone, node_id)

    async def left_page(self, node_id: str, queue: str, limit: int) -> list[bytes]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.backup, node_id, queue, limit)

    async def rescue(self, node_id: str, queue: str, moves: Sequence[Move], now: float) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._step(self.world.rescue, node_id, queue, moves, now)

    async def bury(self, node_id: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._step(self.world.leave, node_id, "")
