"""Where jobs live: :class:`exq_anyio.node.store.Store` on Redis.  Each method is one script or one command."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import cast

import anyio
import coredis.exceptions as refused

from ..errors import LostClaim, RedisError, RedisFull, RedisUnavailable, WrongType
from ..exchange import Beat, Claim, Fetched, Move, NodeSeen, SortedSet
from ..outcome import Settlement
from . import scripts
from .connect import Argument, Connections, Link, Reply
from .keys import Keys
from .rotation import Rotation
from .search import Search

logger: logging.Logger = logging.getLogger("exq_anyio")

FETCH_LIMIT = 1_000
"""Most payloads that one fetch takes."""

ENTRY_SECONDS = 60
"""How long a process entry outlives its last beat (as in Sidekiq and Exq)."""

FULL_WAIT = 0.25
"""Seconds between two fetches where the server is full and refuses a blocking wait."""

REFUSED_WAIT = 1.0
"""Longest wait, in seconds, where the user may not end one (CLIENT UNBLOCK): a stop has to sit it out."""

_OPS = {"done": "d", "retry": "r", "schedule": "s", "dead": "x", "push_back": "b"}


class RedisStore:
    """The jobs under one namespace of one Redis."""

    def __init__(
        self,
        connections: Connections,
        keys: Keys,
        *,
        dead_max_jobs: int,
        dead_timeout: float,
        max_waits: int,
    ) -> None:
        self._connections = connections
        self._keys = keys
        self._dead_max_jobs = dead_max_jobs
        self._dead_timeout = dead_timeout
        self._max_waits = max_waits
        self._waits: dict[str, Link] = {}
        self._waiting: dict[str, object] = {}
        self._rotation = Rotation(self._lengths)
        self._search = Search(connections, keys)
        self._signals: Link | None = None
        self._may_unblock: bool | None = None
        self._broken_counters: set[bytes] = set()

    async def available(self) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._connections.available()

    def is_available(self) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        return self._connections.is_available

    def outages(self) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        return self._connections.outages

    # -- the way of a job

    async def fetch(self, claim: Claim, queue: str, limit: int) -> Fetched:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = self._keys
        held, paused, payloads = cast(
            "tuple[int, int, list[bytes]]",
            await self._run(
                claim,
                "fetch",
                [keys.lease(claim.node_id), keys.queue(queue), keys.backup(claim.node_id, queue), keys.paused],
                [claim.token, min(limit, FETCH_LIMIT), queue, int(keys.resque(queue))],
            ),
        )
        return Fetched(payloads, held, paused == 1)

    async def wait(self, claim: Claim, queue: str, seconds: float) -> bytes | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        link = self._wait_link(queue)
        if link is None:
            await self._rotation.wait(queue, seconds)
            return None
        source, backup = self._keys.queue(queue), self._keys.backup(claim.node_id, queue)
        end = "LEFT" if self._keys.resque(queue) else "RIGHT"
        self._waiting[queue] = object()
        try:
            if not await self._may_end_waits():
                seconds = min(seconds, REFUSED_WAIT)
            taken = await link.request(
                b"BLMOVE", source, backup, end, "LEFT", repr(seconds), timeout=seconds + self._connections.timeout
            )
        except RedisFull:
            # A full server refuses to block for a move; the fetch script moves all the same.
            await anyio.sleep(min(seconds, FULL_WAIT))
            return None
        finally:
            del self._waiting[queue]
        return cast("bytes | None", taken)

    async def unblock(self, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        self._rotation.end(queue)
        # Only this wait: the queue of a poller that goes on is soon waited for again.
        wait = self._waiting.get(queue)
        while wait is not None and self._waiting.get(queue) is wait and self._may_unblock is not False:
            client_id = self._waits[queue].client_id
            try:
                if client_id is not None:
                    await self._connections.commands.request(b"CLIENT UNBLOCK", client_id)
            except RedisUnavailable:
                await self._connections.available()
            except RedisError:
                self._may_unblock = False  # the user may no longer (ACL): the wait ends by its own timeout
            await anyio.sleep(0.002)

    async def _may_end_waits(self) -> bool:
        """Whether the user may use CLIENT UNBLOCK (ACL), which is asked once, before the first wait."""
        if self._may_unblock is None:
            try:
                await self._connections.commands.request(b"CLIENT UNBLOCK", 0)
                self._may_unblock = True
            except RedisUnavailable:
                raise
            except RedisError:
                self._may_unblock = False
        return self._may_unblock

    async def filled(self, beginnings: Sequence[str]) -> list[str]:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._search.filled(tuple(beginnings))

    def no_more_waits(self, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        link = self._waits.pop(queue, None)
        if link is not None:
            self._connections.close_link(link)

    async def settle(self, claim: Claim, number: int, group: Sequence[Settlement], now: float) -> list[bool]:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._keys.lease(claim.node_id), self._keys.retry, self._keys.schedule, self._keys.dead]
        keys += self._keys.stats(now)
        args: list[Argument] = [claim.token, number, self._dead_max_jobs, repr(now - self._dead_timeout)]
        queue = None
        for settlement in group:
            if settlement.queue != queue:
                queue = settlement.queue
                keys += (self._keys.backup(claim.node_id, queue), self._keys.queue(queue))
                args += ("Q" if self._keys.resque(queue) else "q", len(keys) - 1, len(keys))
            _add_operation(args, settlement)
            if settlement.unlock is not None:
                token, jid = settlement.unlock
                keys.append(self._keys.unique(token))
                args += ("u", len(keys), jid)
        answer = cast("bytes", await self._run(claim, "settle", keys, args))
        flags, _, broken = answer.partition(b" ")
        self._note_broken(broken)
        return [flag == 0x31 for flag in flags]

    async def rename(self, claim: Claim, queue: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._keys.lease(claim.node_id), self._keys.backup(claim.node_id, queue)]
        await self._run(claim, "rename", keys, [claim.token, *(part for pair in pairs for part in pair)])

    async def unlock(self, token: str, jid: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._script("unlock", [self._keys.unique(token)], [jid])

    async def runs_alone(self, claim: Claim, jid: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._run(claim, "alone", [self._keys.lease(claim.node_id)], [claim.token, jid])

    async def backup(self, claim: Claim, queue: str) -> list[bytes]:
        """See :class:`~exq_anyio.node.store.Store`."""
        key = self._keys.backup(claim.node_id, queue)
        return cast("list[bytes]", await self._list(key, self._connections.commands.request(b"LRANGE", key, 0, -1)))

    # -- time

    async def anything_due(self) -> list[SortedSet]:
        """See :class:`~exq_anyio.node.store.Store`."""
        sets: tuple[SortedSet, ...] = ("retry", "schedule")
        found = cast("list[int]", await self._script("anything_due", [self._set(where) for where in sets], []))
        return [where for where, is_due in zip(sets, found, strict=True) if is_due]

    async def due(self, where: SortedSet, limit: int) -> tuple[float, list[bytes]]:
        """See :class:`~exq_anyio.node.store.Store`."""
        now, members = cast("tuple[bytes, list[bytes]]", await self._script("due", [self._set(where)], [limit]))
        return float(now), members

    async def promote(self, where: SortedSet, moves: Sequence[Move], now: float) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._set(where), self._keys.dead, self._keys.queues]
        places: dict[str, int] = {}
        args: list[Argument] = []
        for move in moves:
            if move.queue is None:
                args += (move.member, move.payload, 2, repr(now))
                continue
            place = places.get(move.queue)
            if place is None:
                keys.append(self._keys.queue(move.queue))
                place = places[move.queue] = len(keys)
            args += (move.member, move.payload, -place if self._keys.resque(move.queue) else place, move.queue)
        return cast("int", await self._script("promote", keys, args))

    async def trim_dead(self, limit: int) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        args: list[Argument] = [self._dead_max_jobs, repr(self._dead_timeout), limit]
        return cast("int", await self._script("trim", [self._keys.dead], args))

    # -- the life of a node

    async def claim(self, claim: Claim, owner: Mapping[str, str]) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._keys.lease(claim.node_id), self._keys.leases, self._keys.heartbeats]
        return await self._script("claim", keys, [claim.token, claim.node_id, *_flat(owner)]) == 1

    async def taking(self, claim: Claim, queue: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._keys.lease(claim.node_id), self._keys.taken(claim.node_id)]
        await self._run(claim, "taking", keys, [claim.token, queue])

    async def beat(self, claim: Claim, beat: Beat) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        node, keys, measured = claim.node_id, self._keys, beat.measured
        names = [
            keys.lease(node), keys.leases, keys.processes, keys.heartbeats,
            keys.process(node), keys.work(node), keys.workers(node),
            keys.minute(measured.at, measured.unit), keys.ten_minutes(measured.at),
        ]  # fmt: skip
        names += [keys.histogram(one.worker, measured.at, measured.unit) for one in measured.workers]
        args: list[Argument] = [
            claim.token, node, ENTRY_SECONDS, 2 * len(beat.entry), 3 * len(beat.work), measured.number,
            *_flat(beat.entry), *(part for running in beat.work for part in running),
        ]  # fmt: skip
        for one in measured.workers:
            count = one.count
            args += (one.worker, count.processed, count.failed, count.milliseconds, 2 * len(one.buckets))
            args += [part for bucket in one.buckets.items() for part in bucket]
        self._note_broken(cast("bytes", await self._run(claim, "beat", names, args)))

    async def signal(self, claim: Claim, seconds: float) -> str | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        if self._signals is None:
            self._signals = self._connections.link()
        key = self._keys.signals(claim.node_id)
        waiting = self._signals.request(b"BRPOP", key, repr(seconds), timeout=seconds + self._connections.timeout)
        reply = await self._list(key, waiting)
        return cast("list[bytes]", reply)[1].decode("utf-8", "replace") if reply else None

    async def leave(self, claim: Claim) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        return await self._leave(claim.node_id, claim.token)

    # -- the death of a node

    async def nodes(self) -> tuple[float, list[NodeSeen]]:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = self._keys
        now, beats, leases = cast(
            "tuple[bytes, list[bytes], list[bytes]]", await self._script("nodes", [keys.heartbeats, keys.leases], [])
        )
        scores = {_text(node): _text(score) for node, score in zip(beats[::2], beats[1::2], strict=True)}
        ids = list(scores) + [node for node in map(_text, leases) if node not in scores]
        hashes = cast("list[list[bytes]]", await self._script("hashes", [keys.lease(node) for node in ids], []))
        found = zip(ids, hashes, strict=True)
        return float(now), [NodeSeen(node, scores.get(node, ""), _pairs(fields)) for node, fields in found]

    async def condemn(self, node: NodeSeen, *, by_process: bool) -> bool:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = [self._keys.lease(node.node_id), self._keys.heartbeats, self._keys.leases]
        score, token = ("", node.lease["token"]) if by_process else (node.score, node.lease.get("token", ""))
        return await self._script("condemn", keys, [node.node_id, score, token]) == 1

    async def left_behind(self, node_id: str) -> dict[str, int]:
        """See :class:`~exq_anyio.node.store.Store`."""
        request = self._connections.commands.request
        queues: set[str] = set()
        for key in (self._keys.queues, self._keys.taken(node_id)):
            queues |= {_text(name) for name in cast("Iterable[bytes]", await request(b"SMEMBERS", key))}
        names = sorted(queues)
        lengths = await self._script("lengths", [self._keys.backup(node_id, queue) for queue in names], [])
        return {queue: length for queue, length in zip(names, cast("list[int]", lengths), strict=True) if length}

    async def ran_alone(self, node_id: str) -> str | None:
        """See :class:`~exq_anyio.node.store.Store`."""
        jid = await self._connections.commands.request(b"HGET", self._keys.lease(node_id), "alone")
        return None if jid is None else _text(cast("bytes", jid))

    async def left_page(self, node_id: str, queue: str, limit: int) -> list[bytes]:
        """See :class:`~exq_anyio.node.store.Store`."""
        key = self._keys.backup(node_id, queue)
        page = self._connections.commands.request(b"LRANGE", key, 0, limit - 1)
        return cast("list[bytes]", await self._list(key, page))

    async def rescue(self, node_id: str, queue: str, moves: Sequence[Move], now: float) -> int:
        """See :class:`~exq_anyio.node.store.Store`."""
        keys = self._keys
        names = [keys.lease(node_id), keys.backup(node_id, queue), keys.queue(queue), keys.dead, keys.queues]
        args: list[Argument] = [queue, repr(now)]
        back = "Q" if keys.resque(queue) else "q"
        for move in moves:
            token, jid = move.unlock or ("", "")
            if move.unlock is not None:
                names.append(keys.unique(token))
            lock = len(names) if move.unlock is not None else 0
            args += (move.member, move.payload, "x" if move.queue is None else back, lock, jid)
        return cast("int", await self._script("rescue", names, args))

    async def bury(self, node_id: str) -> None:
        """See :class:`~exq_anyio.node.store.Store`."""
        await self._leave(node_id, "")

    # -- below the surface

    async def _lengths(self, queues: list[str]) -> list[int]:
        keys = [self._keys.queue(queue) for queue in queues]
        if not await self._connections.commands.request(b"EXISTS", *keys):
            return [0] * len(keys)  # a list that is empty is not there, and that is what they mostly are
        return cast("list[int]", await self._script("lengths", keys, []))

    async def _leave(self, node_id: str, token: str) -> bool:
        keys = self._keys
        names = [
            keys.lease(node_id), keys.leases, keys.processes, keys.heartbeats,
            keys.process(node_id), keys.work(node_id), keys.workers(node_id),
            keys.taken(node_id), keys.signals(node_id),
        ]  # fmt: skip
        return await self._script("leave", names, [token, node_id]) == 1

    def _note_broken(self, counter: bytes) -> None:
        if counter and counter not in self._broken_counters:
            self._broken_counters.add(counter)
            logger.error("counter cannot count, rename or delete it: key=%r", _text(counter))

    def _wait_link(self, queue: str) -> Link | None:
        link = self._waits.get(queue)
        if link is None and len(self._waits) < self._max_waits:
            link = self._waits[queue] = self._connections.link()
        return link

    def _set(self, where: SortedSet) -> str:
        return self._keys.schedule if where == "schedule" else self._keys.retry

    async def _list(self, key: str, request: Awaitable[Reply]) -> Reply:
        """The reply to a plain command on the list *key*: unlike our scripts, Redis does not say which key is wrong."""
        try:
            return await request
        except RedisError as error:
            if not isinstance(error.__cause__, refused.WrongTypeError):
                raise
            raise WrongType(self._connections.address, key, "value of another type", "list") from error

    async def _script(self, name: str, keys: list[str], args: list[Argument]) -> Reply:
        return await scripts.run(self._connections, name, keys, args)

    async def _run(self, claim: Claim, name: str, keys: list[str], args: list[Argument]) -> Reply:
        """A script that needs the claim."""
        try:
            return await scripts.run(self._connections, name, keys, args)
        except LostClaim as error:
            raise LostClaim(claim.node_id) from error


def _add_operation(args: list[Argument], settlement: Settlement) -> None:
    kind = settlement.kind
    if kind == "discarded":
        op = "f" if settlement.failed else "d"
    elif kind == "dead" and not settlement.processed:
        op = "g"
    else:
        op = _OPS[kind]
    if settlement.near_head:
        op = op.upper()
    args += (op, settlement.payload)
    if op in "rsxgRSXG":
        args += (settlement.entry, repr(settlement.score))
    elif op in "bB":
        args.append(settlement.entry)


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    return {_text(field): _text(value) for field, value in zip(flat[::2], flat[1::2], strict=True)}


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


def _text(raw: bytes) -> str:
    # A name that is not UTF-8 is nobody's of ours; it is shown, and never found again.
    return raw.decode("utf-8", "replace")
