"""What the loops of a node ask of the place where jobs live.

:class:`Store` is implemented on Redis in ``exq_anyio.redis.store`` and in memory, for tests with a mock clock, in
``exq_anyio.testing.memory``; both pass the same contract tests.  Every method is one isolated step, and any of them
may raise:

- :class:`~exq_anyio.errors.RedisUnavailable`: wait at :meth:`Store.available`, then try again;
- :class:`~exq_anyio.errors.LostClaim`: another node has taken over; nothing was changed;
- :class:`~exq_anyio.errors.WrongType` or another :class:`~exq_anyio.errors.RedisError`: refused, nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..exchange import Beat, Claim, Fetched, Move, NodeSeen, SortedSet
from ..outcome import Settlement


class Store(Protocol):
    """Where jobs live, as one node sees it."""

    async def available(self) -> None:
        """Return as soon as the store can be used: at once, unless it is known to be away."""

    def is_available(self) -> bool:
        """Whether the store can be used, as far as is known."""

    def outages(self) -> int:
        """How often the store has been away."""

    # -- the way of a job

    async def fetch(self, claim: Claim, queue: str, limit: int) -> Fetched:
        """Move up to *limit* (at most 1,000) payloads to the node's backup queue.  Must not be cut short."""

    async def wait(self, claim: Claim, queue: str, seconds: float) -> bytes | None:
        """Wait for one payload, move it to the backup queue and return it; None after *seconds* or :meth:`unblock`."""

    async def unblock(self, queue: str) -> None:
        """End the wait on *queue* that is under way, if there is one, without losing what it may have moved."""

    async def filled(self, beginnings: Sequence[str]) -> list[str]:
        """The queues whose names begin with one of *beginnings* and that hold jobs, without those that are paused."""

    def no_more_waits(self, queue: str) -> None:
        """The queue is not waited for any more."""

    async def settle(self, claim: Claim, number: int, group: Sequence[Settlement], now: float) -> list[bool]:
        """Write a group of outcomes; for each, whether its payload was there.  A *number* is written once only."""

    async def rename(self, claim: Claim, queue: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Replace payloads in the backup queue by others, in place."""

    async def unlock(self, token: str, jid: str) -> None:
        """Free the unique lock *token* if *jid* holds it."""

    async def runs_alone(self, claim: Claim, jid: str) -> None:
        """Note that the job *jid*, which was rescued often, begins to run, and no other such job."""

    async def backup(self, claim: Claim, queue: str) -> list[bytes]:
        """Everything in the node's backup queue."""

    # -- time

    async def anything_due(self) -> list[SortedSet]:
        """Where something is due; a set that cannot be read counts as such."""

    async def due(self, where: SortedSet, limit: int) -> tuple[float, list[bytes]]:
        """The store's time (unix seconds) and the payloads that are due, the earliest first."""

    async def promote(self, where: SortedSet, moves: Sequence[Move], now: float) -> int:
        """Move due entries to their queues, each only if it is still there; how many were."""

    async def trim_dead(self, limit: int) -> int:
        """Remove dead jobs that are too old or too many, at most *limit*; how many were."""

    # -- the life of a node

    async def claim(self, claim: Claim, owner: Mapping[str, str]) -> bool:
        """Take the id of *claim* for the process *owner*; false when it is not free."""

    async def taking(self, claim: Claim, queue: str) -> None:
        """Note that the node takes from *queue*."""

    async def beat(self, claim: Claim, beat: Beat) -> None:
        """Say that the node lives, and what it does; a WrongType may mean that only the latter was not written."""

    async def signal(self, claim: Claim, seconds: float) -> str | None:
        """Wait for a signal sent to the node; None after *seconds*."""

    async def leave(self, claim: Claim) -> bool:
        """Remove every trace of the node; false when its id is another's."""

    # -- the death of a node

    async def nodes(self) -> tuple[float, list[NodeSeen]]:
        """The store's time (unix seconds) and every node that has a heartbeat or a lease."""

    async def condemn(self, node: NodeSeen, *, by_process: bool) -> bool:
        """Take the lease of a dead node; false when it has moved.

        *by_process*: its process is known to be gone, so that only its token has to be the same; else its heartbeat.
        """

    async def left_behind(self, node_id: str) -> dict[str, int]:
        """The queues in which a node left jobs in its backup, and how many."""

    async def ran_alone(self, node_id: str) -> str | None:
        """What a dead node noted last with :meth:`runs_alone`, ``""`` if nothing; None for a node that does not."""

    async def left_page(self, node_id: str, queue: str, limit: int) -> list[bytes]:
        """Up to *limit* payloads of a dead node's backup queue, the newest first."""

    async def rescue(self, node_id: str, queue: str, moves: Sequence[Move], now: float) -> int:
        """Put *moves* (the newest first) back where they are taken next; how many were there."""

    async def bury(self, node_id: str) -> None:
        """Remove every trace of a condemned node."""
