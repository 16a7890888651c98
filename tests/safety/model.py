"""What Redis should hold, as plain Python: the scripts' rules told a second time, without Redis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from exq_anyio.exchange import Claim, Fetched, Move, NodeSeen, Outgoing, SortedSet
from exq_anyio.outcome import Settlement
from exq_anyio.redis.keys import Keys

from .ledger import name_of

ScoredSet: TypeAlias = Literal["schedule", "retry", "dead"]

SCORED: tuple[ScoredSet, ...] = ("schedule", "retry", "dead")


class Refusal(Exception):
    """What a step must end in; it changes nothing."""


class Lost(Refusal):
    """The lease is another's."""


class Late(Refusal):
    """A later settle was written."""


class Full(Refusal):
    """The server is at ``maxmemory``."""


class Broken(Refusal):
    """One of *keys* holds a wrong type; *named* says whether the error must tell which."""

    def __init__(self, keys: set[str], *, named: bool = True) -> None:
        super().__init__(keys)
        self.keys = keys
        self.named = named


@attrs.define
class Lease:
    token: str | None
    """None when it is condemned."""
    number: int | None = None
    answer: list[bool] = attrs.field(factory=list)


@attrs.define
class Model:
    keys: Keys
    dead_max_jobs: int
    dead_timeout: float
    lists: defaultdict[str, list[bytes]] = attrs.field(factory=lambda: defaultdict(list))
    """Queues and backup queues by key, the head first."""
    scored: dict[ScoredSet, list[tuple[bytes, float]]] = attrs.field(factory=lambda: {name: [] for name in SCORED})
    locks: dict[str, str] = attrs.field(factory=dict)
    """The jid that holds each token."""
    counters: Counter[str] = attrs.field(factory=Counter)
    """By key."""
    queues: set[str] = attrs.field(factory=set)
    paused: set[str] = attrs.field(factory=set)
    taken: defaultdict[str, set[str]] = attrs.field(factory=lambda: defaultdict(set))
    leases: dict[str, Lease] = attrs.field(factory=dict)
    listed: set[str] = attrs.field(factory=set)
    """Members of ``leases``."""
    beating: set[str] = attrs.field(factory=set)
    shown: set[str] = attrs.field(factory=set)
    """The nodes with a process entry."""
    broken: set[str] = attrs.field(factory=set)
    """Keys that hold a wrong type; what they should hold is put aside."""
    full: bool = False
    alive: Counter[str] = attrs.field(factory=Counter)
    """The jobs that are somewhere, by name: changed only where one comes in or ends, never where one moves."""

    # -- refusals

    def check(self, *keys: str) -> None:
        if wrong := self.broken.intersection(keys):
            raise Broken(wrong)

    def held(self, claim: Claim) -> Lease:
        self.check(self.keys.lease(claim.node_id))
        lease = self.leases.get(claim.node_id)
        if lease is None or lease.token != claim.token:
            raise Lost
        return lease

    def lives(self, node: str) -> bool:
        """Whether somebody holds the id."""
        return node in self.leases and self.leases[node].token is not None

    # -- the way of a job

    def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        keys = self.keys
        self.check(
            *(key for job in jobs if job.due is None for key in (keys.queues, keys.queue(job.queue))),
            *(keys.schedule for job in jobs if job.due is not None),
            *(keys.unique(job.lock[0]) for job in jobs if job.lock),
        )
        if self.full and any(job.due is None or job.lock is None or job.lock[0] not in self.locks for job in jobs):
            raise Full  # unless nothing would be written: all are for later, and their locks are taken
        holders: dict[int, str] = {}
        for at, job in enumerate(jobs):
            if job.due is None:
                self.queues.add(job.queue)
            if job.lock is not None and job.lock[0] in self.locks:
                holders[at] = self.locks[job.lock[0]]
                continue
            if job.lock is not None:
                self.locks[job.lock[0]] = job.jid
            self.alive[name_of(job.payload)[0]] += 1
            if job.due is None:
                self.lists[keys.queue(job.queue)].insert(0, job.payload)
            else:
                self.scored["schedule"].append((job.payload, job.due))
        return holders

    def fetch(self, claim: Claim, queue: str, limit: int) -> Fetched:
        self.held(claim)
        source, backup = self.keys.queue(queue), self.keys.backup(claim.node_id, queue)
        self.check(source, backup, self.keys.paused)
        if queue in self.paused:
            return Fetched([], len(self.lists[backup]), paused=True)
        payloads = [self._move_one(source, backup) for _ in range(min(limit, len(self.lists[source])))]
        return Fetched(payloads, len(self.lists[backup]))

    def wait(self, claim: Claim, queue: str) -> bytes | None:
        source, backup = self.keys.queue(queue), self.keys.backup(claim.node_id, queue)
        if self.full:
            return None
        if source in self.broken or (self.lists[source] and backup in self.broken):
            raise Broken({source, backup}, named=False)
        return self._move_one(source, backup) if self.lists[source] else None

    def settle(self, claim: Claim, number: int, group: Sequence[Settlement], now: float) -> list[bool]:
        lease = self.held(claim)
        if lease.number == number:
            return lease.answer
        if lease.number is not None and lease.number > number:
            raise Late
        self.check(*(key for settlement in group for key in self._keys_of(claim, settlement)))
        lease.number, lease.answer = number, [self._settle_one(claim, settlement) for settlement in group]
        done = [settlement for settlement, there in zip(group, lease.answer, strict=True) if there]
        if any(_set_of(settlement) == "dead" for settlement in done):
            self._trim(now, 1_000)
        stats = self.keys.stats(now)
        self._count(stats[:3], sum(settlement.processed for settlement in done))
        self._count(stats[3:], sum(settlement.failed for settlement in done))
        return lease.answer

    def rename(self, claim: Claim, queue: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self.held(claim)
        backup = self.keys.backup(claim.node_id, queue)
        self.check(backup)
        for old, new in pairs:
            if old in self.lists[backup]:
                self.lists[backup].remove(old)
                self.lists[backup].insert(0, new)

    def unlock(self, token: str, jid: str) -> None:
        self.check(self.keys.unique(token))
        if self.locks.get(token) == jid:
            del self.locks[token]

    def backup(self, claim: Claim, queue: str) -> list[bytes]:
        key = self.keys.backup(claim.node_id, queue)
        self.check(key)
        return list(self.lists[key])

    # -- time

    def due(self, where: SortedSet, now: float, limit: int) -> list[bytes]:
        self.check(self._scored_key(where))
        ordered = sorted((score, member) for member, score in self.scored[where] if score <= now)
        return [member for _, member in ordered[:limit]]

    def promote(self, where: SortedSet, moves: Sequence[Move], now: float) -> int:
        keys = self.keys
        goals = [(keys.queues, keys.queue(move.queue)) if move.queue is not None else (keys.dead,) for move in moves]
        self.check(self._scored_key(where), *(key for goal in goals for key in goal))
        moved = 0
        for move in moves:
            found = [entry for entry in self.scored[where] if entry[0] == move.member]
            if not found:
                continue
            self.scored[where].remove(found[0])
            moved += 1
            if move.queue is None:
                self.scored["dead"].append((move.payload, now))
            else:
                self.queues.add(move.queue)
                self.lists[keys.queue(move.queue)].insert(0, move.payload)
        return moved

    def trim_dead(self, now: float, limit: int) -> int:
        self.check(self.keys.dead)
        return self._trim(now, limit)

    # -- nodes

    def claim(self, claim: Claim) -> bool:
        node = claim.node_id
        self.check(self.keys.lease(node), self.keys.leases, self.keys.heartbeats)
        if node in self.leases or node in self.beating:
            return False
        self.leases[node] = Lease(claim.token)
        self.listed.add(node)
        return True

    def taking(self, claim: Claim, queue: str) -> None:
        self.held(claim)
        self.check(self.keys.taken(claim.node_id))
        self.taken[claim.node_id].add(queue)

    def beat(self, claim: Claim) -> None:
        self.held(claim)
        self.check(self.keys.leases, self.keys.heartbeats)
        self.listed.add(claim.node_id)
        self.beating.add(claim.node_id)
        self.check(self.keys.processes)  # what people look at comes last
        self.shown.add(claim.node_id)

    def condemn(self, seen: NodeSeen, score_now: str, *, by_process: bool) -> bool:
        node = seen.node_id
        self.check(self.keys.lease(node), self.keys.heartbeats, self.keys.leases)
        if not by_process and score_now != seen.score:
            return False
        lease = self.leases.get(node)
        token = seen.lease.get("token")
        if token is not None and (lease is None or lease.token != token):
            return False
        self.leases[node] = Lease(None)
        self.listed.add(node)
        return True

    def left_behind(self, node: str) -> dict[str, int]:
        if self.keys.queues in self.broken:
            raise Broken({self.keys.queues}, named=False)
        backups = {queue: self.keys.backup(node, queue) for queue in self.queues | self.taken[node]}
        left = {queue: len(self.lists[key]) for queue, key in backups.items() if key not in self.broken}
        return {queue: length for queue, length in left.items() if length}

    def rescue(self, node: str, queue: str, moves: Sequence[Move], now: float) -> int:
        keys, backup = self.keys, self.keys.backup(node, queue)
        self.check(keys.lease(node), backup, keys.queue(queue), keys.dead, keys.queues)
        if self.lives(node):
            return 0
        moved = 0
        for move in moves:
            if move.member not in self.lists[backup]:
                continue
            self.lists[backup].remove(move.member)
            moved += 1
            if move.queue is None:
                self.scored["dead"].append((move.payload, now))
            else:
                self.lists[keys.queue(queue)].append(move.payload)
                self.queues.add(queue)
            if move.unlock is not None and self.locks.get(move.unlock[0]) == move.unlock[1]:
                del self.locks[move.unlock[0]]
        return moved

    def leave(self, node: str, token: str | None) -> bool:
        keys = self.keys
        self.check(keys.lease(node), keys.leases, keys.processes, keys.heartbeats)
        lease = self.leases.get(node)
        if (None if lease is None else lease.token) != token:
            return False
        self.leases.pop(node, None)
        self.taken.pop(node, None)
        self.listed.discard(node)
        self.beating.discard(node)
        self.shown.discard(node)
        return True

    def bury(self, node: str) -> None:
        self.leave(node, None)

    # -- below

    def _move_one(self, source: str, backup: str) -> bytes:
        payload = self.lists[source].pop()
        self.lists[backup].insert(0, payload)
        return payload

    def _keys_of(self, claim: Claim, settlement: Settlement) -> list[str]:
        keys = [self.keys.backup(claim.node_id, settlement.queue), self.keys.queue(settlement.queue)]
        if (where := _set_of(settlement)) is not None:
            keys.append(self._scored_key(where))
        if settlement.unlock is not None:
            keys.append(self.keys.unique(settlement.unlock[0]))
        return keys

    def _settle_one(self, claim: Claim, settlement: Settlement) -> bool:
        backup = self.lists[self.keys.backup(claim.node_id, settlement.queue)]
        if settlement.payload not in backup:
            return False
        places = [at for at, payload in enumerate(backup) if payload == settlement.payload]
        del backup[places[0 if settlement.near_head else -1]]
        if (where := _set_of(settlement)) is not None:
            self.scored[where].append((settlement.entry, settlement.score))
        elif settlement.kind == "push_back":
            self.lists[self.keys.queue(settlement.queue)].append(settlement.entry)
        else:
            self.alive[name_of(settlement.payload)[0]] -= 1
        if settlement.unlock is not None and self.locks.get(settlement.unlock[0]) == settlement.unlock[1]:
            del self.locks[settlement.unlock[0]]
        return True

    def _trim(self, now: float, limit: int) -> int:
        dead = sorted(self.scored["dead"], key=lambda entry: (entry[1], entry[0]))
        old = [entry for entry in dead if entry[1] < now - self.dead_timeout][:limit]
        kept = dead[len(old) :]
        over = kept[: max(0, min(len(kept) - self.dead_max_jobs, limit - len(old)))]
        for entry in [*old, *over]:
            self.scored["dead"].remove(entry)
            self.alive[name_of(entry[0])[0]] -= 1
        return len(old) + len(over)

    def _count(self, stats: Sequence[str], by: int) -> None:
        for key in stats:
            if by and key not in self.broken:
                self.counters[key] += by

    def _scored_key(self, where: ScoredSet) -> str:
        key: str = getattr(self.keys, where)
        return key


def _set_of(settlement: Settlement) -> ScoredSet | None:
    """The sorted set that a settlement adds to."""
    kind = settlement.kind
    return kind if kind in ("retry", "schedule", "dead") else None
