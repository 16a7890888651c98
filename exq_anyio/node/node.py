"""One node: the tree of its tasks, how it begins and how it ends.

::

    node
    └─ services   settler · heartbeat · signals · scheduler · rescuer
       └─ jobs    one poller per queue · one task per running job

The services outlive the jobs, so that the last outcome can still be written.  The tree is shielded from the
cancellation of whoever opened it: a stop takes its bounded time, and sends what is unfinished back.
"""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import suppress
from functools import partial
from itertools import chain, count

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .. import _version
from ..config import Config, QueueConfig
from ..errors import ExqError, RedisError, RedisUnavailable
from ..events import Event, EventKind, tell
from ..exchange import Beat, Claim
from ..job import Job
from ..metrics import Meter
from ..middleware import Middleware
from ..outcome import Policy
from ..worker import Registry
from . import heartbeat, identity, rescuer
from .dequeuer import Line, Source
from .health import Health, examine
from .lines import Lines
from .performer import Performer
from .periodic import Bell, Ticker
from .rescues import Rescues
from .scheduler import schedule
from .settler import Settler
from .signals import PAUSE_SIGNALS, QUIET_SIGNALS, STOP_SIGNALS, cancelled_jid, obey_signals
from .stacks import all_stacks
from .surroundings import Surroundings
from .telling import TellingPerformer, TickTeller

logger: logging.Logger = logging.getLogger("exq_anyio")

CLEANUP = 1.0
"""Seconds after the grace in which cancelled jobs are sent back, and our traces are removed.

They begin anew as long as outcomes of many jobs wait to be written, and are."""

LAST = 0.1
"""Seconds for each step after that, if it took all of them: in two seconds the end has come, with or without Redis."""


class Node:
    """One process that works on queues.  :meth:`run` is its task; the other methods may be called meanwhile."""

    def __init__(self, config: Config, workers: Registry, stack: tuple[Middleware, ...], around: Surroundings) -> None:
        self.config = config
        self._around = around
        self._store = around.store
        self.host: str = identity.host(config.node_identifier)
        self.claim: Claim = Claim("", "")
        self._policy = Policy(max_retries=config.max_retries, backoff=config.backoff, timestamps=config.timestamps)
        self.settler: Settler = Settler(around.store, self.claim, around.clock, self._lost)
        self._meter = Meter(config.timestamps, around.clock)
        listeners = {"listeners": config.listeners} if config.listeners else {}
        self.performer: Performer = (TellingPerformer if listeners else Performer)(
            workers, stack, around.store, self.settler, self._policy, around.clock, around.chance, config.threads,
            self._meter, around.stock, **listeners,
        )  # fmt: skip
        self.lines: Lines = Lines(config, self._source(), around.limits)
        self._asked: Claim | None = None
        told = (self._lost, self._tell)
        self.rescues: Rescues = Rescues(config, around.store, self._policy, self.claim, self.host, *told)
        self._pulse = heartbeat.Pulse(config.blocked_limit)
        self._stopping = anyio.Event()
        self._grace_scope = anyio.CancelScope()
        self._end = 0.0
        self._named = False
        self.unburdened: float = -math.inf
        """When, at the end, some of many outcomes that waited were written (seconds of ``time.monotonic``)."""
        self._services: TaskGroup | None = None
        self._jobs: TaskGroup | None = None
        self._started = around.clock()
        self._bell = Bell()
        self.quiet: bool = False
        """True when the node takes no more jobs."""

    @property
    def left_running(self) -> bool:
        """Whether, after the end, a thread is still at work on a job: the process has to be left without it."""
        return bool(self.performer.in_threads)

    def health(self) -> Health:
        """How the node is; from any thread."""
        return examine(
            self.claim.node_id if self.claim.token else "",
            self.lines.all(),
            self._pulse,
            poll_timeout=self.config.poll_timeout,
            quiet=self.quiet or self._stopping.is_set(),
            redis=self._store.is_available(),
            former=self.lines.former(),
        )

    # -- life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Live until :meth:`stop`: claim an identity, work, and leave nothing behind.

        Raises:
            RedisUnavailable: it cannot be reached at the start.
        """
        with anyio.CancelScope(shield=True):  # bounded by shutdown_timeout and CLEANUP once stop() is called
            try:
                await self._enter()
            except RedisUnavailable as error:
                if not error.maybe_done:
                    raise
                await self._enter()  # an id may be ours without our knowing
            try:
                await self._work(task_status)
            except BaseException:
                await self._give_up()
                self._tell("node_stop")
                raise
            await self._leave()
            self._tell("node_stop")

    async def _work(self, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as services:
            self._services = services
            self._start_services(services)
            async with anyio.create_task_group() as jobs:
                self._jobs = jobs
                self.lines.open(jobs, services)
                task_status.started()
                self._tell("node_start")
                await self._stopping.wait()
                await self._wind_down(jobs)
            with self._cleanup():
                await self.lines.drained()  # the outcomes of those that ended late, under a shield of their own
            services.cancel_scope.cancel()

    def stop(self, grace: float | None = None) -> None:
        """Take no more jobs, give those that run *grace* seconds (by default ``shutdown_timeout``), then end."""
        if grace is not None:
            self._grace_scope.deadline = min(self._grace_scope.deadline, anyio.current_time() + grace)
        if not self._stopping.is_set():
            logger.info("node is stopping: node=%s jobs=%d", self.claim.node_id, len(self.performer.running))
        self.lines.closed = True
        self._stopping.set()

    async def stopped(self) -> None:
        """Return when the node has been told to stop, by whomever."""
        await self._stopping.wait()

    def log_stacks(self) -> None:
        """Log what every task and thread is doing."""
        logger.warning("what every task and thread is doing: node=%s\n%s", self.claim.node_id, all_stacks())

    async def hush(self) -> None:
        """Take no more jobs, and go on with those that run."""
        if not self.quiet:
            logger.info("node is quiet, it takes no more jobs: node=%s", self.claim.node_id)
        self.quiet = True
        await self.lines.unsubscribe_all()

    def _start_services(self, services: TaskGroup) -> None:
        config = self.config
        services.start_soon(self.settler.run)
        services.start_soon(obey_signals, self._store, self.claim, config.poll_timeout, self._obey)
        services.start_soon(heartbeat.tick, self._pulse, self._lost)
        if config.heartbeat_enable:
            beat = partial(
                heartbeat.beat,
                claim=self.claim,
                pulse=self._pulse,
                snapshot=self._snapshot,
                written=self._beaten,
                interval=config.heartbeat_interval,
            )
            if self._around.open_store is None:
                services.start_soon(beat, self._store)
            else:
                services.start_soon(heartbeat.in_thread, self._around.open_store, beat)
            services.start_soon(self.rescues.watch)
        if config.scheduler_enable:
            services.start_soon(schedule, self._store, self._policy, self._schedule_interval)
            if (timetable := self._around.timetable) is not None:
                around, unit = self._around, config.timestamps
                teller = TickTeller.build(config.listeners, config.client_middleware, around.clock)
                ticker = Ticker(
                    timetable, around.declared, self._store.available, around.chance, unit, self._bell, teller,
                    lambda: self.claim.node_id,
                )  # fmt: skip
                services.start_soon(ticker.run)

    def _schedule_interval(self) -> float:
        # As Sidekiq does: the more nodes look, the more seldom each does, and never all at a time.
        return self.config.scheduler_poll_timeout * max(1, self.rescues.live) * (0.5 + self._around.chance())

    # -- identity

    async def _enter(self) -> None:
        """Take back what dead processes of this host left, and claim the first free id."""
        _, nodes = await self._store.nodes()
        await self.rescues.of_this_host(nodes)
        # What was asked for when a reply was lost comes first: it may be ours.
        asked = [] if self._asked is None else [self._asked]
        for wanted in chain(asked, (Claim(f"{self.host}#{number}", identity.new_token()) for number in count(1))):
            self._asked = wanted
            if await self._store.claim(wanted, identity.owner(self.config.node_limit)):
                self._asked = None
                self.claim.node_id, self.claim.settles, self.claim.token = wanted.node_id, 0, wanted.token
                logger.info("node is up: node=%s namespace=%s", wanted.node_id, self.config.namespace)
                return

    def _lost(self, token: str) -> None:
        """Another node has our jobs: stop our copies of them, and begin anew with a new claim."""
        if not token or token != self.claim.token or self._services is None:
            return  # known already: without a token we are about to claim anew
        logger.error(
            "claim lost, running jobs are stopped: node=%s jobs=%d", self.claim.node_id, len(self.performer.running)
        )
        self.claim.token = ""
        self.rescues.look_after(self.claim.node_id, 2 * self.config.node_limit)
        for run in list(self.performer.running.values()):
            run.cancel("lost")
        self._services.start_soon(self._enter_again)

    async def _enter_again(self) -> None:
        while not self.claim.token:
            try:
                await self._enter()
            except RedisUnavailable:
                await self._store.available()
            except RedisError as error:
                logger.error("cannot claim an identity: host=%s error=%s", self.host, error)
                await anyio.sleep(1.0)

    async def _give_up(self) -> None:
        """After a bug of ours: what was in progress goes back now, and need not wait for somebody to miss us."""
        if not self.claim.token or self.performer.in_threads:
            return  # what a thread is still at work on must not run beside it
        try:
            with anyio.move_on_after(CLEANUP):
                await rescuer.give_back(self._store, self.claim)
        except ExqError as error:
            logger.warning("jobs stay until they are rescued: node=%s error=%s", self.claim.node_id, error)

    async def _leave(self) -> None:
        """Remove our traces, unless a job stays for recovery or Redis is away."""
        if not self.lines.idle:
            # A server, or a network, that hung may still execute what was cut short, and put a job in our backup.
            logger.warning("a wait was cut short, traces of the node stay: node=%s", self.claim.node_id)
            return
        if self.config.heartbeat_enable and self.claim.token and self._meter.batch().number:
            with suppress(ExqError), self._cleanup():
                await self._store.beat(self.claim, self._snapshot())  # the last counts
        try:
            with self._cleanup():
                if self.claim.token and not await self._store.left_behind(self.claim.node_id):
                    await self._store.leave(self.claim)
        except RedisError as error:
            logger.warning("traces of the node stay until it is rescued: node=%s error=%s", self.claim.node_id, error)

    def _snapshot(self) -> Beat:
        """What the next beat says; called from its thread."""
        config, running = self.config, list(self.performer.running.values())
        entry = heartbeat.process_entry(
            node_id=self.claim.node_id,
            host=self.host,
            tag=config.name,
            version=_version.__version__,
            pid=os.getpid(),
            started=self._started,
            capsules=self.lines.capsules(),
            total=config.total_concurrency,
            busy=len(running),
            quiet=self.quiet,
            round_trip=self._pulse.round_trip,
        )
        return Beat(entry, heartbeat.work_entries(running, self.host), self._meter.batch())

    def _beaten(self, beat: Beat) -> None:
        self._meter.written(beat.measured)

    def _tell(self, kind: EventKind, job: Job | None = None, *, jobs: int = 0, other: str = "") -> None:
        event = Event(kind=kind, at=self._around.clock(), node_id=self.claim.node_id, job=job, jobs=jobs, other=other)
        tell(self.config.listeners, event)

    async def _obey(self, signal: str) -> None:
        word, _, rest = signal.partition(" ")
        if signal in QUIET_SIGNALS:
            await self.hush()
        elif signal in STOP_SIGNALS:
            self.stop()
        elif signal == "TTIN":
            self.log_stacks()
        elif signal == "PERIODIC":
            self._bell.ring()
        elif word in PAUSE_SIGNALS:
            await self.lines.recheck(rest)
        elif (jid := cancelled_jid(signal)) is not None:
            self.cancel(jid)
        else:
            logger.warning("unknown signal: signal=%r", signal)

    def cancel(self, jid: str) -> bool:
        """Cancel the job *jid*, which is then dead as "Canceled"; whether it runs here."""
        runs = [run for run in self.performer.running.values() if run.job.jid == jid]
        for run in runs:
            logger.info("job is cancelled: jid=%s worker=%s", jid, run.job.worker)
            run.cancel("cancelled")
        return bool(runs)

    # -- queues

    def subscriptions(self) -> dict[str, float]:
        """See :meth:`~exq_anyio.node.lines.Lines.subscriptions`."""
        return self.lines.subscriptions()

    async def subscribe(self, queue: QueueConfig) -> None:
        """See :meth:`~exq_anyio.node.lines.Lines.subscribe`."""
        await self.lines.subscribe(queue)

    async def unsubscribe(self, queue: str) -> None:
        """See :meth:`~exq_anyio.node.lines.Lines.unsubscribe`."""
        await self.lines.unsubscribe(queue)

    async def unsubscribe_all(self) -> None:
        """See :meth:`~exq_anyio.node.lines.Lines.unsubscribe_all`."""
        await self.lines.unsubscribe_all()

    def _source(self) -> Source:
        return Source(
            store=self._store,
            claim=self.claim,
            settler=self.settler,
            policy=self._policy,
            clock=self._around.clock,
            start=self._start_job,
            on_lost=self._lost,
            # A wait outlives its node on the server: it must be over before others may take the node for dead, or it
            # would move a job to a backup queue that has been cleared away.
            poll_timeout=min(self.config.poll_timeout, self.config.node_limit / 2),
            max_read_bytes=self.config.max_read_bytes,
        )

    def _start_job(self, line: Line, job: Job, number: int) -> None:
        assert self._jobs is not None
        self.performer.start(self._jobs, line, job, number)

    # -- the end

    async def _wind_down(self, jobs: TaskGroup) -> None:
        """Pollers end; jobs get their grace, then are cancelled and sent back; whoever is left stays for recovery."""
        self.quiet = True
        grace = self._grace_scope
        grace.deadline = min(grace.deadline, anyio.current_time() + self.config.shutdown_timeout)
        with grace:
            await self.lines.unsubscribe_all()
            await self.lines.drained()
        for run in list(self.performer.running.values()):
            run.cancel("stop")
        self._end = anyio.current_time() + CLEANUP
        with self._cleanup() as cleanup:
            await self.lines.unsubscribe_all()
            await self.lines.drained(partial(self._prolong, cleanup))
        self.name_unended()
        jobs.cancel_scope.cancel()

    def name_unended(self) -> None:
        """Log, once, which jobs have not come to their end; from any thread."""
        if self._named:
            return
        self._named = True
        for job, scope in [(run.job, run.scope) for run in list(self.performer.running.values())]:
            if scope is None:
                logger.error("outcome is not written, the job is recovered: jid=%s worker=%s", job.jid, job.worker)
            else:
                logger.error("job does not end, it stays for recovery: jid=%s worker=%s", job.jid, job.worker)

    def _prolong(self, cleanup: anyio.CancelScope) -> None:
        """Some outcomes were written: if others wait, they have as much time as these."""
        if self.settler.is_behind:
            self.unburdened = time.monotonic()
            self._end = cleanup.deadline = anyio.current_time() + CLEANUP

    def _cleanup(self) -> anyio.CancelScope:
        """The time that is left for the end."""
        return anyio.CancelScope(deadline=max(self._end, anyio.current_time() + LAST))
