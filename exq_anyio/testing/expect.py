"""What a test expects to have been enqueued, and how it differs from what was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from ..arguments import args_to_json
from ..client import WorkerRef, outgoing
from ..config import Config
from ..job import JSON, Job
from ..spec import JobOptions, JobSpec
from ..worker import BoundWorker, FunctionWorker
from .jobs import EnqueuedJob

SHOWN = 10
"""Most jobs in a message."""

TOLERANCE = 0.01
"""Seconds by which two instants may differ: a job may keep milliseconds only."""

NAMES = {"class": "worker"}
"""What a field of the wire is called in Python."""

OPTIONS = ("jid", "unique_for", "unique_token", "unique_until", "timeout", "tags", "meta")
"""Options of a job that are looked at where it sets them itself, and are called so on the wire."""


@attrs.frozen(kw_only=True)
class Wanted:
    """Jobs that have *fields*, and are due so."""

    fields: Mapping[str, JSON]
    """Fields of the wire and their values; others are not looked at."""
    after: float | None = None
    """Seconds from the enqueuing until it is due."""
    at: datetime | None = None
    """When it is due."""

    def __str__(self) -> str:
        said = [f"{NAMES.get(name, name)}={value!r}" for name, value in self.fields.items()]
        said += [f"after={self.after:g}"] if self.after is not None else []
        said += [f"at={self.at}"] if self.at is not None else []
        return " ".join(said) or "anything"

    def differences(self, job: EnqueuedJob) -> list[str]:
        """How *job* is not what is wanted; nothing when it is."""
        found: list[str] = []
        for name, value in self.fields.items():
            given = job.queue if name == "queue" else job.record.get(name)
            if given != value:
                found.append(f"{NAMES.get(name, name)} is {given!r}, not {value!r}")
        if self.at is not None and not _equal(job.due, self.at):
            found.append(f"due {job.due or 'at once'}, not {self.at}")
        if self.after is not None and not _equal(job.due, (created := job.created_at) and created + _after(self.after)):
            waits = (job.due - created).total_seconds() if job.due and created else 0
            found.append(f"due after {waits:g} s, not {self.after:g} s")
        return found


def _after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _equal(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and abs((one - other).total_seconds()) < TOLERANCE


def wire_name(worker: WorkerRef) -> str:
    """What *worker* is called on the wire."""
    if isinstance(worker, str):
        return worker
    if isinstance(worker, FunctionWorker):
        return worker.name
    name: str = getattr(worker, "worker_name", worker.__name__)
    return name


def wanted(
    worker: JobSpec | WorkerRef | None,
    args: Sequence[object] | None,
    queue: str | None,
    after: float | timedelta | None,
    at: datetime | None,
    fields: Mapping[str, object],
) -> Wanted:
    """What :meth:`exq_anyio.testing.Mock.assert_enqueued` was given."""
    expected: dict[str, JSON] = {}
    options = None
    if isinstance(worker, JobSpec):
        options = worker.options
        usual = worker.declared.options if isinstance(worker.declared, BoundWorker) else JobOptions()
        record = Job.decode(outgoing(worker, Config(), 0.0).payload).record
        names = ["class", "args", "queue", *options.extra]
        names += [name for name in OPTIONS if getattr(options, name) != getattr(usual, name)]
        names += ["retry"] if options.max_retries != usual.max_retries else []
        expected = {name: record.get(name) for name in names}
    elif worker is not None:
        expected["class"] = wire_name(worker)
    if args is not None:
        expected["args"] = args_to_json(str(expected.get("class", "job")), tuple(args))
    if queue is not None:
        expected["queue"] = queue
    as_json = args_to_json("job", tuple(fields.values()))
    expected |= dict(zip(fields, as_json, strict=True))
    if after is None and options is not None:
        after = options.after
    if at is None and options is not None:
        at = options.at
    return Wanted(fields=expected, after=after.total_seconds() if isinstance(after, timedelta) else after, at=at)


def report(expected: Wanted, sent: Sequence[EnqueuedJob], found: int, count: int | None) -> str:
    """Why an assertion fails: what was expected, and what was enqueued, the most similar first."""
    how_many = {0: "no job was", 1: "one job was"}.get(found, f"{found} jobs were")
    rest = "" if count is None else f", where there should be {count}"
    lines = [f"{how_many} enqueued with {expected}{rest}"]
    if not sent:
        return "\n".join([*lines, "nothing was enqueued at all"])
    ranked = sorted(sent, key=lambda job: len(expected.differences(job)))
    lines.append(f"what was enqueued{', the most similar first' if len(sent) > 1 else ''}:")
    for job in ranked[:SHOWN]:
        lines.append(f"  {_line(job)}")
        lines += [f"      {difference}" for difference in expected.differences(job)]
    if len(sent) > SHOWN:
        lines.append(f"  and {len(sent) - SHOWN} more")
    return "\n".join(lines)


def _line(job: EnqueuedJob) -> str:
    due = "" if job.due is None else f" due {job.due}"
    return f"{job.worker}({', '.join(map(repr, job.args))}) queue={job.queue}{due}"
