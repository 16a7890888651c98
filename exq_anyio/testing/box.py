"""What the code of one test enqueues: kept in memory, and performed by what performs jobs on a node."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import cast

import attrs

from ..config import Config
from ..exchange import Claim, Outgoing
from ..job import Job
from ..metrics import Meter
from ..middleware import Middleware, default_middleware
from ..node.dequeuer import Line, LocalLimit
from ..node.performer import Performer, Running
from ..node.scheduler import due_move, promote_due
from ..node.settler import Settler
from ..node.telling import TellingPerformer
from ..outcome import Halt, Policy, Settlement, push_back
from ..resource import AnyResource, Stock, Supply
from ..worker import Registry
from .caller import in_callers_thread
from .clock import MovedClock
from .idle import NODE_ID
from .jobs import EnqueuedJob, JobPlace, Performed
from .memory import MemoryStore
from .world import KEYS, World

CHANCE = 0.5
"""What chance always says, so that a retry is due at the same second each time."""

SETS: tuple[JobPlace, ...] = ("schedule", "retry", "dead")


@attrs.frozen
class Crew:
    """An instance as far as it performs jobs."""

    config: Config
    workers: Registry

    def policy(self) -> Policy:
        """How failures are treated."""
        config = self.config
        return Policy(max_retries=config.max_retries, backoff=config.backoff, timestamps=config.timestamps)


@attrs.define(eq=False)
class Shared:
    """What is the same in all modes of a mock."""

    clock: MovedClock = attrs.field(factory=MovedClock)
    nodes: list[Crew] = attrs.field(factory=list[Crew])
    """The instances that were opened to perform jobs."""
    resources: tuple[AnyResource, ...] = ()
    """What the test gives."""

    def supply(self, config: Config) -> Supply:
        """The resources that *config* names, but for those that the test gives."""
        return Supply.build(config.resources).replaced(self.resources)


class Site:
    """One namespace, and a node that takes from it what it is told to."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._clock = shared.clock
        self.world: World = World(shared.clock.now)
        self.store: MemoryStore = MemoryStore(self.world)
        self.crews: list[Crew] = []
        """The instances that have put jobs in, the last one at the end."""
        self._claim = Claim(NODE_ID, secrets.token_hex(8))
        self.world.claim(self._claim, {})

    def join(self, crew: Crew) -> None:
        """Note that the instance *crew* puts jobs in, and may perform them."""
        if crew not in self.crews:
            self.crews.append(crew)

    # -- what is there

    def kept(self) -> Iterator[EnqueuedJob]:
        """Every job that waits or is dead."""
        for queue in sorted(self.world.sets[KEYS.queues]):
            for payload in reversed(self.world.lists[KEYS.queue(queue)]):
                yield _kept(payload, queue, "queue", None)
        for place in SETS:
            for member, score in self.world.sorted_sets[place].items():
                yield _kept(member, None, place, score)

    def next_due(self, queue: str | None) -> float | None:
        """Unix seconds at which the next job is due that is to go into *queue* (None: any)."""
        waiting = [job for job in self.kept() if job.place in ("schedule", "retry") and queue in (None, job.queue)]
        return min((self.world.sorted_sets[job.place][job.payload] for job in waiting), default=None)

    async def promote(self) -> None:
        """Move what is due to its queue."""
        if not self.crews:
            return  # somebody has looked, and nobody put anything in
        policy = self.crews[-1].policy()
        await promote_due(self.store, "schedule", policy)
        await promote_due(self.store, "retry", policy)

    def promote_early(self, job: Outgoing) -> bytes:
        """Move the scheduled *job* to its queue before it is due; its payload there."""
        move = due_move(job.payload, "schedule", self._clock.now(), self.crews[-1].policy())
        self.world.promote("schedule", [move], self._clock.now())
        return move.payload

    # -- to perform

    async def perform(self, payload: bytes, queue: str) -> Performed:
        """Take the job *payload* out of *queue*, perform it in the calling task and write its outcome.

        The resources of a node are held for this job alone.
        """
        job = Job.decode(payload, queue)
        crew = self._crew(job.worker)
        supply = self._shared.supply(crew.config)
        Registry({name: crew.workers.workers[name] for name in {job.worker} & crew.workers.workers.keys()}).check(
            supply
        )
        async with supply.entered() as stock:
            self._take(payload, queue)
            return await self._perform(job, crew, stock)

    async def _perform(self, job: Job, crew: Crew, stock: Stock) -> Performed:
        config = crew.config
        listeners = {"listeners": config.listeners} if config.listeners else {}
        performer = (TellingPerformer if listeners else Performer)(
            in_callers_thread(crew.workers, job.worker),
            cast("tuple[Middleware, ...]", default_middleware if config.middleware is None else config.middleware),
            self.store,
            cast("Settler", self),
            crew.policy(),
            self._clock.now,
            lambda: CHANCE,
            config.threads,
            Meter(config.timestamps, self._clock.now),
            stock,
            **listeners,
        )
        limit = LocalLimit(1)
        run = Running(job, line=Line(job.queue, limit), dequeuer=limit, number=1, started=self._clock.now())
        try:
            ended, settlement = await performer.perform(run)
        except BaseException:
            # The caller was cancelled: the job goes back, as on a node that stops.
            self._settle([push_back(job)])
            raise
        assert settlement is not None  # nothing can have cut it
        self._settle([settlement])
        error = ended if isinstance(ended, BaseException) and not isinstance(ended, Halt) else None
        return Performed(job=job, outcome=settlement.kind, result=None if error else run.result, error=error)

    @property
    def claim(self) -> Claim:
        """What a performer asks of its settler, as well."""
        return self._claim

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """What a performer asks of its settler."""
        return self._settle(settlements)

    def _settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        config, now = self.crews[-1].config, self._clock.now()
        self._claim.settles += 1
        oldest = now - config.dead_timeout_in_seconds
        return self.world.settle(self._claim, self._claim.settles, settlements, now, config.dead_max_jobs, oldest)

    def _take(self, payload: bytes, queue: str) -> None:
        self.world.lists[KEYS.queue(queue)].remove(payload)
        self.world.lists[KEYS.backup(self._claim.node_id, queue)].appendleft(payload)

    def _crew(self, worker: str) -> Crew:
        """The last instance that knows *worker*, first of those with a node; else the last one, which says so."""
        namespace = self.crews[-1].config.namespace
        nodes = [crew for crew in self._shared.nodes if crew.config.namespace == namespace]
        known = [crew for crew in (*self.crews, *nodes) if worker in crew.workers.workers]
        return known[-1] if known else self.crews[-1]


def _kept(payload: bytes, queue: str | None, place: JobPlace, score: float | None) -> EnqueuedJob:
    job = Job.decode(payload, queue)
    due = None if score is None else datetime.fromtimestamp(score, UTC)
    return EnqueuedJob(job.record, payload, job.queue, place, due)


class Box:
    """The jobs of one mode of a mock."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lock = Lock()  # callers that block are threads, of which a test may have many
        self._sites: dict[str, Site] = {}
        self._numbers: dict[str, int] = {}
        self.sent: list[EnqueuedJob] = []
        """Every job that was enqueued, in order, as it was then."""

    def push(self, jobs: Sequence[Outgoing], crew: Crew) -> dict[int, str]:
        """Keep *jobs* that the instance *crew* enqueues; what keeps some out, as :class:`~exq_anyio.outbox.Outbox`."""
        with self._lock:
            site = self._site(crew)
            site.world.tick()
            holders = site.world.push(jobs)
        self.note(jobs, holders)
        return holders

    def note(self, jobs: Sequence[Outgoing], holders: dict[int, str]) -> None:
        """Note that *jobs* were enqueued, but for *holders*."""
        for at, job in enumerate(jobs):
            if at not in holders:
                self._numbers.setdefault(job.jid, len(self._numbers))
                place: JobPlace = "queue" if job.due is None else "schedule"
                self.sent.append(_kept(job.payload, job.queue, place, job.due))

    def kept(self) -> list[EnqueuedJob]:
        """Every job that waits or is dead, those first that were enqueued first."""
        found = [job for site in self._sites.values() for job in site.kept()]
        return sorted(found, key=lambda job: self._numbers[job.jid])

    def clear(self) -> None:
        """Forget all jobs."""
        self.sent.clear()
        for namespace, site in self._sites.items():
            self._sites[namespace] = Site(self._shared)
            self._sites[namespace].crews = site.crews

    async def perform_at_once(self, jobs: Sequence[Outgoing], holders: dict[int, str], crew: Crew) -> None:
        """Perform *jobs*, which have just been pushed but for *holders*; raises what the first that fails raises."""
        site = self._site(crew)
        for at, job in enumerate(jobs):
            if at not in holders:
                payload = job.payload if job.due is None else site.promote_early(job)
                performed = await site.perform(payload, job.queue)
                if performed.error is not None:
                    raise performed.error

    async def perform_next(self, queue: str | None, until: float | None) -> Performed | None:
        """Perform the job that was enqueued first of those that are due, else move the clock to when one is due.

        *until* is the instant beyond which the clock is not moved; None when there is nothing left to perform.
        """
        while True:
            for site in self._sites.values():
                await site.promote()
            waiting = (
                (self._numbers[job.jid], site, job)
                for site in self._sites.values()
                for job in site.kept()
                if job.place == "queue" and queue in (None, job.queue) and job.queue not in site.world.sets[KEYS.paused]
            )
            first = min(waiting, default=None, key=lambda one: one[0])
            if first is not None:
                _, site, job = first
                return await site.perform(job.payload, job.queue)
            due = min((at for site in self._sites.values() if (at := site.next_due(queue)) is not None), default=None)
            if due is None or (until is not None and due > until):
                return None
            await self._shared.clock.reach(due)

    def world(self, namespace: str) -> World:
        """What is in a namespace."""
        return self._named(namespace).world

    def _site(self, crew: Crew) -> Site:
        site = self._named(crew.config.namespace)
        site.join(crew)
        return site

    def _named(self, namespace: str) -> Site:
        if namespace not in self._sites:
            self._sites[namespace] = Site(self._shared)
        return self._sites[namespace]
