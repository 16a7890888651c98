"""What a mock says of jobs: those that were enqueued or wait, and those that were performed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..job import Job
from ..outcome import Kind

JobPlace: TypeAlias = Literal["queue", "schedule", "retry", "dead"]
"""Where a job is."""


@attrs.frozen(eq=False, repr=False)
class EnqueuedJob(Job):
    """A job as it is on the wire; what a :class:`~exq_anyio.job.Job` has, and where and when it is due."""

    place: JobPlace = "queue"
    """Where it is."""
    due: datetime | None = None
    """When it is due, or when it died; None for a job in its queue."""

    def __repr__(self) -> str:
        where = f"queue={self.queue}" if self.place == "queue" else f"queue={self.queue} {self.place}={self.due}"
        return f"<EnqueuedJob {self.worker} {where} args={self.args} jid={self.jid}>"


@attrs.frozen(kw_only=True)
class Performed:
    """One run of a job."""

    job: Job
    """The job as it was taken."""
    outcome: Kind
    """What became of it: "done", "discarded", "retry", "dead" or "schedule"."""
    result: object = None
    """What it returned; None if it raised."""
    error: BaseException | None = None
    """What it raised."""
