"""Tells what a node does.  Where nobody listens none of this is used, so that it costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import attrs
from anyio.abc import TaskGroup

from ..events import Event, EventKind, Listener, tell
from ..exchange import Outgoing
from ..job import Job, encode, seconds
from ..outcome import Halt, Settlement
from ..periodic import Tick
from .dequeuer import Line
from .performer import Performer, Running

logger: logging.Logger = logging.getLogger("exq_anyio")

Close: TypeAlias = Callable[[], object]
"""Called when the job is enqueued; not called when another node was first."""


class TellingPerformer(Performer):
    """Tells *listeners* of each job that it takes, of each run, and of what is written of it."""

    def __init__(self, *args: Any, listeners: Sequence[Listener], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listeners = listeners
        self._errors: dict[int, BaseException] = {}
        """What the runs raised whose outcome is not yet written."""

    def start(self, tasks: TaskGroup, line: Line, job: Job, number: int) -> None:
        """See :class:`~exq_anyio.node.performer.Performer`."""
        since = seconds(job.record.get("enqueued_at"))
        self._tell("fetch", job, seconds=None if since is None else max(0.0, self._clock() - since))
        super().start(tasks, line, job, number)

    async def perform(self, run: Running) -> tuple[object, Settlement | None]:
        """See :class:`~exq_anyio.node.performer.Performer`."""
        ended, settlement = await super().perform(run)
        if settlement is not None:
            self._tell_written(run, settlement)
        return ended, settlement

    async def _ended(self, run: Running) -> object:
        self._tell("start", run.job)
        ended = await super()._ended(run)
        run.took = perf_counter() - run.began
        return ended

    def _outcome(self, run: Running, ended: object, was_cut: bool) -> Settlement | None:
        settlement = super()._outcome(run, ended, was_cut)
        error = ended if isinstance(ended, BaseException) and not isinstance(ended, Halt) else None
        if settlement is None or settlement.kind == "push_back":
            error = None  # it was cut short, which is nobody's fault
        self._tell(
            "stop" if error is None else "exception",
            run.job,
            worker=run.worker,
            seconds=run.took if run.began else None,
            error=error,
            outcome=None if settlement is None else settlement.kind,
        )
        if error is not None:
            self._errors[id(run)] = error
        return settlement

    def _written(self, run: Running, settlement: Settlement, was_there: bool) -> None:
        if was_there:
            self._tell_written(run, settlement)
        super()._written(run, settlement, was_there)

    def _release(self, run: Running, *, failed: bool) -> None:
        self._errors.pop(id(run), None)
        super()._release(run, failed=failed)

    def _tell_written(self, run: Running, settlement: Settlement) -> None:
        if settlement.kind == "retry" or settlement.kind == "dead":
            job = Job.decode(settlement.entry, run.job.queue)
            self._tell(settlement.kind, job, worker=run.worker, error=self._errors.pop(id(run), None))

    def _tell(self, kind: EventKind, job: Job, **more: Any) -> None:
        node_id = self._settler.claim.node_id
        tell(self._listeners, Event(kind=kind, at=self._clock(), node_id=node_id, job=job, **more))


class Marking(Protocol):
    """A client middleware that has a part in the jobs of periodic schedules too, which no program enqueues."""

    def __exq_tick__(self, job: Job) -> tuple[Mapping[str, str], Close]:
        """Fields that *job* is to have besides its own, and what to call when it is enqueued."""
        ...


class TickTeller:
    """Tells *listeners* of each job that a periodic schedule enqueues here; before, *marks* may add fields to it."""

    def __init__(self, listeners: Sequence[Listener], marks: Sequence[Marking], clock: Callable[[], float]) -> None:
        self._listeners = listeners
        self._marks = marks
        self._clock = clock
        self._closes: dict[str, list[Close]] = {}
        """By jid: what to call when the job is enqueued."""

    @classmethod
    def build(
        cls, listeners: Sequence[Listener], client_middleware: Sequence[object], clock: Callable[[], float]
    ) -> TickTeller | None:
        """One for what a configuration has; None when nobody there is to be told."""
        marks: list[Any] = [one for one in client_middleware if hasattr(one, "__exq_tick__")]
        return cls(listeners, marks, clock) if listeners or marks else None

    def before(self, ticks: Sequence[Tick]) -> list[Tick]:
        """*ticks* as they are to be enqueued."""
        self._closes.clear()  # of those that were refused, or that a lost reply tells nothing of
        if not self._marks:
            return list(ticks)
        return [attrs.evolve(tick, jobs=tuple(self._marked(job) for job in tick.jobs)) for tick in ticks]

    def after(self, tick: Tick, enqueued: int | None, node_id: str) -> None:
        """The node *node_id* has enqueued that many jobs of *tick*, None when another one was first.

        All jobs of a tick want the same unique lock, if any: those that were kept out are the last ones.
        """
        for job in tick.jobs[: enqueued or 0]:
            for close in self._closes.pop(job.jid, ()):
                _guarded(close)
            if self._listeners:
                told = Job.decode(job.payload, job.queue)
                tell(self._listeners, Event(kind="enqueue", at=self._clock(), node_id=node_id, job=told))

    def _marked(self, job: Outgoing) -> Outgoing:
        read = Job.decode(job.payload, job.queue)
        fields: dict[str, str] = {}
        for mark in self._marks:
            try:
                added, close = mark.__exq_tick__(read)
            except Exception:
                logger.exception("client middleware failed for a periodic job: jid=%s worker=%s", job.jid, read.worker)
                continue
            fields |= added
            self._closes.setdefault(job.jid, []).append(close)
        return attrs.evolve(job, payload=encode({**fields, **read.record})) if fields else job


def _guarded(close: Close) -> None:
    try:
        close()
    except Exception:
        logger.exception("client middleware failed for a periodic job that is enqueued")
