"""The jobs of one queue, or of one of the three sets: to look at, to search, to act upon."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

import attrs

from ..errors import MalformedPayload
from ..job import JSON, Timestamps
from ..upkeep import Change, Look, Place, Raw
from . import changes
from .drain import Drain
from .entry import Entry, Filter, Found, Hits, Page, Progress
from .keeper import Keeper
from .steps import Bulk, Steps
from .walk import STEP_BYTES, Walk

LOOKED = 2_000
"""Entries that one step looks at: it holds up the server for two or three milliseconds."""

CHANGED = 500
"""Entries that one step changes, for the same reason."""

NEAR = 200
"""Entries by which one may have come nearer to the head of its queue since it was seen."""

PAGE_LIMIT = 10_000
"""Most entries of one page."""

Plan: TypeAlias = Callable[[Entry], Change]
"""What an action makes of an entry."""


@attrs.frozen(eq=False)
class Jobs:
    """What waits at one place.  Made by :class:`~exq_anyio.api.Api`.

    Actions take an :class:`Entry`, or a jid, which is looked for first.  Each is one isolated step, taken only if the
    entry's exact bytes are still there; if it has moved, it says so by ``False`` or ``None`` and changes nothing.
    Whatever reaches Redis may raise :class:`~exq_anyio.errors.RedisUnavailable` or
    :class:`~exq_anyio.errors.WrongType`.
    """

    place: Place
    """Which one."""
    _keeper: Keeper
    _clock: Callable[[], float]
    _unit: Timestamps

    # -- looking

    async def size(self) -> int:
        """How many entries are there."""
        return (await self._keeper.look(self.place, Look(backwards=False, most=0))).total

    async def page(self, offset: int = 0, size: int = 25, *, most_bytes: int | None = None) -> Page:
        """Up to *size* (at most 10,000) entries after the first *offset* ones.

        A queue and the dead set begin with the newest, the others with what is due first, as in Exq and Sidekiq.
        With *most_bytes* it ends after the entry with which its payloads are as large.

        Raises:
            ValueError: *offset* or *size* is out of range.
        """
        _check_size(size)
        if offset < 0:
            raise ValueError(f"offset must not be negative, not {offset}")
        look = Look(backwards=self._newest_last, most=size, most_bytes=most_bytes or 1 << 62, offset=offset)
        walk = Walk(self._keeper, self.place, look, None)
        entries = await walk.step() or ()
        return Page(entries=tuple(entries), offset=offset, total=walk.total)

    def pages(self, size: int = 500) -> Steps[Page]:
        """All entries, page by page, in the order of :meth:`page`, while jobs come and go.

        A page of large payloads (4 MB in all) ends before *size*.
        """
        _check_size(size)
        look = Look(backwards=self._newest_last, most=size, most_bytes=STEP_BYTES)
        walk = Walk(self._keeper, self.place, look, None)

        async def step() -> Page | None:
            entries = await walk.step()
            return None if entries is None else Page(entries=tuple(entries), offset=walk.offset, total=walk.total)

        return Steps(step)

    def __aiter__(self) -> AsyncIterator[Entry]:
        """All entries, one by one; read page by page."""
        pages, waiting = self.pages(), deque[Entry]()

        async def step() -> Entry | None:
            if not waiting and (page := await anext(pages, None)) is not None:
                waiting.extend(page)
            return waiting.popleft() if waiting else None

        return Steps(step)

    async def find(self, jid: str, *, score: float | None = None, limit: int | None = None) -> Found:
        """The first entry with *jid*; in a set at exactly *score*, which is quick, or else looking at all of them.

        At most *limit* entries are looked at (None: all), in steps that let others work.  Resque's jobs have no jid,
        and are not found by ``""``.
        """
        walk = self._walk(LOOKED, limit, Filter(text=jid), backwards=self._newest_last)
        if score is not None:
            walk.look = attrs.evolve(walk.look, low=score, high=score)
        while (entries := await walk.step()) is not None:
            for entry in entries:
                if entry.jid and entry.jid == jid:
                    return Found(entry=entry, looked=walk.looked, total=walk.total)
        return Found(entry=None, looked=walk.looked, total=walk.total)

    async def locate(
        self, key: str, *, score: float | None = None, jid: str = "", near: int = 0, limit: int = 20_000
    ) -> Found:
        """The entry whose :attr:`Entry.key` is *key*: in a set at exactly *score*, in a queue first behind *near*.

        It also finds what is no job.  *jid*, if it has one, spares reading the others; *near* is its position when it
        was seen.  At most *limit* entries are looked at from each of the two ends.
        """
        looked = total = 0
        for offset in (max(0, near - NEAR), 0) if near > NEAR and score is None else (0,):
            walk = self._walk(LOOKED, limit, Filter(text=jid or None), backwards=self._newest_last)
            walk.look = attrs.evolve(walk.look, offset=offset)
            if score is not None:
                walk.look = attrs.evolve(walk.look, low=score, high=score)
            while (entries := await walk.step()) is not None:
                if (entry := next((entry for entry in entries if entry.key == key), None)) is not None:
                    return Found(entry=entry, looked=looked + walk.looked, total=walk.total)
            looked, total = looked + walk.looked, walk.total
        return Found(entry=None, looked=looked, total=total)

    def search(
        self, what: Filter, *, limit: int | None = None, look_at: int | None = None, offset: int = 0
    ) -> Steps[Hits]:
        """Look for *what*, a bounded step at a time: what each found, and how far the search is.

        It ends after *limit* hits, or *look_at* entries (None: after all).  *offset* entries are passed over first,
        within the times asked for: the last ``hits.offset`` of a search that this one goes on from.
        """
        walk = self._walk(LOOKED, look_at, what, backwards=self._newest_last)
        walk.look = attrs.evolve(walk.look, offset=offset)
        found = 0
        first: int | None = None

        async def step() -> Hits | None:
            nonlocal found, first
            left = None if limit is None else limit - found
            entries = None if left is not None and left <= 0 else await walk.step()
            if entries is None:
                return None
            first = walk.offset if first is None else first
            every = [entry for entry in entries if what.matches(entry)]
            hits = every[:left]
            found += len(hits)
            passed = hits[-1].position + 1 - first if len(hits) < len(every) else walk.looked
            return Hits(entries=tuple(hits), looked=walk.looked, total=walk.total, offset=offset + passed)

        return Steps(step)

    # -- acting on one entry

    async def delete(self, entry: Entry | str, *, keep_lock: bool = False) -> bool:
        """Delete it; the unique lock that it holds is freed, or kept with *keep_lock*.  Whether it was still there."""
        return await self._act(entry, partial(changes.delete, keep_lock=keep_lock))

    async def retry(self, entry: Entry | str) -> bool:
        """Back to its queue now, with the attempt given back: ``retry_count`` is one less, as by Sidekiq's button.

        Raises:
            MalformedPayload: it is no job.
            ValueError: it is in a queue already.
        """
        return await self._act(entry, partial(changes.retry, now=self._clock(), unit=self._unit))

    async def run_now(self, entry: Entry | str) -> bool:
        """To its queue now, ``retry_count`` as it is; a job that is in its queue is put to the front.

        Raises:
            MalformedPayload: it is no job.
        """
        return await self._act(entry, partial(changes.run_now, now=self._clock(), unit=self._unit))

    async def kill(self, entry: Entry | str, *, keep_lock: bool = False) -> bool:
        """To the dead set; its unique lock is freed as when a job dies, or kept with *keep_lock*.

        Raises:
            ValueError: it is dead already.
        """
        return await self._act(entry, partial(changes.kill, now=self._clock(), unit=self._unit, keep_lock=keep_lock))

    async def edit(self, entry: Entry | str, args: Sequence[JSON]) -> Entry | None:
        """Give it other arguments, in its place; the entry as it now is, or None when it has moved.

        Raises:
            MalformedPayload: it is no job.
            TypeError: JSON cannot say *args*.
        """
        return await self._changed(entry, partial(changes.edit, args=args))

    async def reschedule(self, entry: Entry | str, at: datetime) -> Entry | None:
        """Have it due at *at* (aware); a job in a queue goes to the schedule.  The entry then, None when it has moved.

        Raises:
            MalformedPayload: it is no job.
            ValueError: *at* has no time zone, or the job is dead.
        """
        return await self._changed(entry, partial(changes.reschedule, at=at))

    # -- acting on many, the oldest first, or those that are due first

    def delete_all(self, what: Filter | None = None, *, keep_locks: bool = False) -> Bulk[Progress]:
        """Delete all that match: ``await`` it, or follow it with ``async for``.

        Like all of these it looks at no more entries than were there when it began.
        """
        if what is None:
            return Drain(self._keeper, self.place, keep_locks=keep_locks).bulk()
        return self._bulk(what, partial(changes.delete, keep_lock=keep_locks))

    def retry_all(self, what: Filter | None = None) -> Bulk[Progress]:
        """:meth:`retry` all that match; garbage stays.  Raises ValueError for a queue."""
        return self._bulk(what, partial(changes.retry, now=self._clock(), unit=self._unit), not_in="queue")

    def run_all(self, what: Filter | None = None) -> Bulk[Progress]:
        """:meth:`run_now` all that match; garbage stays.  Raises ValueError for a queue."""
        return self._bulk(what, partial(changes.run_now, now=self._clock(), unit=self._unit), not_in="queue")

    def kill_all(self, what: Filter | None = None, *, keep_locks: bool = False) -> Bulk[Progress]:
        """:meth:`kill` all that match.  Raises ValueError for the dead set, which the nodes keep within its limits."""
        plan = partial(changes.kill, now=self._clock(), unit=self._unit, keep_lock=keep_locks)
        return self._bulk(what, plan, not_in="dead")

    async def clear(self, *, keep_locks: bool = False) -> int:
        """Delete everything that is there now, and of a queue its name too; how many entries.

        The name stays when jobs have come meanwhile.
        """
        done = (await self.delete_all(keep_locks=keep_locks)).done
        if self.place.kind == "queue":
            await self._keeper.forget(self.place.queue)
        return done

    # -- below the surface

    @property
    def _newest_last(self) -> bool:
        """Whether the order of :meth:`page` is the one from the highest score."""
        return self.place.kind == "dead"

    def _walk(self, most: int, most_in_all: int | None, what: Filter, *, backwards: bool) -> Walk:
        look = Look(
            backwards=backwards,
            most=most,
            most_bytes=STEP_BYTES,
            low=what.low,
            high=what.high,
            needles=what.needles(),
        )
        return Walk(self._keeper, self.place, look, most_in_all)

    async def _entry(self, entry: Entry | str) -> Entry | None:
        if isinstance(entry, str):
            return (await self.find(entry)).entry
        if entry.place != self.place:
            raise ValueError(f"the entry is of {entry.place}, and this is {self.place}")
        return entry

    async def _act(self, entry: Entry | str, plan: Plan) -> bool:
        found = await self._entry(entry)
        if found is None:
            return False
        (was_there,) = await self._keeper.change(self.place, [plan(found)], thorough=True)
        return was_there

    async def _changed(self, entry: Entry | str, plan: Plan) -> Entry | None:
        found = await self._entry(entry)
        if found is None:
            return None
        change = plan(found)
        if not (await self._keeper.change(self.place, [change], thorough=True))[0]:
            return None
        assert change.to is not None
        return Entry.read(change.to, Raw(change.payload, change.score, found.position), found.position)

    def _bulk(self, what: Filter | None, plan: Plan, not_in: str = "") -> Bulk[Progress]:
        if self.place.kind == not_in:
            raise ValueError(f"not for {self.place}: its jobs are there already")
        what = what or Filter()
        # A queue is worked off from its tail, where the oldest are and a removal costs least.
        most = LOOKED if what.needles() else CHANGED
        walk = self._walk(most, None, what, backwards=self.place.kind == "queue")
        done = moved = 0

        async def step() -> Progress | None:
            nonlocal done, moved
            entries = await walk.step()
            if entries is None:
                return None
            if walk.most is None:
                walk.most = walk.total
            planned = _planned(entries, what, plan)
            for at in range(0, len(planned), CHANGED):
                group = planned[at : at + CHANGED]
                were_there = await self._keeper.change(self.place, [change for _, change in group], thorough=False)
                done, moved = done + sum(were_there), moved + were_there.count(False)
            walk.gone(entry for entry, _ in planned)
            return Progress(looked=walk.looked, total=walk.most, done=done, moved=moved)

        return Bulk(step, Progress(looked=0, total=0, done=0, moved=0))


def _planned(entries: list[Entry], what: Filter, plan: Plan) -> list[tuple[Entry, Change]]:
    """The entries to act upon, each with what becomes of it; garbage that nothing can become of is left out."""
    planned: list[tuple[Entry, Change]] = []
    for entry in entries:
        if what.matches(entry):
            try:
                planned.append((entry, plan(entry)))
            except MalformedPayload:
                continue
    return planned


def _check_size(size: int) -> None:
    if not 1 <= size <= PAGE_LIMIT:
        raise ValueError(f"size must be from 1 to {PAGE_LIMIT}, not {size}")
