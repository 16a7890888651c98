"""What Redis would hold, in memory: the keys of one namespace, and on them what the Lua scripts do, in plain Python.

Each method of :class:`World` is one isolated step and does what the script of the same name does; the nodes that share
a world each have a handle on it, :class:`exq_anyio.testing.memory.MemoryStore`.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio

from ..errors import LostClaim, RedisError
from ..exchange import Beat, Claim, Fetched, Move, NodeSeen, Outgoing, SortedSet
from ..metrics import Batch, parse_histogram
from ..outcome import Settlement
from ..redis.keys import Keys

KEYS = Keys("")
"""Names of the keys in a world: those of the namespace ``""``."""

FETCH_LIMIT, TRIM_LIMIT = 1_000, 1_000
"""Most payloads that one fetch takes; most dead jobs that one settle removes."""

ENTRY_SECONDS, DAY_SECONDS, SECOND_SECONDS = 60, 5 * 365 * 86400, 120
"""How long a process entry, a day's counter and a second's counter live."""

MINUTES_SECONDS, TEN_MINUTES_SECONDS = 8 * 3600, 3 * 86400
"""How long the counts of a minute, and of ten minutes, live."""


class World:
    """What Redis would hold.  The head of a list is its left end; *clock* gives unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lists: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self.sorted_sets: defaultdict[str, dict[bytes, float]] = defaultdict(dict)
        self.sets: defaultdict[str, set[str]] = defaultdict(set)
        self.hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.strings: dict[str, str] = {}
        self.expires: dict[str, float] = {}
        """Unix seconds at which a key goes."""
        self.changed: anyio.Event = anyio.Event()
        """Set at the next step or fault; whoever waits for something looks again then."""

    def notify(self) -> None:
        """Have everybody who waits look again."""
        self.changed.set()
        self.changed = anyio.Event()

    def tick(self) -> None:
        """Remove what has expired."""
        now = self.clock()
        for key in [key for key, at in self.expires.items() if at <= now]:
            self.delete(key)

    def delete(self, *keys: str) -> None:
        """Remove *keys*, whatever they hold."""
        kinds: tuple[dict[str, Any], ...] = (
            self.lists, self.sorted_sets, self.sets, self.hashes, self.strings, self.expires,
        )  # fmt: skip
        for key in keys:
            for kind in kinds:
                kind.pop(key, None)

    # -- the way of a job

    def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """As ``enqueue.lua``."""
        holders: dict[int, str] = {}
        for at, job in enumerate(jobs):
            if job.due is None:
                self.sets[KEYS.queues].add(job.queue)
            if job.lock is not None:
                lock, duration = KEYS.unique(job.lock[0]), job.lock[1]
                if lock in self.strings:
                    holders[at] = self.strings[lock]
                    continue
                self.strings[lock] = job.jid
                self.expires[lock] = self.clock() + max(0.001, round(duration, 3))
            if job.due is None:
                self.lists[KEYS.queue(job.queue)].appendleft(job.payload)
            else:
                self._add(KEYS.schedule, job.due, job.payload)
        return holders

    def fetch(self, claim: Claim, queue: str, limit: int) -> Fetched:
        """As ``fetch.lua``."""
        self._lease(claim)
        source, backup = self.lists[KEYS.queue(queue)], self.lists[KEYS.backup(claim.node_id, queue)]
        if queue in self.sets[KEYS.paused]:
            return Fetched([], len(backup), paused=True)
        taken = [source.pop() for _ in range(min(limit, FETCH_LIMIT, len(source)))]
        backup.extendleft(taken)
        return Fetched(taken, len(backup))

    def filled(self, beginnings: tuple[str, ...]) -> list[str]:
        """As ``filled.lua``."""
        there = sorted(self.sets[KEYS.queues] - self.sets[KEYS.paused])
        return [queue for queue in there if queue.startswith(beginnings) and self.lists.get(KEYS.queue(queue))]

    def move(self, claim: Claim, queue: str) -> bytes:
        """As BLMOVE, once there is something; like it, it asks for no lease."""
        payload = self.lists[KEYS.queue(queue)].pop()
        self.lists[KEYS.backup(claim.node_id, queue)].appendleft(payload)
        return payload

    def settle(
        self, claim: Claim, number: int, group: Sequence[Settlement], now: float, max_dead: int, oldest: float
    ) -> list[bool]:
        """As ``settle.lua``; *oldest* is the score of the oldest dead job kept."""
        lease = self._lease(claim)
        if lease.get("number") == str(number):
            return [flag == "1" for flag in lease["answer"]]
        if int(lease.get("number", 0)) > number:
            raise RedisError("memory", "EXQLATE a later settle was written")
        were_there = [self._settle_one(claim, settlement) for settlement in group]
        lease |= {"number": str(number), "answer": "".join("01"[there] for there in were_there)}
        counted = [settlement for settlement, there in zip(group, were_there, strict=True) if there]
        if any(settlement.kind == "dead" for settlement in counted):
            self.trim(max_dead, oldest, TRIM_LIMIT)
        names = KEYS.stats(now)
        self._count(names[:3], sum(settlement.processed for settlement in counted))
        self._count(names[3:], sum(settlement.failed for settlement in counted))
        return were_there

    def _settle_one(self, claim: Claim, settlement: Settlement) -> bool:
        if not self._remove(KEYS.backup(claim.node_id, settlement.queue), settlement.payload, settlement.near_head):
            return False
        if settlement.kind == "push_back":
            self.lists[KEYS.queue(settlement.queue)].append(settlement.entry)
        elif settlement.kind in ("retry", "schedule", "dead"):
            self._add(settlement.kind, settlement.score, settlement.entry)
        if settlement.unlock is not None:
            self.unlock(*settlement.unlock)
        return True

    def _remove(self, key: str, payload: bytes, from_head: bool) -> bool:
        """As LREM with a count of 1 or -1."""
        found = self.lists[key]
        if payload not in found:
            return False
        if not from_head:
            found.reverse()
        found.remove(payload)
        if not from_head:
            found.reverse()
        return True

    def _count(self, names: Sequence[str], by: int) -> None:
        if by:
            for name, lives in zip(names, (math.inf, DAY_SECONDS, SECOND_SECONDS), strict=True):
                self.strings[name] = str(int(self.strings.get(name, 0)) + by)
                if lives < math.inf:
                    self.expires[name] = self.clock() + lives

    def rename(self, claim: Claim, queue: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """As ``rename.lua``."""
        self._lease(claim)
        key = KEYS.backup(claim.node_id, queue)
        for old, new in pairs:
            if self._remove(key, old, from_head=True):
                self.lists[key].appendleft(new)

    def unlock(self, token: str, jid: str) -> None:
        """As ``unlock.lua``."""
        if self.strings.get(KEYS.unique(token)) == jid:
            self.delete(KEYS.unique(token))

    def runs_alone(self, claim: Claim, jid: str) -> None:
        """As ``alone.lua``."""
        self._lease(claim)
        self.hashes[KEYS.lease(claim.node_id)]["alone"] = jid

    # -- time

    def anything_due(self) -> list[SortedSet]:
        """As ``anything_due.lua``."""
        sets: tuple[SortedSet, ...] = ("retry", "schedule")
        return [where for where in sets if self.due(where, 1)[1]]

    def due(self, where: SortedSet, limit: int) -> tuple[float, list[bytes]]:
        """As ``due.lua``."""
        now = self.clock()
        return now, [member for score, member in self._by_score(where) if score <= now][:limit]

    def promote(self, where: SortedSet, moves: Sequence[Move], now: float) -> int:
        """As ``promote.lua``."""
        moved = [move for move in moves if self.sorted_sets[where].pop(move.member, None) is not None]
        for move in moved:
            if move.queue is None:
                self._add(KEYS.dead, now, move.payload)
            else:
                self.sets[KEYS.queues].add(move.queue)
                self.lists[KEYS.queue(move.queue)].appendleft(move.payload)
        return len(moved)

    def trim(self, max_dead: int, oldest: float, limit: int) -> int:
        """As ``trim.lua``."""
        by_age = self._by_score(KEYS.dead)
        over = len(by_age) - max_dead
        gone = [member for rank, (score, member) in enumerate(by_age) if score < oldest or rank < over][:limit]
        for member in gone:
            del self.sorted_sets[KEYS.dead][member]
        return len(gone)

    def _add(self, key: str, score: float, member: bytes) -> None:
        """Add a job to a sorted set; an equal member is another job, and white space at the end tells them apart."""
        while member in self.sorted_sets[key]:
            member += b" "
        self.sorted_sets[key][member] = score

    def _by_score(self, key: str) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self.sorted_sets[key].items())

    # -- the life and death of a node

    def _lease(self, claim: Claim) -> dict[str, str]:
        lease = self.hashes[KEYS.lease(claim.node_id)]
        if lease.get("token") != claim.token:
            raise LostClaim(claim.node_id)
        return lease

    def claim(self, claim: Claim, owner: Mapping[str, str]) -> bool:
        """As ``claim.lua``."""
        if self.hashes[KEYS.lease(claim.node_id)].get("token") == claim.token:
            return True
        if self.hashes[KEYS.lease(claim.node_id)] or claim.node_id.encode() in self.sorted_sets[KEYS.heartbeats]:
            return False
        self.hashes[KEYS.lease(claim.node_id)] = {"token": claim.token, **owner}
        self.sets[KEYS.leases].add(claim.node_id)
        return True

    def signal(self, node_id: str) -> str | None:
        """As BRPOP, but at once."""
        signals = self.lists[KEYS.signals(node_id)]
        return signals.pop().decode("utf-8", "replace") if signals else None

    def taking(self, claim: Claim, queue: str) -> None:
        """As ``taking.lua``."""
        self._lease(claim)
        self.sets[KEYS.taken(claim.node_id)].add(queue)

    def beat(self, claim: Claim, beat: Beat) -> None:
        """As ``beat.lua``."""
        self._lease(claim)
        node, now = claim.node_id, self.clock()
        self.sets[KEYS.leases].add(node)
        self.sets[KEYS.processes].add(node)
        self.sorted_sets[KEYS.heartbeats][node.encode()] = now
        self.hashes[KEYS.process(node)] |= {"beat": repr(now), **beat.entry}
        self.hashes[KEYS.work(node)] = {thread: work.decode() for thread, work, _ in beat.work}
        self.hashes[KEYS.workers(node)] = {thread: worker.decode() for thread, _, worker in beat.work}
        for key in (KEYS.process(node), KEYS.work(node), KEYS.workers(node)):
            self.expires[key] = now + ENTRY_SECONDS
        self._measure(self._lease(claim), beat.measured)

    def _measure(self, lease: dict[str, str], measured: Batch) -> None:
        if not measured.number or lease.get("measured") == str(measured.number):
            return
        lease["measured"] = str(measured.number)
        minute, ten = KEYS.minute(measured.at, measured.unit), KEYS.ten_minutes(measured.at)
        for one in measured.workers:
            counts = {"p": one.count.processed, "f": one.count.failed, "ms": one.count.milliseconds}
            for key, (metric, by) in itertools.product((minute, ten), counts.items()):
                if by:
                    counted, field = self.hashes[key], f"{one.worker}|{metric}"
                    counted[field] = str(int(counted.get(field, "0")) + by)
            histogram = KEYS.histogram(one.worker, measured.at, measured.unit)
            buckets = parse_histogram(self.strings.get(histogram, "").encode("latin-1"))
            for bucket, by in one.buckets.items():
                buckets[bucket] = min(buckets[bucket] + by, 0xFFFF)
            if one.buckets:
                self.strings[histogram] = b"".join(held.to_bytes(2, "big") for held in buckets).decode("latin-1")
                self.expires[histogram] = self.clock() + MINUTES_SECONDS
        self.expires |= {minute: self.clock() + MINUTES_SECONDS, ten: self.clock() + TEN_MINUTES_SECONDS}

    def leave(self, node_id: str, token: str) -> bool:
        """As ``leave.lua``: *token* is ``""`` for a node that is condemned."""
        if self.hashes[KEYS.lease(node_id)].get("token", "") != token:
            return False
        self.sets[KEYS.leases].discard(node_id)
        self.sets[KEYS.processes].discard(node_id)
        self.sorted_sets[KEYS.heartbeats].pop(node_id.encode(), None)
        of_node = (KEYS.lease, KEYS.process, KEYS.work, KEYS.workers, KEYS.taken, KEYS.signals)
        self.delete(*(name(node_id) for name in of_node))
        return True

    def nodes(self) -> tuple[float, list[NodeSeen]]:
        """As ``nodes.lua``, with each node's lease."""
        scores = {member.decode(): repr(score) for score, member in self._by_score(KEYS.heartbeats)}
        silent = sorted(self.sets[KEYS.leases] - set(scores))
        return self.clock(), [
            NodeSeen(node, scores.get(node, ""), dict(self.hashes[KEYS.lease(node)])) for node in (*scores, *silent)
        ]

    def condemn(self, node_id: str, score: str, token: str) -> bool:
        """As ``condemn.lua``: ``""`` is asked of nobody."""
        if score and repr(self.sorted_sets[KEYS.heartbeats].get(node_id.encode())) != score:
            return False
        if token and self.hashes[KEYS.lease(node_id)].get("token") != token:
            return False
        lease = self.hashes[KEYS.lease(node_id)]
        kept = {"alone": lease["alone"]} if "alone" in lease else {}
        self.hashes[KEYS.lease(node_id)] = {"condemned": "1", **kept}
        self.sets[KEYS.leases].add(node_id)
        return True

    def left_behind(self, node_id: str) -> dict[str, int]:
        """How many payloads lie in each backup queue of the node that is not empty."""
        queues = sorted(self.sets[KEYS.queues] | self.sets[KEYS.taken(node_id)])
        return {queue: held for queue in queues if (held := len(self.lists[KEYS.backup(node_id, queue)]))}

    def ran_alone(self, node_id: str) -> str | None:
        """A field of the lease."""
        return self.hashes[KEYS.lease(node_id)].get("alone")

    def backup(self, node_id: str, queue: str, limit: int | None = None) -> list[bytes]:
        """The backup queue, the newest first."""
        return list(self.lists[KEYS.backup(node_id, queue)])[:limit]

    def rescue(self, node_id: str, queue: str, moves: Sequence[Move], now: float) -> int:
        """As ``rescue.lua``."""
        if "token" in self.hashes[KEYS.lease(node_id)]:
            return 0
        backup = KEYS.backup(node_id, queue)
        moved = [move for move in moves if self._remove(backup, move.member, from_head=True)]
        for move in moved:
            if move.queue is None:
                self._add(KEYS.dead, now, move.payload)
            else:
                self.lists[KEYS.queue(queue)].append(move.payload)
                self.sets[KEYS.queues].add(queue)
            if move.unlock is not None:
                self.unlock(*move.unlock)
        return len(moved)
