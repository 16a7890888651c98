"""Puts the jobs of dead nodes back in their queues, and gives up jobs that kill their node again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from ..errors import MalformedPayload, WrongType
from ..exchange import Claim, Move, NodeSeen
from ..job import Job, encode, seconds, stamp
from ..outcome import Policy, held_lock, malformed
from .identity import is_gone
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

PAGE = 500
"""Jobs that are put back at a time."""

CROWD = 2
"""Rescues of a job that it may owe to others; from then on it runs beside no other such job on its node."""

RESCUE_WINDOW = 72 * 3600.0
"""Seconds within which rescues of one job add up."""


Buried: TypeAlias = Callable[[Job], object]
"""Told of each job that is given up, as it is in the dead set."""


@attrs.define
class Watch:
    """What one node has seen of the heartbeats of the others, on its own clock."""

    foreign_limit: float
    """Seconds of silence allowed to a node that names no limit of its own: Exq's, which beat once a minute."""
    seen: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    """By node id: the score seen last, and since when (monotonic seconds)."""
    outages: int = 0
    """How often Redis had been away when we looked last."""

    def dead(self, now: float, nodes: list[NodeSeen], monotonic: float, outages: int) -> list[NodeSeen]:
        """The nodes of *nodes* that are dead, *now* being the server's clock and *monotonic* our own.

        A node is dead only if its score is older than its limit by the server's clock, and we have ourselves seen it
        unchanged for as long since the connection last came up: after an outage, or a failover to a server with
        another clock, everybody looks stale.
        """
        if outages != self.outages:
            self.outages, self.seen = outages, {}
        self.seen = {node.node_id: self._since(node, monotonic) for node in nodes}
        return [node for node in nodes if self._is_dead(node, now, monotonic)]

    def _since(self, node: NodeSeen, monotonic: float) -> tuple[str, float]:
        known = self.seen.get(node.node_id)
        return known if known is not None and known[0] == node.score else (node.score, monotonic)

    def _is_dead(self, node: NodeSeen, now: float, monotonic: float) -> bool:
        if not node.score:
            return False  # it has no heartbeat by its own choice: only its host can tell
        limit = node.limit if node.limit is not None else self.foreign_limit
        return now - float(node.score) > limit and monotonic - self.seen[node.node_id][1] > limit


def gone_from_host(host: str, nodes: list[NodeSeen]) -> list[NodeSeen]:
    """The nodes of *host* whose process has ended: they need not be waited for."""
    return [node for node in nodes if node.node_id.rpartition("#")[0] == host and node.lease and is_gone(node.lease)]


async def rescue(
    store: Store,
    node: NodeSeen,
    policy: Policy,
    max_rescues: int,
    *,
    by_process: bool,
    buried: Buried | None = None,
) -> int:
    """Condemn *node*, put its jobs back, and remove its traces; how many jobs were moved, 0 if it lives after all."""
    if not await store.condemn(node, by_process=by_process):
        return 0
    moved = await finish_rescue(store, node.node_id, policy, max_rescues, buried)
    logger.warning("node is dead, its jobs are back in their queues: node=%s jobs=%d", node.node_id, moved)
    return moved


async def finish_rescue(
    store: Store, node_id: str, policy: Policy, max_rescues: int, buried: Buried | None = None
) -> int:
    """Put back what a condemned node left, and remove its traces; how many jobs were moved."""
    moved, finished, alone = 0, True, await store.ran_alone(node_id)
    for queue in await store.left_behind(node_id):
        try:
            while payloads := await store.left_page(node_id, queue, PAGE):
                now, _ = await store.due("schedule", 0)
                moves = [rescue_move(payload, queue, now, policy, max_rescues, alone) for payload in payloads]
                moved += (count := await _move(store, node_id, queue, moves, now, buried))
                if count == 0:
                    return moved  # another node is at it, or its id has been taken again
        except WrongType as error:
            logger.error("cannot rescue jobs, trying again: node=%s queue=%s error=%s", node_id, queue, error)
            finished = False
    if finished:
        await store.bury(node_id)
    return moved


async def _move(
    store: Store, node_id: str, queue: str, moves: Sequence[Move], now: float, buried: Buried | None
) -> int:
    """Make *moves*; how many were made.

    Several nodes may be at it.  To tell *buried* only of what was moved from here, the few that die go one by one.
    """
    if buried is None:
        return await store.rescue(node_id, queue, moves, now)
    alive = [move for move in moves if move.queue is not None]
    moved = await store.rescue(node_id, queue, alive, now) if alive else 0
    for move in moves:
        if move.queue is None and await store.rescue(node_id, queue, [move], now):
            moved += 1
            try:
                job = Job.decode(move.member, queue)
            except MalformedPayload:
                continue  # it never was a job
            buried(Job.decode(move.payload, job.queue))
    return moved


async def give_back(store: Store, claim: Claim) -> None:
    """Let go of *claim*, and put all that it has taken back in its queues as it was taken; the rest is for a rescue."""
    await store.condemn(NodeSeen(claim.node_id, "", {"token": claim.token}), by_process=True)
    for queue in await store.left_behind(claim.node_id):
        while payloads := await store.left_page(claim.node_id, queue, PAGE):
            now, _ = await store.due("schedule", 0)
            if not await store.rescue(claim.node_id, queue, [Move(one, one, queue) for one in payloads], now):
                return  # another node is at it


def rescue_move(
    payload: bytes, queue: str, now: float, policy: Policy, max_rescues: int, alone: str | None = None
) -> Move:
    """Where a job of a dead node goes: back to *queue*, or to the dead set if it was rescued too often.

    *alone* is the jid of the job that ran alone, ``""`` if none did: others like it waited for their turn and are not
    to blame.  None: the node does not know this rule.
    """
    try:
        job = Job.decode(payload, queue)
    except MalformedPayload as error:
        return Move(
            payload, malformed(payload, queue, error.reason, is_json=error.is_json, now=now, policy=policy).entry, None
        )
    if alone is not None and job.rescue_count >= CROWD and job.jid != alone:
        return Move(payload, payload, queue)
    last = seconds(job.record.get("rescued_at"))
    count = job.rescue_count + 1 if last is not None and now - last <= RESCUE_WINDOW else 1
    at = stamp(now, policy.timestamps)
    record = {**job.record, "rescue_count": count, "rescued_at": at}
    if count <= max_rescues:
        return Move(payload, encode(record), queue)
    logger.error("job killed its node %d times, moved to dead: jid=%s worker=%s", count, job.jid, job.worker)
    record |= {
        "queue": queue,
        "error_class": "PoisonJob",
        "error_message": f"its node died {count} times while it ran",
        "retry_count": max(job.retry_count or 0, 0),
    }
    record.setdefault("failed_at", at)
    record |= {"retried_at": at} if job.retry_count else {}
    return Move(payload, encode(record), None, held_lock(job))
