"""A performer that tells what it does.  Where nobody listens the plain one is used, which costs nothing for it."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from anyio.abc import TaskGroup

from ..events import Event, EventKind, Listener, tell
from ..job import Job, seconds
from ..outcome import Halt, Settlement
from .dequeuer import Line
from .performer import Performer, Running


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
