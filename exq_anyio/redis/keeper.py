"""What the API looks at, and changes: each method is one script or one command, or a few that only read."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar, cast

from ..errors import RedisError, RedisUnavailable
from ..job import Timestamps
from ..metrics import Count, parse_counts, parse_histogram
from ..upkeep import Change, Look, Looked, NodeEntry, Place, QueueSeen, Raw, Totals
from . import scripts
from .connect import Argument, Connections, Reply
from .keys import Keys

T = TypeVar("T")

UNITS: tuple[Timestamps, ...] = ("seconds", "milliseconds")
"""Sidekiq 7 and what writes as it does, and Sidekiq 8: no run is counted in both."""

PAGE = 100
"""Hashes, each of a minute or ten, that are read in one isolated step."""

MARK_SECONDS, MARK_LOCK_SECONDS = 90 * 86400, 60
"""How long a deploy is remembered, and no second one taken (as in Sidekiq)."""

SIGNAL_SECONDS = 60
"""How long a signal waits for its node (as in Sidekiq and Exq)."""


class RedisKeeper:
    """The jobs, nodes and counters of one namespace.  Implements :class:`~exq_anyio.api.keeper.Keeper`."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys

    # -- counters, queues and nodes

    async def totals(self) -> Totals:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        keys = self._keys
        queues, nodes = await self._names(keys.queues, keys.processes)
        processed, _, _, failed, _, _ = keys.stats(0)
        names = [keys.schedule, keys.retry, keys.dead, processed, failed]
        names += [keys.queue(name) for name in queues] + [keys.process(node) for node in nodes]
        schedule, retry, dead, done, lost, waiting, *busy = cast(
            "list[int | bytes]", await self._script("totals", names, [len(queues)])
        )
        return Totals(
            schedule=int(schedule),
            retry=int(retry),
            dead=int(dead),
            processed=_number(done),
            failed=_number(lost),
            enqueued=int(waiting),
            busy=cast("list[bytes]", busy),
        )

    async def counters(self, which: Literal["day", "second"], instants: Sequence[float]) -> list[tuple[int, int]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        at = 1 if which == "day" else 2
        names = [self._keys.stats(instant)[place] for instant in instants for place in (at, at + 3)]
        await self._connections.soon_available()
        # One command: a counter that is not there, or holds another type, is nil.
        found = cast("list[bytes | None]", await self._connections.commands.request(b"MGET", *names))
        values = [_number(value or b"0") for value in found]
        return list(zip(values[::2], values[1::2], strict=True))

    async def counts(
        self, which: Literal["minute", "ten minutes"], instants: Sequence[float]
    ) -> list[dict[str, Count]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return await self._counts(which, instants, [])

    async def worker_counts(
        self, which: Literal["minute", "ten minutes"], worker: str, instants: Sequence[float]
    ) -> list[Count]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        found = await self._counts(which, instants, [f"{worker}|{metric}" for metric in ("p", "f", "ms")])
        return [counts.get(worker, Count()) for counts in found]

    async def _counts(
        self, which: Literal["minute", "ten minutes"], instants: Sequence[float], fields: list[Argument]
    ) -> list[dict[str, Count]]:
        """The counts of *instants*: of a minute, those of Sidekiq 7's kind and of 8's together."""
        found: list[dict[str, Count]] = []
        for page in batched(instants, PAGE):
            if which == "minute":
                keys = [self._keys.minute(at, unit) for at in page for unit in UNITS]
            else:
                keys = [self._keys.ten_minutes(at) for at in page]
            hashes = cast("list[list[bytes]]", await self._script("hashes", keys, fields))
            counts = [parse_counts(_pairs(flat)) for flat in hashes]
            found += map(_sum, batched(counts, 2)) if which == "minute" else counts
        return found

    async def histograms(self, worker: str, instants: Sequence[float]) -> list[list[int]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        names = [self._keys.histogram(worker, at, unit) for at in instants for unit in UNITS]
        await self._connections.soon_available()
        found = cast("list[bytes | None]", await self._connections.commands.request(b"MGET", *names))
        pairs = batched([parse_histogram(raw or b"") for raw in found], 2)
        return [[old + new for old, new in zip(*pair, strict=True)] for pair in pairs]

    async def marks(self, days: Sequence[float]) -> dict[str, bytes]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        hashes = await self._script("hashes", [self._keys.marks(day) for day in days], [])
        return {at: label for flat in cast("list[list[bytes]]", hashes) for at, label in _pairs(flat).items()}

    async def mark(self, label: str, at: float) -> bool:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        minute = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}:00Z"
        keys = [self._keys.marks(at), self._keys.deploy_lock(label)]
        return await self._script("mark", keys, [minute, label, MARK_SECONDS, MARK_LOCK_SECONDS]) == 1

    async def queues(self, names: Sequence[str] | None) -> tuple[float, list[QueueSeen]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        if names is None:
            (names,) = await self._names(self._keys.queues)
        keys = [self._keys.queues, self._keys.paused, *map(self._keys.queue, names)]
        now, *flat = cast(
            "list[bytes | int]",
            await self._script("queues", keys, [*names, *(int(self._keys.resque(name)) for name in names)]),
        )
        groups = zip(names, flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        return float(now), [
            QueueSeen(
                name=name,
                size=int(size),
                paused=paused == 1,
                known=known == 1,
                oldest=cast("bytes", oldest) if size else None,
            )
            for name, size, paused, known, oldest in groups
        ]

    async def nodes(self, *, work: bool) -> list[NodeEntry]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        (names,) = await self._names(self._keys.processes)
        found: list[NodeEntry] = []
        for group in batched(names, 10 if work else 1_000):
            found += await self._nodes(group, work)
        return found

    async def _nodes(self, names: Sequence[str], work: bool) -> list[NodeEntry]:
        kinds = (self._keys.process, self._keys.work, self._keys.workers) if work else (self._keys.process,)
        hashes = await self._script("hashes", [key(name) for name in names for key in kinds], [])
        found = [_pairs(flat) for flat in cast("list[list[bytes]]", hashes)]
        entries = zip(names, batched(found, len(kinds)), strict=True)
        return [NodeEntry(name, *entry) for name, entry in entries if entry[0]]

    async def info(self) -> dict[str, str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        await self._connections.soon_available()
        try:
            text = cast("bytes", await self._connections.commands.request(b"INFO"))
        except RedisUnavailable:
            raise
        except RedisError:  # an ACL may forbid it
            return {}
        lines = text.decode("utf-8", "replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    # -- entries

    async def look(self, place: Place, look: Look) -> Looked:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        after = look.after or Raw(b"", "", 0)
        total, looked, passed, found = cast(
            "tuple[int, int, list[bytes], list[bytes]]",
            await self._script(
                "look",
                [self._key(place)],
                [
                    _type(place), int(look.backwards), look.most, look.most_bytes, repr(look.low), repr(look.high),
                    look.offset, int(look.after is not None), after.payload, after.score, after.position,
                    *look.needles,
                ],
            ),
        )  # fmt: skip
        return Looked(
            total=total,
            looked=looked,
            found=[_raw(*entry) for entry in zip(found[::3], found[1::3], found[2::3], strict=True)],
            passed=_raw(*passed) if passed else None,
        )

    async def change(self, place: Place, changes: Sequence[Change], *, thorough: bool) -> list[bool]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        keys = [self._key(place), self._keys.queues]
        args: list[Argument] = [_type(place), f"gone:{secrets.token_hex(16)}", int(thorough)]
        places: dict[str, int] = {}
        for change in changes:
            self._add_operation(keys, args, places, place, change)
            if change.unlock is not None:
                token, jid = change.unlock
                args += ("u", _put(keys, places, self._keys.unique(token)), jid)
        if not changes:
            return []
        answer = cast("bytes", await self._script("change", keys, args))
        return [flag == 0x31 for flag in answer]

    async def drain(
        self, place: Place, most: int, most_bytes: int, holders: Mapping[bytes, tuple[str, str] | None] | None
    ) -> tuple[int, int]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        keys, places = [self._key(place)], dict[str, int]()
        args: list[Argument] = [_type(place), most, most_bytes, int(holders is None)]
        for payload, lock in (holders or {}).items():
            args += (payload, _put(keys, places, self._keys.unique(lock[0])), lock[1]) if lock else (payload, 0, "")
        deleted, left = cast("list[int]", await self._script("drain", keys, args))
        return deleted, left

    async def forget(self, queue: str) -> bool:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return await self._script("forget", [self._keys.queue(queue), self._keys.queues], [queue]) == 1

    # -- control

    async def node_ids(self, *, ours: bool) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        leases, processes = await self._names(self._keys.leases, self._keys.processes)
        return leases if ours else sorted({*leases, *processes})

    async def signal(self, nodes: Sequence[str], text: str) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return await self._signal(nodes, text, "", "")

    async def pause(self, queue: str, *, paused: bool, nodes: Sequence[str], text: str) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return await self._signal(nodes, text, "SADD" if paused else "SREM", queue)

    # -- below the surface

    async def _signal(self, nodes: Sequence[str], text: str, command: str, queue: str) -> list[str]:
        keys = [self._keys.paused]
        for node in nodes:
            keys += (self._keys.lease(node), self._keys.process(node), self._keys.signals(node))
        sent = cast("bytes", await self._script("signal", keys, [text, SIGNAL_SECONDS, command, queue]))
        return [node for node, flag in zip(nodes, sent, strict=True) if flag == 0x31]

    def _key(self, place: Place) -> str:
        match place.kind:
            case "queue":
                return self._keys.queue(place.queue)
            case "retry":
                return self._keys.retry
            case "schedule":
                return self._keys.schedule
            case "dead":
                return self._keys.dead

    def _add_operation(
        self, keys: list[str], args: list[Argument], places: dict[str, int], place: Place, change: Change
    ) -> None:
        old: tuple[Argument, ...] = (change.member, change.position)
        if change.to is None:
            args += ("d", *old)
        elif change.to.kind != "queue":
            args += ("z", *old, change.payload, _put(keys, places, self._key(change.to)), change.score)
        elif change.to == place and not change.next_taken:
            args += ("e", *old, change.payload)
        else:
            front = change.next_taken != self._keys.resque(change.to.queue)
            op, key = "f" if front else "q", _put(keys, places, self._key(change.to))
            args += (op, *old, change.payload, key, change.to.queue)

    async def _names(self, *keys: str) -> list[list[str]]:
        """The members of each set, in their order."""
        sets = cast("list[list[bytes]]", await self._script("members", [*keys], []))
        return [sorted(name.decode("utf-8", "replace") for name in names) for names in sets]

    async def _script(self, name: str, keys: list[str], args: list[Argument]) -> Reply:
        await self._connections.soon_available()
        return await scripts.run(self._connections, name, keys, args)


def _put(keys: list[str], places: dict[str, int], key: str) -> int:
    """The place of *key* among *keys*, counted from 1; it is put there if need be."""
    if key not in places:
        keys.append(key)
        places[key] = len(keys)
    return places[key]


def _sum(counts: Sequence[dict[str, Count]]) -> dict[str, Count]:
    total: dict[str, Count] = {}
    for one in counts:
        for worker, count in one.items():
            total[worker] = total.get(worker, Count()) + count
    return total


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """*items* in groups of *size*, the last may be smaller (itertools has it from Python 3.12 on)."""
    return (items[at : at + size] for at in range(0, len(items), size))


def _type(place: Place) -> str:
    return "list" if place.kind == "queue" else "zset"


def _raw(payload: bytes, score: bytes, position: bytes | int) -> Raw:
    return Raw(payload, score.decode(), int(position))


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {field.decode("utf-8", "replace"): value for field, value in zip(flat[::2], flat[1::2], strict=True)}


def _number(value: bytes | int) -> int:
    try:
        return int(value)
    except ValueError:
        return 0  # somebody broke a counter
