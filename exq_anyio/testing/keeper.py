"""``q.api`` under a mock that keeps jobs: what it asks for, of a world in memory.

Each method does to a :class:`~exq_anyio.testing.world.World` what the one of the same name in
``exq_anyio.redis.keeper`` does to Redis.  There are no nodes, and nothing is measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NoReturn

import anyio.lowlevel

from ..errors import WrongMode
from ..metrics import Count, parse_histogram
from ..upkeep import Change, Look, Looked, NodeEntry, Place, QueueSeen, Raw, Totals
from .world import KEYS, World

LOCK_SECONDS = 60
"""Seconds in which a deploy is marked once."""

GONE = b"\0gone"
"""Stands for an entry that is removed, and is no payload."""


class MemoryKeeper:
    """The jobs of the world that *find* returns.  Implements :class:`~exq_anyio.api.keeper.Keeper`."""

    def __init__(self, find: Callable[[], World]) -> None:
        self._find = find

    async def _world(self) -> World:
        await anyio.lowlevel.checkpoint()  # as where a server is asked
        world = self._find()
        world.tick()
        return world

    # -- counters, queues and nodes

    async def totals(self) -> Totals:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world = await self._world()
        processed, _, _, failed, _, _ = KEYS.stats(0)
        return Totals(
            retry=len(world.sorted_sets[KEYS.retry]),
            schedule=len(world.sorted_sets[KEYS.schedule]),
            dead=len(world.sorted_sets[KEYS.dead]),
            processed=int(world.strings.get(processed, 0)),
            failed=int(world.strings.get(failed, 0)),
            enqueued=sum(len(world.lists[KEYS.queue(queue)]) for queue in world.sets[KEYS.queues]),
            busy=(),
        )

    async def counters(self, which: Literal["day", "second"], instants: Sequence[float]) -> list[tuple[int, int]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        strings, at = (await self._world()).strings, 1 if which == "day" else 2
        names = [KEYS.stats(instant) for instant in instants]
        return [(int(strings.get(name[at], 0)), int(strings.get(name[at + 3], 0))) for name in names]

    async def counts(
        self, which: Literal["minute", "ten minutes"], instants: Sequence[float]
    ) -> list[dict[str, Count]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return [{} for _ in instants]

    async def worker_counts(
        self, which: Literal["minute", "ten minutes"], worker: str, instants: Sequence[float]
    ) -> list[Count]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return [Count() for _ in instants]

    async def histograms(self, worker: str, instants: Sequence[float]) -> list[list[int]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return [parse_histogram(b"") for _ in instants]

    async def marks(self, days: Sequence[float]) -> dict[str, bytes]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        hashes = (await self._world()).hashes
        return {at: label.encode() for day in days for at, label in hashes[KEYS.marks(day)].items()}

    async def mark(self, label: str, at: float) -> bool:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world, lock = await self._world(), KEYS.deploy_lock(label)
        if lock in world.strings:
            return False
        world.strings[lock] = label
        world.expires[lock] = world.clock() + LOCK_SECONDS
        minute = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}:00Z"
        world.hashes[KEYS.marks(at)].setdefault(minute, label)
        return True

    async def queues(self, names: Sequence[str] | None) -> tuple[float, list[QueueSeen]]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world = await self._world()
        known, paused = world.sets[KEYS.queues], world.sets[KEYS.paused]
        lists = {name: world.lists[KEYS.queue(name)] for name in (sorted(known) if names is None else names)}
        return world.clock(), [
            QueueSeen(
                name=name,
                size=len(jobs),
                paused=name in paused,
                known=name in known,
                oldest=jobs[-1] if jobs else None,
            )
            for name, jobs in lists.items()
        ]

    async def nodes(self, *, work: bool) -> list[NodeEntry]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return []

    async def info(self) -> Mapping[str, str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return {}

    # -- entries

    async def look(self, place: Place, look: Look) -> Looked:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        entries = _entries(await self._world(), place, backwards=look.backwards)
        inside = [raw.position for raw in entries if not raw.score or look.low <= float(raw.score) <= look.high]
        first = inside[0] if inside else 0
        at = first + look.offset if look.after is None else max(first, _behind(entries, look.after, look.backwards))
        looked, found, passed, left = 0, list[Raw](), None, look.most_bytes
        for raw in entries[at : min(at + look.most, inside[-1] + 1 if inside else 0)]:
            if left <= 0:
                break
            looked, left = looked + 1, left - len(raw.payload)
            if _may_hold(raw.payload, look.needles):
                found.append(raw)
            else:
                passed = raw
        return Looked(total=len(inside), looked=looked, found=found, passed=passed)

    async def change(self, place: Place, changes: Sequence[Change], *, thorough: bool) -> list[bool]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world = await self._world()
        answer = [_change(world, place, change) for change in changes]
        if place.kind == "queue":
            key = KEYS.queue(place.queue)
            world.lists[key] = deque(payload for payload in world.lists[key] if payload != GONE)
        return answer

    async def drain(
        self, place: Place, most: int, most_bytes: int, holders: Mapping[bytes, tuple[str, str] | None] | None
    ) -> tuple[int, int]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world = await self._world()
        entries = _entries(world, place, backwards=place.kind == "queue")
        deleted, left = 0, most_bytes
        for raw in entries[:most]:
            if left <= 0 or (holders is not None and raw.payload not in holders and b"unique_token" in raw.payload):
                break
            _take(world, place, raw.payload, None)
            if lock := (holders or {}).get(raw.payload):
                world.unlock(*lock)
            deleted, left = deleted + 1, left - len(raw.payload)
        return deleted, len(entries) - deleted

    async def forget(self, queue: str) -> bool:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        world = await self._world()
        empty = not world.lists[KEYS.queue(queue)] and queue in world.sets[KEYS.queues]
        if empty:
            world.sets[KEYS.queues].discard(queue)
        return empty

    # -- control

    async def node_ids(self, *, ours: bool) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return []

    async def signal(self, nodes: Sequence[str], text: str) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        return []

    async def pause(self, queue: str, *, paused: bool, nodes: Sequence[str], text: str) -> list[str]:
        """See :class:`~exq_anyio.api.keeper.Keeper`."""
        names = (await self._world()).sets[KEYS.paused]
        (names.add if paused else names.discard)(queue)
        return []


class NoTimetable:
    """Periodic jobs are not looked at under a mock: ``Mock.tick`` enqueues those that are declared."""

    def __getattr__(self, name: str) -> NoReturn:
        raise WrongMode("api.periodic without a server", "fake or inline of a mock")


def _entries(world: World, place: Place, *, backwards: bool) -> list[Raw]:
    """Everything there, in the order of the walk."""
    if place.kind == "queue":
        found = [(payload, "") for payload in world.lists[KEYS.queue(place.queue)]]
    else:
        scores = sorted((score, payload) for payload, score in world.sorted_sets[place.kind].items())
        found = [(payload, repr(score)) for score, payload in scores]
    return [Raw(*entry, at) for at, entry in enumerate(reversed(found) if backwards else found)]


def _behind(entries: Sequence[Raw], after: Raw, backwards: bool) -> int:
    """Where to go on after an entry that was seen before, and may have moved or gone."""
    there = next((raw for raw in entries if raw.payload == after.payload and raw.score == after.score), None)
    if there is not None:
        same = entries[after.position : after.position + 1]
        return (after.position if same and same[0].payload == after.payload else there.position) + 1
    if not after.score:
        return 0 if backwards else after.position
    gone = float(after.score)
    return sum(float(raw.score) > gone if backwards else float(raw.score) < gone for raw in entries)


def _may_hold(payload: bytes, needles: Sequence[str]) -> bool:
    """Whether it holds all of them; JSON may spell a letter or a slash otherwise, and is then left to be read."""
    escaped = b"\\u" in payload or b"\\/" in payload
    return escaped or all(needle.encode() in payload for needle in needles)


def _change(world: World, place: Place, change: Change) -> bool:
    same = change.to == place and place.kind == "queue" and not change.next_taken
    if not _take(world, place, change.member, change.payload if same else GONE, change.position):
        return False
    if change.to is not None and not same and change.to.kind == "queue":
        world.sets[KEYS.queues].add(change.to.queue)
        jobs = world.lists[KEYS.queue(change.to.queue)]
        (jobs.append if change.next_taken else jobs.appendleft)(change.payload)
    elif change.to is not None and not same:
        world.sorted_sets[change.to.kind][change.payload] = float(change.score)
    if change.unlock is not None:
        world.unlock(*change.unlock)
    return True


def _take(world: World, place: Place, payload: bytes, instead: bytes | None, position: int = -1) -> bool:
    """Remove an entry, in a queue with *instead* in its place, the one at *position* if it is; whether it was there."""
    if place.kind != "queue":
        return world.sorted_sets[place.kind].pop(payload, None) is not None
    jobs = world.lists[KEYS.queue(place.queue)]
    if payload not in jobs:
        return False
    exact = 0 <= position < len(jobs) and jobs[position] == payload
    at = position if exact else len(jobs) - 1 - list(reversed(jobs)).index(payload)
    if instead is None:
        del jobs[at]
    else:
        jobs[at] = instead
    return True
