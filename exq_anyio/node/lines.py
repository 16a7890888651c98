"""The queues that a node takes from, each with a poller of its own: they come, change and go while it runs."""

from __future__ import annotations

from math import inf

import anyio
from anyio.abc import TaskGroup

from ..config import Config, QueueConfig
from ..errors import ConfigError
from ..limits import Limit, Limits
from .dequeuer import Dequeuer, Line, LocalLimit, Source, poll
from .heartbeat import Capsule
from .limited import Limited
from .shared import Shared


class Lines:
    """The lines of one node, by queue."""

    def __init__(self, config: Config, source: Source, limits: Limits | None) -> None:
        self._config = config
        self._source = source
        self._limits = limits
        self._lines: dict[str, Line] = {}
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
            self._begin(queue)
        for group in self._config.groups:
            for name in group.queues:
                self._begin(QueueConfig(name, group.concurrency), self._groups[group.name])

    def all(self) -> list[Line]:
        """Every line, also those that have ended; may be called from any thread."""
        return list(self._lines.values())

    @property
    def idle(self) -> bool:
        """Whether no poller is at work."""
        return all(line.idle.is_set() for line in self.all())

    def subscriptions(self) -> dict[str, float]:
        """The queues that jobs are taken from, and how many of each run at a time (inf: no limit)."""
        return {line.queue: line.concurrency for line in self.all() if not line.ending}

    def capsules(self) -> dict[str, Capsule]:
        """The groups, and the queues that are in none, as process entries show them."""
        there = self.subscriptions()
        capsules: dict[str, Capsule] = {}
        for group in self._config.groups:
            weighted = group.order == "weighted"
            weights = {queue: weight if weighted else 0 for queue, weight in group.queues.items() if queue in there}
            if weights:
                capsules[group.name] = Capsule(group.concurrency, group.order, weights)
        grouped = {queue for group in self._config.groups for queue in group.queues}
        alone = {queue: limit for queue, limit in there.items() if queue not in grouped}
        return {**{queue: Capsule(limit, "strict", {queue: 0}) for queue, limit in alone.items()}, **capsules}

    async def subscribe(self, queue: QueueConfig) -> None:
        """Take jobs from *queue* too; if they are already taken, only the concurrency or the dequeuer changes."""
        line = self._lines.get(queue.name)
        if line is not None and line.ending:
            # The jobs that still run keep their place in the line, so that nobody takes them for stranded.
            await line.idle.wait()
        former = None if line is None or line.idle.is_set() else line.dequeuer
        self._begin(queue)
        if former is not None and former is not self._lines[queue.name].dequeuer:
            await former.stop()

    async def unsubscribe(self, queue: str) -> None:
        """Take no more jobs from *queue*; those that run go on."""
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
        async with anyio.create_task_group() as tasks:
            for queue in list(self._lines):
                tasks.start_soon(self.unsubscribe, queue)

    async def recheck(self, queue: str) -> None:
        """*queue* was paused or resumed: what waits for it asks again."""
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

    # -- below the surface

    def _begin(self, queue: QueueConfig, group: Shared | None = None) -> None:
        """Start, or change, the line of *queue*; a node that stops takes from no more queues."""
        assert self._jobs is not None
        if self.closed:
            return
        concurrency = self._config.concurrency if queue.concurrency is None else queue.concurrency
        limit = concurrency if group is None else inf  # the group's own limit holds for all of its queues
        dequeuer: Dequeuer = queue.dequeuer or LocalLimit(limit)  # type: ignore[assignment]  # the user's own, duck-typed
        if isinstance(queue.dequeuer, Limit):
            concurrency = queue.dequeuer.concurrency or concurrency
            dequeuer = self._limited(queue.dequeuer, queue.name, limit if group else concurrency)
        line = self._lines.get(queue.name)
        if line is None:
            limits = self._total if group is None else (group, *self._total)
            line = self._lines[queue.name] = Line(queue.name, dequeuer, concurrency, limits=limits)
        else:
            if queue.dequeuer is None and isinstance(line.dequeuer, LocalLimit) and not line.idle.is_set():
                dequeuer = line.dequeuer  # the jobs that run count on
                dequeuer.resize(concurrency)
            line.dequeuer, line.concurrency = dequeuer, concurrency
            line.freed.set()
            if not line.idle.is_set():
                return
            line.ending, line.idle = False, anyio.Event()
        self._jobs.start_soon(poll, line, self._source)

    def _limited(self, limit: Limit, queue: str, concurrency: float) -> Dequeuer:
        assert self._services is not None
        if self._limits is None:
            raise ConfigError("queues", f"{queue!r} has a limit for all nodes, and there is no place where it is kept")
        local = LocalLimit(concurrency)
        return Limited(limit, queue, local, self._limits, self._source.claim, self._services.start_soon)
