"""A stand-in for Redis: jobs are kept, or performed at once, by the very code that does it in production."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from datetime import datetime, timedelta
from functools import partial
from threading import Thread
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import anyio
import anyio.lowlevel
import attrs

from .. import outbox
from ..api import Api, PeriodicApi
from ..client import WorkerRef, template
from ..config import Config, RedisOptions
from ..errors import WrongMode
from ..exchange import Outgoing
from ..job import new_jid
from ..outbox import Outbox, StandIn
from ..resource import Resource, Supply
from ..spec import JobSpec
from ..timetable import Timetable
from ..worker import Registry
from . import caller, expect
from .box import Box, Crew, Shared
from .idle import IdleNode
from .jobs import EnqueuedJob, JobPlace, Performed
from .keeper import MemoryKeeper, NoTimetable
from .ticks import enqueue, ticks

T = TypeVar("T")

MockMode: TypeAlias = Literal["fake", "inline", "redis"]
"""What becomes of jobs: they are kept, or performed at once, or go to Redis as ever."""


@attrs.frozen(eq=False)
class _Scope:
    """A mode, for one test and what it starts."""

    mode: MockMode
    box: Box
    test: int
    """Number of the test that it is of."""


_scopes: ContextVar[Mapping[Mock, _Scope]] = ContextVar("exq_anyio_mock_scopes", default={})  # noqa: B039  # never changed
_tests_ended = 0


def test_has_ended() -> None:
    """Forget what :meth:`Mock.set_mode` has set, in whatever context; the pytest plugin calls this after each test."""
    global _tests_ended
    _tests_ended += 1


class Mock(StandIn):
    """Takes the jobs that are enqueued in the block of ``with Mock():``, and in the tasks and threads it starts.

    It needs no Redis, except in the mode "redis".  Whatever enqueues there is affected: ``exq.open``, ``exq.sync``, and
    instances opened before.  An instance that says ``queue_adapter=mock`` is affected everywhere.

    - "fake": jobs are kept, see :meth:`jobs` and :meth:`drain`.
    - "inline": a job is performed when it is enqueued, scheduled ones too, in the caller's task; what it raises is
      raised there, with the job in ``retry`` or ``dead`` as in production, and those after it in the call wait.
    - "redis": jobs go to the Redis that the instance names, or to *url*, and nodes perform them as ever.

    Jobs are checked, written, read, wrapped in middleware, performed and judged by the code that does it in production.

    *mode* is for whoever has not called :meth:`set_mode`.  *url* (or what returns it, called when it is needed) and
    *namespace* (a prefix) replace what instances name themselves.  *everywhere*: also for tasks and threads that were
    there before, as a test needs for an app that it has not started itself.
    """

    def __init__(
        self,
        mode: MockMode = "fake",
        *,
        url: str | Callable[[], str] | None = None,
        namespace: str | None = None,
        everywhere: bool = False,
    ) -> None:
        self._shared = Shared()
        self._clock = self._shared.clock
        self._default = _Scope(_checked(mode), Box(self._shared), -1)
        self._url = url
        self._namespace = namespace
        self._everywhere = everywhere
        self._before: list[StandIn | None] = []

    def __repr__(self) -> str:
        return f"<Mock {self.mode}: {len(self._scope.box.sent)} jobs enqueued>"

    # -- what is in force

    def __enter__(self) -> Mock:
        self._before.append(outbox.in_context.get())
        outbox.in_context.set(self)
        if self._everywhere:
            outbox.everywhere.append(self)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # Not by a token: fixtures may be torn down in another context than they were set up in.
        outbox.in_context.set(self._before.pop())
        if self._everywhere:
            outbox.everywhere.remove(self)
        _scopes.set({mock: scope for mock, scope in _scopes.get().items() if mock is not self})

    @property
    def mode(self) -> MockMode:
        """The mode here and now."""
        return self._scope.mode

    def set_mode(self, mode: MockMode) -> AbstractContextManager[None]:
        """Another mode, and no jobs yet, for this test: for the calling context and what it starts from now on.

        It ends with the block of ``with mock.set_mode(...):``, or else with the context; the pytest plugin ends it with
        the test.  Tests that run beside each other, each in a task of its own, do not see each other's jobs.
        """
        before = _scopes.get()
        _scopes.set({**before, self: _Scope(_checked(mode), Box(self._shared), _tests_ended)})
        return _restored(before)

    @property
    def _scope(self) -> _Scope:
        scope = _scopes.get().get(self)
        return self._default if scope is None or scope.test != _tests_ended else scope

    # -- to look

    def jobs(
        self, queue: str | None = None, worker: WorkerRef | None = None, place: JobPlace | None = None
    ) -> list[EnqueuedJob]:
        """The jobs that wait to be performed: in a queue, scheduled, or to be retried; with *place* those there.

        In the order in which they were enqueued; *queue* and *worker* choose among them.

        Raises:
            WrongMode: they are in Redis.
        """
        found = self._kept("jobs").kept()
        name = None if worker is None else expect.wire_name(worker)
        return [
            job
            for job in found
            if queue in (None, job.queue) and name in (None, job.worker) and _is_at(job.place, place)
        ]

    def enqueued(self, queue: str | None = None, worker: WorkerRef | None = None) -> list[EnqueuedJob]:
        """All jobs that were enqueued, in order and as they were then, whatever became of them; in every mode."""
        name = None if worker is None else expect.wire_name(worker)
        return [job for job in self._scope.box.sent if queue in (None, job.queue) and name in (None, job.worker)]

    def clear(self) -> None:
        """Forget all jobs.  In mode "redis" they stay in Redis."""
        self._scope.box.clear()

    def assert_enqueued(
        self,
        worker: JobSpec | WorkerRef | None = None,
        args: Sequence[object] | None = None,
        *,
        queue: str | None = None,
        after: float | timedelta | None = None,
        at: datetime | None = None,
        count: int | None = None,
        **fields: object,
    ) -> list[EnqueuedJob]:
        """Fail unless a job was enqueued that is like this, and return all that are.

        *worker* is a worker, or a job (``send_welcome.job(7)``): then also its arguments, its queue and the options
        that it sets are compared.  *after* and *at* are about when it is due, *fields* those of the wire (``retry=3``).
        *count*: just as many there must be, perhaps 0.

        Raises:
            AssertionError: it says what was enqueued instead, and how that differs.
        """
        expected = expect.wanted(worker, args, queue, after, at, fields)
        sent = self._scope.box.sent
        found = [job for job in sent if not expected.differences(job)]
        if not found if count is None else len(found) != count:
            raise AssertionError(expect.report(expected, sent, len(found), count))
        return found

    # -- to perform

    def give(self, *resources: Resource[..., object]) -> None:
        """Have jobs be given these resources, instead of those of the same types that instances name.

        Raises:
            ConfigError: two of them give the same type.
        """
        self._shared.resources = (
            Supply.build(self._shared.resources).replaced(Supply.build(resources).resources).resources
        )

    async def drain(
        self,
        *,
        queue: str | None = None,
        until: float | timedelta | datetime | None = None,
        raises: bool = True,
        limit: int = 1_000,
    ) -> list[Performed]:
        """Perform what waits, and what that enqueues, one after the other in the calling task, until nothing is left.

        For scheduled jobs and retries the clock of the mock is moved; under Trio's MockClock, that one.  *until* is how
        far, an instant or seconds from now; then it ends there.  *queue*: only jobs of this queue.

        *raises*: what a job raises ends this, and is raised; else it is retried, and in the end dead.

        Raises:
            WrongMode: the jobs are in Redis.
            AssertionError: *limit* jobs were performed, and there is still something to do.
        """
        box = self._kept("drain")
        end = self._instant(until)
        performed: list[Performed] = []
        while (run := await box.perform_next(queue, end)) is not None:
            performed.append(run)
            if run.error is not None and raises:
                raise run.error
            if len(performed) >= limit:
                raise AssertionError(
                    f"{limit} jobs were performed, the last one by {run.job.worker!r}, and there are more; "
                    "if they enqueue each other for ever, say until=, or else raise the limit"
                )
        if end is not None:
            await self._clock.reach(end)
        return performed

    async def tick(self, until: float | timedelta | datetime) -> list[EnqueuedJob]:
        """Enqueue what the periodic jobs of the instances that work are due from now on; what was enqueued, in order.

        *until* is how far, an instant or seconds from now; the clock of the mock is moved there.  Nothing else enqueues
        them under a mock.

        Raises:
            WrongMode: the jobs go to Redis, where nodes enqueue them.
        """
        box, end = self._kept("tick"), self._instant(until)
        assert end is not None
        before = len(box.sent)
        for instant, definition, crew in ticks(self._shared.nodes, self._clock.now(), end):
            await self._clock.reach(instant)
            job = definition.outgoing(instant, instant, new_jid(), crew.config.timestamps)
            push = partial(self._push, crew=crew, real=None)
            await enqueue(job, crew.config, self._clock.now, push)
        await self._clock.reach(end)
        return box.sent[before:]

    def drain_sync(
        self,
        *,
        queue: str | None = None,
        until: float | timedelta | datetime | None = None,
        raises: bool = True,
        limit: int = 1_000,
    ) -> list[Performed]:
        """:meth:`drain` for a test that is no ``async def``: what blocks is performed in the calling thread."""
        drain = partial(self.drain, queue=queue, until=until, raises=raises, limit=limit)
        return caller.wait(partial(_in_loop_of_its_own, drain))

    def _instant(self, until: float | timedelta | datetime | None) -> float | None:
        if isinstance(until, datetime):
            return until.timestamp()
        if isinstance(until, timedelta):
            until = until.total_seconds()
        return None if until is None else self._clock.now() + until

    def _kept(self, what: str) -> Box:
        if self.mode == "redis":
            raise WrongMode(what, self.mode)
        return self._scope.box

    # -- what instances ask

    def settings(self, config: Config) -> Config | None:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        if self.mode != "redis":
            return None
        changes: dict[str, Any] = {}
        if self._url is not None:
            # Whatever else says where Redis is, and how to get in, is about another server.
            url = self._url if isinstance(self._url, str) else self._url()
            changes |= {"url": url, "redis_options": RedisOptions(), "username": None, "password": None, "database": 0}
        if self._namespace is not None:  # so that the namespaces of two instances stay two
            changes["namespace"] = f"{self._namespace}-{config.namespace}".removesuffix("-")
        return attrs.evolve(config, **changes)

    def node(self, config: Config) -> object:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        return IdleNode(config)

    def api(self, config: Config) -> object:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        keeper, unit = MemoryKeeper(lambda: self._kept("api").world(config.namespace)), config.timestamps
        periodic = PeriodicApi(cast("Timetable", NoTimetable()), keeper, unit, partial(template, config=config))
        return Api(keeper, self._clock.now, unit, periodic)

    def outbox(self, config: Config, workers: Registry, real: Outbox | None) -> Outbox:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        crew = Crew(config, workers)
        if "default" in config.mode:
            self._shared.nodes.append(crew)
        return _MockOutbox(self, crew, real)

    def supply(self, config: Config) -> Supply:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        return self._shared.supply(config)

    def clock(self) -> float:
        """The time of the mock (unix seconds)."""
        return self._clock.now()

    def wait(self, start: Callable[[], Future[T]]) -> T:
        """See :class:`~exq_anyio.outbox.StandIn`."""
        return caller.wait(start)

    async def _push(self, jobs: Sequence[Outgoing], crew: Crew, real: Outbox | None) -> dict[int, str]:
        scope = self._scope
        if scope.mode == "redis":
            if real is None:
                raise WrongMode("an instance that was opened without a server", scope.mode)
            holders = await real.push(jobs)
            scope.box.note(jobs, holders)
            return holders
        await anyio.lowlevel.checkpoint()  # as where a server is asked
        holders = scope.box.push(jobs, crew)
        if scope.mode == "inline":
            await scope.box.perform_at_once(jobs, holders, crew)
        return holders


@attrs.frozen(eq=False)
class _MockOutbox:
    """Where one instance puts its jobs under a mock."""

    mock: Mock
    crew: Crew
    real: Outbox | None

    async def push(self, jobs: Sequence[Outgoing]) -> dict[int, str]:
        """See :class:`~exq_anyio.outbox.Outbox`."""
        return await self.mock._push(jobs, self.crew, self.real)


def _checked(mode: MockMode) -> MockMode:
    if mode not in get_args(MockMode):
        raise ValueError(f"a mock has the modes {', '.join(get_args(MockMode))}, and not {mode!r}")
    return mode


class _restored(AbstractContextManager[None]):  # used like a function
    """Sets the scopes back to *before* at the end of its block."""

    def __init__(self, before: Mapping[Mock, _Scope]) -> None:
        self._scopes = before

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        _scopes.set(self._scopes)


def _is_at(place: JobPlace, wanted: JobPlace | None) -> bool:
    return place != "dead" if wanted is None else place == wanted


def _in_loop_of_its_own(call: Callable[[], Awaitable[T]]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(anyio.run(call))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=copy_context().run, args=(run,), name="exq drain").start()
    return future
