"""Performs jobs: finds the worker, binds the arguments, runs it inside the middlewares, judges, and has it settled.

A job keeps its slot until its outcome is written.  Each run is under a cancel scope; what cancelled it is noted in the
run, so that a timeout, a stop, a cancelled job and a lost claim stay apart.  The code after the scope is not cancelled
by it: no shield is needed to send a job back.
"""

from __future__ import annotations

import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from functools import partial
from math import inf
from threading import Lock
from time import perf_counter
from typing import Literal, TypeAlias, cast

import anyio
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup

from ..activejob import wrapped_args
from ..errors import Interrupted, JobCancelled, JobTimeout, LostClaim, RedisUnavailable, UnknownWorker
from ..job import Job
from ..metrics import Meter
from ..middleware import Middleware, Run, current_run, through
from ..outcome import Dead, Discard, Halt, Policy, Settlement, Snooze, failed_job, judge, push_back
from ..resource import Stock
from ..worker import BoundWorker, Registry
from .dequeuer import Line
from .exhausted import tell_exhausted
from .rescuer import CROWD
from .reserving import Dequeuer
from .settler import Settler
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

Cut: TypeAlias = Literal["", "stop", "cancelled", "lost"]
"""What cancelled a run from outside: nothing, the node's stop, an operator, or another node that took the job."""


@attrs.define(eq=False)
class Running(Run):
    """A run that is under way on this node."""

    line: Line = attrs.field(kw_only=True)
    """The queue that it came from."""
    dequeuer: Dequeuer = attrs.field(kw_only=True)
    """The dequeuer that it has a slot of; the line may have got another since."""
    number: int = attrs.field(kw_only=True)
    """Its number on the line."""
    started: float = attrs.field(kw_only=True)
    """Unix seconds."""
    scope: anyio.CancelScope | None = None
    """Cancels the run; None before it begins and when it has ended."""
    cut: Cut = ""
    """Why it was cancelled."""
    worker: str = ""
    """Name of the worker that performs it; empty until that is found."""
    began: float = 0.0
    """When its worker was found (seconds of a clock for durations)."""
    took: float = 0.0
    """Seconds from then until it ended."""
    judged: float | None = None
    """Unix seconds at which it was found to have failed for good; None: it was not asked yet."""
    turn: Lock = attrs.field(factory=Lock)
    """Taken by the thread that begins with it, or by who cancels it before that; never given back."""

    def cancel(self, cut: Cut) -> None:
        """End the run early, for the reason *cut*; the first reason stays.

        A stop leaves a thread alone that has begun: it may still end in time, and what it did is then not done again.
        """
        if not self.cut:
            self.cut = cut
        begun = not self.turn.acquire(blocking=False)
        if self.scope is not None and not (begun and cut == "stop"):
            self.scope.cancel()


MOST_IDLE = 100
"""Tasks that stay to wait for the next job, after many have run at a time."""


class Performer:
    """Performs the jobs of a node, each in a task that may then perform another one.

    To start a task and to open a cancel scope costs as much as all the rest of a small job (15 and 6 of 40 µs,
    measured).  A task that has ended its job therefore takes the next one that is ready, under the same scope.  Each
    job still has a context of its own.
    """

    def __init__(
        self,
        workers: Registry,
        stack: Sequence[Middleware],
        store: Store,
        settler: Settler,
        policy: Policy,
        clock: Callable[[], float],
        chance: Callable[[], float],
        threads: int,
        meter: Meter,
        stock: Stock,
    ) -> None:
        self._meter = meter
        self._workers = workers
        self._stock = stock
        self._stack = stack
        self._store = store
        self._settler = settler
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._threads = anyio.CapacityLimiter(threads)
        self._ready: deque[Running] = deque()
        self._idle: list[anyio.Event] = []
        self._alone = anyio.Lock()
        self.running: dict[int, Running] = {}
        """The runs whose outcome is not yet written, by identity, in the order of their start."""
        self.in_threads: set[int] = set()
        """The runs that a thread is at work on, by identity; some may have been given up."""

    def start(self, tasks: TaskGroup, line: Line, job: Job, number: int) -> None:
        """Take a slot for *job* and have a task of *tasks* perform it."""
        _tell(line.dequeuer.dispatched, job)
        run = Running(job, line=line, dequeuer=line.dequeuer, number=number, started=self._clock())
        self.running[id(run)] = run
        self._ready.append(run)
        if len(self._ready) == 1:
            self._wake(tasks)

    def _wake(self, tasks: TaskGroup) -> None:
        if self._idle:
            self._idle.pop().set()
        else:
            tasks.start_soon(self._perform_many, tasks)

    async def _perform_many(self, tasks: TaskGroup) -> None:
        """Perform what is ready, one job after the other; the task ends when enough others are idle."""
        self._wake_others(tasks)
        while True:
            run, ended = None, None
            with anyio.CancelScope() as scope:
                while (run := await self._next(tasks)) is not None:
                    if run.cut:
                        self._settle(run, JobCancelled(), was_cut=True)  # before it began
                        continue
                    ended = None
                    run.scope = scope
                    ended = await self._ended(run)
                    run.scope = None
                    if scope.cancel_called:
                        break  # this scope is spent, although the job ended by itself
                    self._settle(run, ended)
            if run is None:
                return
            run.scope = None
            self._settle(run, JobCancelled() if scope.cancelled_caught else ended, was_cut=True)

    async def _next(self, tasks: TaskGroup) -> Running | None:
        """The next run that is ready; None when this task is not needed any more."""
        while not self._ready:
            if len(self._idle) >= MOST_IDLE:
                return None
            woken = anyio.Event()
            self._idle.append(woken)
            await woken.wait()
            self._wake_others(tasks)
        return self._ready.popleft()

    def _wake_others(self, tasks: TaskGroup) -> None:
        """Have two more tasks look for work, if there is more than this task is about to take.

        So there is always one on its way while anything is ready, every job starts even if all of them block, and jobs
        that never block are all performed by the first task, while the others need not be started.
        """
        for _ in range(min(len(self._ready) - 1, 2)):
            self._wake(tasks)

    def _settle(self, run: Running, ended: object, *, was_cut: bool = False) -> None:
        """Have the outcome of *run* written."""
        run.took = perf_counter() - run.began
        settlement = self._outcome(run, ended, was_cut)
        if settlement is None:
            self._release(run, failed=False)
            return
        if run.line.near_head(run.number):
            settlement = attrs.evolve(settlement, near_head=True)
        self._settler.submit(settlement, partial(self._written, run, settlement))

    def _written(self, run: Running, settlement: Settlement, was_there: bool) -> None:
        failed = settlement.failed == 1
        if not was_there:
            job = run.job
            logger.warning("outcome not counted, the job is no longer ours: jid=%s worker=%s", job.jid, job.worker)
        elif settlement.processed and run.worker:
            # Sidekiq too counts by worker only what it has a class for, so that names are bounded.
            self._meter.count(run.worker, run.took, failed=failed)
        self._release(run, failed=failed)

    def _release(self, run: Running, *, failed: bool) -> None:
        """Free the slot of *run*."""
        del self.running[id(run)]
        _tell(run.dequeuer.failed if failed else run.dequeuer.processed, run.job)
        run.line.release(run.number)

    def _outcome(self, run: Running, ended: object, was_cut: bool) -> Settlement | None:
        """What is to be written of the run; None when nothing may be written."""
        job = run.job
        if run.cut == "lost":
            logger.warning("run stopped, another node has taken the job: jid=%s worker=%s", job.jid, job.worker)
            return None
        if run.cut == "stop" and (was_cut or id(run) in self.in_threads) and isinstance(ended, BaseException):
            if id(run) in self.in_threads:
                logger.error("thread does not end, its job stays for recovery: jid=%s worker=%s", job.jid, job.worker)
                return None
            logger.info("out of time, back to its queue: jid=%s worker=%s queue=%s", job.jid, job.worker, job.queue)
            return push_back(job)
        now = self._clock() if run.judged is None else run.judged
        settlement = judge(job, ended, now, self._chance(), self._policy_of(job))
        if settlement.kind != "done":
            _log(job, settlement, ended, max(0.0, now - run.started))
        return settlement

    async def perform(self, run: Running) -> tuple[object, Settlement | None]:
        """Perform *run* in the calling task: how it ended, and what is to be written, which is left to the caller."""
        try:
            ended = await self._ended(run)
        except Interrupted as error:
            raise error.interrupt from None
        return ended, self._outcome(run, ended, was_cut=False)

    def _policy_of(self, job: Job) -> Policy:
        """How failures of its worker are treated: its own declaration comes before the configuration."""
        try:
            worker = self._workers.worker_of(job)
        except UnknownWorker:
            return self._policy
        retries = worker.options.max_retries
        if worker.backoff is None and worker.rule is None and (retries is None or retries is True):
            return self._policy
        return attrs.evolve(
            self._policy,
            max_retries=self._policy.max_retries if retries is None or retries is True else int(retries),
            backoff=worker.backoff or self._policy.backoff,
            rule=worker.rule,
        )

    async def _ended(self, run: Running) -> object:
        """What the run returned, or the exception that ended it; only a cancellation of the scope goes on."""
        context = copy_context()
        context.run(current_run.set, run)
        try:
            try:
                if run.job.rescue_count >= CROWD:
                    # It may be the one that kills its node: beside no other such job, only the killer is blamed.
                    async with self._alone:
                        await self._note_alone(run)
                        return await in_context(self._run(run), context)
                return await in_context(self._run(run), context)
            except BaseException as error:
                cancelled = isinstance(error, anyio.get_cancelled_exc_class()) and _really_cancelled()
                if cancelled or isinstance(error, KeyboardInterrupt):
                    raise
                await self._tell_exhausted(run, error, context)
                return error
        except KeyboardInterrupt as interrupt:
            # Ctrl-C is meant for the program, whichever job happens to be running.
            await self._settler.settle([push_back(run.job)])
            raise Interrupted(interrupt) from None

    async def _tell_exhausted(self, run: Running, error: BaseException, context: Context) -> None:
        """Tell the worker of *error* if it is the last one.

        That is before the outcome is written: who is killed meanwhile performs the job again, and is told again.
        """
        job, worker = run.job, self._workers.workers.get(run.worker)
        if worker is None or worker.on_exhausted is None or isinstance(error, Halt):
            return
        policy, run.judged = self._policy_of(job), self._clock()
        if judge(job, error, run.judged, 0.0, policy).kind != "retry":
            failed = failed_job(job, error, run.judged, policy)
            await in_context(tell_exhausted(worker, failed, error, self._threads), context)

    async def _run(self, run: Running) -> object:
        job = run.job
        if ("expires_in" in job.record or "expiry" in job.record) and run.started > (job.expires_at or inf):
            raise Halt(Discard("expired"))
        worker = self._workers.worker_of(job)
        run.worker, run.began = worker.name, perf_counter()
        args = worker.bind(job.args if worker.name == job.worker else wrapped_args(job, worker))
        if job.unique_until == "start" and job.unique_token is not None:
            await self._unlock(job.unique_token, job.jid)
        call = self._call_given if worker.parameters.given else self._call
        perform = partial(call, run, worker, args)
        limit = job.timeout or worker.options.timeout
        if limit is None:
            return await through(self._stack, job, perform)
        result: object = None
        with anyio.CancelScope(deadline=anyio.current_time() + limit) as timed:
            result = await through(self._stack, job, perform)
        if timed.cancelled_caught:
            raise JobTimeout(limit)
        return result

    async def _call(self, run: Running, worker: BoundWorker, args: tuple[object, ...]) -> object:
        if worker.is_async:
            result = await cast("Awaitable[object]", worker.call(*args))
        else:
            call = partial(self._in_thread, run, worker.call, args)
            result = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        run.result = result
        return None if isinstance(result, BaseException) else result  # an error that is only returned is no failure

    async def _call_given(self, run: Running, worker: BoundWorker, args: tuple[object, ...]) -> object:
        result: object = None  # stays when a resource takes a failure upon itself, as a middleware may
        async with self._stock.lent(worker.wanted, run.job) as given:
            result = await self._call(run, attrs.evolve(worker, call=partial(worker.call, **given)), args)
        return result

    def _in_thread(self, run: Running, call: Callable[..., object], args: tuple[object, ...]) -> object:
        if not run.turn.acquire(blocking=False):
            return None  # cancelled before it began: the job is on its way elsewhere
        self.in_threads.add(id(run))
        try:
            return call(*args)
        finally:
            self.in_threads.discard(id(run))

    async def _note_alone(self, run: Running) -> None:
        """Have our rescuers know that, of all such jobs, this one has begun."""
        while True:
            try:
                return await self._store.runs_alone(self._settler.claim, run.job.jid)
            except RedisUnavailable:
                await self._store.available()
            except LostClaim:
                run.cancel("lost")
                await anyio.sleep_forever()

    async def _unlock(self, token: str, jid: str) -> None:
        while True:
            try:
                return await self._store.unlock(token, jid)
            except RedisUnavailable:
                await self._store.available()


@types.coroutine
def in_context(coroutine: Coroutine[object, object, object], context: Context) -> Generator[object, object, object]:
    """Await *coroutine* with every step of it inside *context*, so that what it sets stays there."""
    step: Callable[[], object] = partial(coroutine.send, None)
    while True:
        try:
            awaited = context.run(step)
        except StopIteration as end:
            return cast("object", end.value)
        try:
            step = partial(coroutine.send, (yield awaited))
        except BaseException as error:
            step = partial(coroutine.throw, error)


def _tell(dequeuer: Callable[[Job], None], job: Job) -> None:
    """Tell a dequeuer, which may be the user's own: its bug must cost no job and no slot."""
    try:
        dequeuer(job)
    except Exception:
        logger.exception("dequeuer failed: jid=%s queue=%s", job.jid, job.queue)


def _really_cancelled() -> bool:
    """Whether a cancellation that we see is that of our task, and not an exception that the job made up."""
    return anyio.current_effective_deadline() == float("-inf")


def _log(job: Job, settlement: Settlement, ended: object, seconds: float) -> None:
    if isinstance(ended, Halt):
        ended = ended.verdict
    error = ended if isinstance(ended, BaseException) else None
    level = logging.INFO if isinstance(ended, (Snooze, Discard)) else logging.WARNING
    logger.log(
        level, "job %s: jid=%s worker=%s queue=%s seconds=%.6f reason=%s", settlement.kind, job.jid, job.worker,
        job.queue, seconds, settlement.problem or _reason(ended), exc_info=error,
    )  # fmt: skip


def _reason(ended: object) -> str:
    return ended.reason if isinstance(ended, (Discard, Dead)) else type(ended).__name__
