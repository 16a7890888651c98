"""The queues that a node takes from, each with a poller of its own: they come, change and go while it runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import islice
from math import inf

import anyio
from anyio.abc import TaskGroup

from ..config import Config, QueueConfig
from ..errors import ConfigError, RedisError, RedisUnavailable
from ..limits import Limit, Limits
from .dequeuer import Line, LocalLimit, Source, poll
from .heartbeat import Capsule
from .limited import Limited
from .patterns import INTERVAL, LINGER, Pattern, Patterns
from .reserving import Dequeuer
from .shared import Shared

logger: logging.Logger = logging.getLogger("exq_anyio")

LISTED = 100
"""Most queues of one pattern that a process entry shows."""


class Lines:
    """The lines of one node, by queue."""

    def __init__(self, config: Config, source: Source, limits: Limits | None) -> None:
        self._config = config
        self._source = source
        self._limits = limits
        self._lines: dict[str, Line] = {}
        self._patterns = Patterns()
        self._told = anyio.Event()
        """Set when it is worth looking for queues at once."""
        self._looking = False
        self._former: Counter[str] = Counter()
        self._groups = {group.name: Shared(group.concurrency, group.order, group.queues) for group in config.groups}
        self._total = (Shared(config.total_concurrency),) if config.total_concurrency != inf else ()
        self._jobs: TaskGroup | None = None
        self._services: TaskGroup | None = None
        self.closed: bool = False
        """True when the node stops: it takes from no more queues."""

    def open(self, jobs: TaskGroup, services: TaskGroup) -> None:
        """Begin with the queues of the configuration: the pollers in *jobs*, what outlives them in *services*."""
        self._jobs, self._services = jobs, services
        for queue in self._config.queues:
            self._add(queue)
        for group in self._config.groups:
            for name in group.queues:
                self._add(QueueConfig(name, group.concurrency), self._groups[group.name])

    def all(self) -> list[Line]:
        """Every line, also those that have ended; may be called from any thread."""
        return list(self._lines.values())

    def former(self) -> dict[str, int]:
        """The jobs that have ended in lines that are no more, by their places; may be called from any thread."""
        return dict(self._former)

    @property
    def idle(self) -> bool:
        """Whether no poller is at work."""
        return all(line.idle.is_set() for line in self.all())

    def subscriptions(self) -> dict[str, float]:
        """The queues that jobs are taken from, and how many of each run at a time (inf: no limit).

        A pattern is there by its own name, and so are those of its queues that are not idle just now.
        """
        there = {pattern.name: self._concurrency(pattern.setting) for pattern in self._patterns.all()}
        return there | {line.queue: line.concurrency for line in self.all() if not line.ending}

    def capsules(self) -> dict[str, Capsule]:
        """The groups, and the queues that are in none, as process entries show them."""
        there, found = self.subscriptions(), self._found()
        there = {queue: limit for queue, limit in there.items() if queue not in found}
        capsules: dict[str, Capsule] = {}
        for group in self._config.groups:
            weighted = group.order == "weighted"
            weights = {
                shown: weight if weighted else 0
                for queue, weight in group.queues.items()
                if queue in there
                for shown in (queue, *self._listed(queue))
            }
            if weights:
                capsules[group.name] = Capsule(group.concurrency, group.order, weights)
        grouped = {queue for group in self._config.groups for queue in group.queues}
        alone = {queue: limit for queue, limit in there.items() if queue not in grouped}
        shown = {queue: dict.fromkeys((queue, *self._listed(queue)), 0) for queue in alone}
        return {**{queue: Capsule(limit, "strict", shown[queue]) for queue, limit in alone.items()}, **capsules}

    async def subscribe(self, queue: QueueConfig) -> None:
        """Take jobs from *queue* too; if they are already taken, only the concurrency or the dequeuer changes."""
        if queue.is_pattern:
            pattern = self._add_pattern(queue)
            for line in self.all():
                if line.pattern and not line.ending and self._patterns.of(line.queue) is pattern:
                    await self._change(pattern.queue(line.queue), pattern)
            return
        self._patterns.take_in(queue.name)
        await self._change(queue)

    async def _change(self, queue: QueueConfig, pattern: Pattern | None = None) -> None:
        line = self._lines.get(queue.name)
        if line is not None and line.ending:
            # The jobs that still run keep their place in the line, so that nobody takes them for stranded.
            await line.idle.wait()
        former = None if line is None or line.idle.is_set() else line.dequeuer
        self._begin(queue, pattern=pattern)
        if former is not None and former is not self._lines[queue.name].dequeuer:
            await former.stop()

    async def unsubscribe(self, queue: str) -> None:
        """Take no more jobs from *queue*; those that run go on.

        A pattern ends with the queues that are there for it.  One of them by its own name is left out by all patterns,
        until it, or the pattern, is subscribed again.
        """
        if self._patterns.drop(queue) is None:
            self._patterns.leave_out(queue)
            await self._end(queue)
            return
        async with anyio.create_task_group() as tasks:
            for line in self.all():
                if line.pattern == queue:
                    tasks.start_soon(self._give_up, line)

    async def _end(self, queue: str) -> None:
        line = self._lines.get(queue)
        if line is not None and not line.idle.is_set():
            dequeuer = line.dequeuer  # a subscription that waits for the line to end brings another
            line.ending = True
            line.freed.set()
            line.resumed.set()
            await self._source.store.unblock(queue)
            await line.idle.wait()
            self._source.store.no_more_waits(queue)
            await dequeuer.stop()

    async def unsubscribe_all(self) -> None:
        """Take no more jobs from any queue."""
        self._patterns.clear()
        self._told.set()
        async with anyio.create_task_group() as tasks:
            for queue in list(self._lines):
                tasks.start_soon(self._end, queue)

    async def recheck(self, queue: str) -> None:
        """*queue* was paused or resumed: what waits for it asks again."""
        self._told.set()
        line = self._lines.get(queue)
        if line is not None:
            line.recheck()
            await self._source.store.unblock(queue)

    async def drained(self, fewer: Callable[[], object] = bool) -> None:
        """Return when no job is held any more; call *fewer* whenever it is fewer of them."""
        for line in self.all():
            while line.held:
                line.freed = anyio.Event()
                await line.freed.wait()
                fewer()

    # -- the queues that patterns stand for

    def _add(self, queue: QueueConfig, group: Shared | None = None) -> None:
        """Begin with *queue*, or with all that it stands for."""
        if queue.is_pattern:
            self._add_pattern(queue, group)
        else:
            self._begin(queue, group)

    def _add_pattern(self, queue: QueueConfig, group: Shared | None = None) -> Pattern:
        assert self._jobs is not None
        pattern = self._patterns.put(queue, group)
        self._told.set()
        if not self._looking:
            self._looking = True
            self._jobs.start_soon(self._look_for_queues)
        return pattern

    async def _look_for_queues(self) -> None:
        """Have lines for the queues that hold jobs, as long as there are patterns."""
        store = self._source.store
        while self._patterns and not self.closed:
            self._told = anyio.Event()
            try:
                self._look(frozenset(await store.filled(self._patterns.beginnings)), anyio.current_time())
            except RedisUnavailable:
                await store.available()
            except RedisError as error:
                logger.error("cannot look for queues: error=%s", error)
            with anyio.move_on_after(INTERVAL):
                await self._told.wait()
        self._looking = False

    def _look(self, filled: frozenset[str], now: float) -> None:
        """Begin with the queues that are *filled*, and give up those that have long been idle, or paused."""
        assert self._jobs is not None
        for queue in filled:
            line = self._lines.get(queue)
            pattern = self._patterns.of(queue) if line is None or line.idle.is_set() else None
            if pattern is not None:
                self._begin(pattern.queue(queue), pattern.group, pattern)
        for line in self.all():
            if not line.pattern:
                continue
            if line.queue in filled or line.held:
                line.used = now
            elif line.idle.is_set():
                self._forget(line)
            elif not line.ending and now - line.used >= LINGER:
                self._jobs.start_soon(self._give_up, line)

    async def _give_up(self, line: Line) -> None:
        """End *line*, and keep nothing of it once its jobs have ended."""
        if line.pattern:  # and not subscribed by its own name since
            await self._end(line.queue)
            self._forget(line)

    def _forget(self, line: Line) -> None:
        if line.pattern and line.idle.is_set() and not line.held and self._lines.get(line.queue) is line:
            del self._lines[line.queue]
            self._former[line.place] += line.newest

    def _found(self) -> set[str]:
        return {line.queue for line in self.all() if line.pattern}

    def _listed(self, pattern: str) -> list[str]:
        """Queues of *pattern*, as many as are shown."""
        return list(islice((line.queue for line in self.all() if line.pattern == pattern and not line.ending), LISTED))

    # -- below the surface

    def _concurrency(self, queue: QueueConfig) -> float:
        own = queue.dequeuer.concurrency if isinstance(queue.dequeuer, Limit) else None
        return own or (self._config.concurrency if queue.concurrency is None else queue.concurrency)

    def _begin(self, queue: QueueConfig, group: Shared | None = None, pattern: Pattern | None = None) -> None:
        """Start, or change, the line of *queue*; a node that stops takes from no more queues."""
        assert self._jobs is not None
        if self.closed:
            return
        concurrency = self._concurrency(queue)
        limit = concurrency if group is None else inf  # the group's own limit holds for all of its queues
        dequeuer: Dequeuer = queue.dequeuer or LocalLimit(limit)  # type: ignore[assignment]  # the user's own, duck-typed
        if isinstance(queue.dequeuer, Limit):
            dequeuer = self._limited(queue.dequeuer, queue.name, limit if group else concurrency)
        line = self._lines.get(queue.name)
        polled = line is not None and not line.idle.is_set()
        if line is None:
            limits = self._total if group is None else (group, *self._total)
            place = pattern.name if pattern else queue.name
            line = self._lines[queue.name] = Line(queue.name, dequeuer, concurrency, limits=limits, place=place)
        else:
            if queue.dequeuer is None and isinstance(line.dequeuer, LocalLimit) and polled:
                dequeuer = line.dequeuer  # the jobs that run count on
                dequeuer.resize(concurrency)
            line.dequeuer, line.concurrency = dequeuer, concurrency
            line.freed.set()
        line.pattern, line.used = (pattern.name, anyio.current_time()) if pattern else ("", line.used)
        if not polled:
            line.ending, line.idle = False, anyio.Event()
            self._jobs.start_soon(poll, line, self._source)

    def _limited(self, limit: Limit, queue: str, concurrency: float) -> Dequeuer:
        assert self._services is not None
        if self._limits is None:
            raise ConfigError("queues", f"{queue!r} has a limit for all nodes, and there is no place where it is kept")
        local = LocalLimit(concurrency)
        return Limited(limit, queue, local, self._limits, self._source.claim, self._services.start_soon)
