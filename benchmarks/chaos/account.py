"""The account: what every job was to come to, and what the processes wrote down.

The rule for runs is promise 2: of two runs of a job at the same step (the same number of failures and snoozes counted)
one is void: its process was killed or left it behind, a stop sent it back, or its node lost its claim, because it was
frozen or cut off for too long.  It is usually the first; but who wakes up may also start what it had fetched long ago.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import attrs

from .jobs import Fate
from .ledger import Entry, read

LOST = "claim lost"
"""Why the runs of a node are void that was taken for dead."""


@attrs.define
class Run:
    """One run of one job by one process."""

    jid: str
    process: str
    step: str
    """Failures and snoozes counted before it."""
    taken: float
    how: str = ""
    """How it ended: done, failed, snoozed, cut; empty when nobody knows."""
    over: float | None = None
    """When the engine had done with it."""
    void: str = ""
    """Why the engine did not account for it; empty when it did."""
    robbed: bool = False
    """Whether its node had been taken for dead when it began, and did not know it yet."""

    @property
    def counted(self) -> bool:
        """Whether its outcome was surely written."""
        return self.over is not None and not self.void and self.how in ("done", "failed", "snoozed")


@attrs.define
class Job:
    """One job."""

    fate: Fate
    told: str = "sent"
    """What its producer was told last: accepted, conflict, failed, uncertain; sent when it was told nothing."""
    runs: list[Run] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Remains:
    """What Redis holds at the end."""

    processed: int
    failed: int
    dead: Counter[str]
    """Jids in the dead set."""
    pending: Mapping[str, int]
    """Jobs in every key where a job can still be: queues, backup queues, schedule, retry."""
    locks: frozenset[str]
    """Unique locks that are held."""
    nodes: frozenset[str]
    """Keys that tell of nodes."""


@attrs.frozen
class Account:
    """Everything together."""

    jobs: Mapping[str, Job]
    remains: Remains
    events: Counter[str]
    """How often each kind of line was written."""

    @property
    def existing(self) -> dict[str, Job]:
        """The jobs that came to be: those that were accepted, and those that may have been and were seen to run."""
        return {jid: job for jid, job in self.jobs.items() if job.told == "accepted" or job.runs}

    @property
    def lost(self) -> list[str]:
        """Jobs that were accepted, or seen, and did not come to their end."""
        return [jid for jid, job in self.existing.items() if not self._ended(jid, job)]

    def _ended(self, jid: str, job: Job) -> bool:
        if job.fate.end == "dead":
            return self.remains.dead[jid] == 1
        how = "done" if job.fate.end == "done" else "failed"
        return any(run.how == how for run in job.runs) and not self.remains.dead[jid]

    @property
    def unwanted(self) -> list[str]:
        """Jobs that ran although their producer was told that they surely would not."""
        return [jid for jid, job in self.jobs.items() if job.told in ("conflict", "failed") and job.runs]

    @property
    def repeated(self) -> list[tuple[Run, Run]]:
        """Each run that was followed by another of the same job at the same step, and that one."""
        pairs: list[tuple[Run, Run]] = []
        for job in self.jobs.values():
            steps: dict[str, list[Run]] = defaultdict(list)
            for run in sorted(job.runs, key=lambda run: run.taken):
                steps[run.step].append(run)
            for runs in steps.values():
                pairs += pairwise(runs)
        return pairs

    @property
    def twice(self) -> list[Run]:
        """Runs to the end that were repeated, as promise 2 allows."""
        return [run for run, _ in self.repeated if run.how in ("done", "failed", "snoozed")]

    @property
    def unexcused(self) -> list[tuple[Run, Run]]:
        """Two runs of the same step although nothing had happened to the first, nor to the node of the second."""
        return [
            (run, after)
            for run, after in self.repeated
            if not run.void and after.void != LOST and not (after.void and after.robbed)
        ]

    @property
    def refused(self) -> list[Run]:
        """Runs that were not accounted although their node had kept its claim: somebody took the job from it."""
        return [run for job in self.jobs.values() for run in job.runs if run.void == "refused"]

    @property
    def processed(self) -> int:
        """What the counter must be: each step of each job once, however often it was run."""
        return sum(job.fate.processed for job in self.existing.values())

    @property
    def failed(self) -> int:
        """Likewise for failures."""
        return sum(job.fate.failed for job in self.existing.values())

    @property
    def miscounted(self) -> list[str]:
        """Jobs of which more steps are surely written than there are."""
        return [jid for jid, job in self.existing.items() if sum(run.counted for run in job.runs) > job.fate.processed]


def gather(directory: Path, remains: Remains) -> Account:
    """Read the ledgers in *directory*: those of producers begin with a p, of workers with a w; and the faults."""
    jobs: dict[str, Job] = {}
    events: Counter[str] = Counter()
    for path in sorted(directory.glob("p?")):
        for entry in read(path):
            if entry.event == "planned":
                jid, _, processed, failed, end = entry.words
                jobs[jid] = Job(Fate(int(processed), int(failed), end))
            else:
                jobs[entry.words[0]].told = entry.event
    gone = {entry.words[0]: entry.at for entry in read(directory / "faults") if entry.event in ("killed", "SIGTERM")}
    told = {path.name: list(read(path)) for path in sorted(directory.glob("w*-*")) if not path.suffix}
    rescues = [entry for entries in told.values() for entry in entries if entry.event == "rescued"]
    for name, entries in told.items():
        events.update(entry.event for entry in entries)
        for run in runs(entries, rescues, ended=name in gone):
            jobs[run.jid].runs.append(run)
    return Account(jobs, remains, events)


def runs(entries: Iterable[Entry], rescues: Sequence[Entry], *, ended: bool) -> list[Run]:
    """The runs of one process; *ended*: it was killed or stopped, so that its last runs need not be accounted.

    *rescues* are the ends of nodes, whoever saw them.
    """
    found: dict[str, Run] = {}
    open_runs: dict[str, Run] = {}
    up: Entry | None = None
    for entry in entries:
        match entry.event, entry.words:
            case "taken", (number, jid, step):
                found[number] = open_runs[number] = run = Run(jid, entry.process, step, entry.at)
                run.robbed = up is not None and any(
                    rescue.words == up.words and up.at < rescue.at < entry.at for rescue in rescues
                )
            case "up", _:
                up = entry
            case "end", (number, _, how):
                found[number].how = how
            case "over", (number, _):
                found[number].over = entry.at
                del open_runs[number]
            case "lost", _:
                for run in open_runs.values():
                    run.void = LOST
            case ("refused" | "back" | "left") as why, (jid,):
                for run in open_runs.values():
                    if run.jid == jid:
                        run.void = run.void or why
            case _:
                pass
    for run in open_runs.values():
        if ended:
            run.void = run.void or "process ended"
    return list(found.values())
