"""The kinds of jobs: what each does, and what must become of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import anyio
import attrs

import exq_anyio as exq
from exq_anyio.client import Options

from .ledger import Ledger

QUEUES = {"fast": 40, "slow": 25, "threads": 10}
"""The queues, and how many of each one's jobs run at a time on one node."""

TOKENS = 20
"""How many unique locks the unique jobs contend for."""


@attrs.frozen
class Fate:
    """What must become of a job, whatever happens to the processes."""

    processed: int = 1
    """Runs that count as processed."""
    failed: int = 0
    """Runs that count as failed."""
    end: str = "done"
    """How the last of them ends: done, dead, or gone (it failed for good, and leaves no trace)."""


@attrs.frozen
class Planned:
    """One job to enqueue."""

    queue: str
    worker: str
    args: list[object]
    options: Options
    fate: Fate = Fate()
    after: float | None = None
    """Seconds until it is due; None: now."""
    repeat: bool = False
    """Whether an enqueue that may have happened is repeated, as a lock on its jid makes safe."""


def _quick(rng: random.Random, jid: str) -> Planned:
    return Planned("fast", "Quick", [], {})


def _nap(rng: random.Random, jid: str) -> Planned:
    return Planned("fast", "Nap", [rng.expovariate(10)], {})


def _slow(rng: random.Random, jid: str) -> Planned:
    return Planned("slow", "Nap", [rng.uniform(0.5, 3)], {})


def _thread(rng: random.Random, jid: str) -> Planned:
    return Planned("threads", "Thread", [rng.expovariate(5)], {})


def _flaky(rng: random.Random, jid: str) -> Planned:
    times = rng.randint(1, 3)
    queue, worker = rng.choice([("fast", "Flaky"), ("threads", "FlakyThread")])
    return Planned(queue, worker, [times], {}, Fate(times + 1, times))


def _dying(rng: random.Random, jid: str) -> Planned:
    retries = rng.randint(0, 2)
    return Planned("fast", "Failing", [], {"max_retries": retries}, Fate(retries + 1, retries + 1, "dead"))


def _traceless(rng: random.Random, jid: str) -> Planned:
    return Planned("fast", "Failing", [], {"max_retries": False}, Fate(1, 1, "gone"))


def _snoozing(rng: random.Random, jid: str) -> Planned:
    times = rng.randint(1, 2)
    return Planned("fast", "Snoozing", [times, rng.uniform(0.1, 1)], {}, Fate(times + 1))


def _scheduled(rng: random.Random, jid: str) -> Planned:
    return attrs.evolve(_nap(rng, jid), after=rng.uniform(0.1, 4))


def _unique(rng: random.Random, jid: str) -> Planned:
    lock: Options = {"unique_token": f"token-{rng.randrange(TOKENS)}", "unique_for": 3600}
    return Planned("slow", "Nap", [rng.uniform(0, 0.5)], lock)


def _repeated(rng: random.Random, jid: str) -> Planned:
    # The lock outlives the job: it may have run already when its enqueue is repeated.
    lock: Options = {"unique_token": jid, "unique_for": 3600, "unique_until": "expiry"}
    return Planned("fast", "Quick", [], lock, repeat=True)


_KINDS: list[Callable[[random.Random, str], Planned]] = [
    _quick, _quick, _nap, _nap, _slow, _slow, _thread, _flaky, _dying, _traceless, _snoozing, _scheduled, _unique,
    _repeated,
]  # fmt: skip


def plan(rng: random.Random, jid: str) -> Planned:
    """The next job; its id is to be *jid*."""
    return rng.choice(_KINDS)(rng, jid)


class Runs:
    """The runs of this process, numbered, and their way into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._numbers: dict[int, int] = {}
        self._last = 0

    def taken(self, job: exq.Job) -> None:
        """A run of *job* begins."""
        self._last += 1
        self._numbers[id(job)] = self._last
        self.ledger.write("taken", self._last, job.jid, f"{job.record.get('retry_count', '-')}/{job.snooze_count}")

    def over(self, job: exq.Job) -> None:
        """The engine has done with the run."""
        self.ledger.write("over", self._numbers.pop(id(job)), job.jid)

    def noted(self) -> Noted:
        """What a worker does inside of this is noted."""
        job = exq.worker_job()
        return Noted(self.ledger, self._numbers[id(job)], job)


class Noted:
    """Notes how the run ends, as its last act."""

    def __init__(self, ledger: Ledger, number: int, job: exq.Job) -> None:
        self._ledger, self._number, self.job = ledger, number, job
        self.how = "done"

    def __enter__(self) -> Noted:
        self._ledger.write("start", self._number, self.job.jid)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.how = "failed" if issubclass(kind, Exception) else "cut"
        self._ledger.write("end", self._number, self.job.jid, self.how)


def workers(runs: Runs) -> list[object]:
    """The code of the jobs."""

    @exq.worker(name="Quick")
    async def quick() -> None:
        with runs.noted():
            pass

    @exq.worker(name="Nap")
    async def nap(seconds: float) -> None:
        with runs.noted():
            await anyio.sleep(seconds)

    @exq.worker(name="Thread")
    def thread(seconds: float) -> None:
        with runs.noted():
            time.sleep(seconds)

    @exq.worker(name="Flaky")
    async def flaky(times: int) -> None:
        with runs.noted() as run:
            await anyio.sleep(0.01)
            if run.job.attempt <= times:
                raise ValueError("not yet")

    @exq.worker(name="FlakyThread")
    def flaky_thread(times: int) -> None:
        with runs.noted() as run:
            time.sleep(0.01)
            if run.job.attempt <= times:
                raise ValueError("not yet")

    @exq.worker(name="Failing")
    async def failing() -> None:
        with runs.noted():
            await anyio.sleep(0.01)
            raise ValueError("as always")

    @exq.worker(name="Snoozing")
    async def snoozing(times: int, seconds: float) -> exq.Snooze | None:
        with runs.noted() as run:
            await anyio.sleep(0.01)
            if run.job.snooze_count < times:
                run.how = "snoozed"
                return exq.Snooze(seconds)
            return None

    return [quick, nap, thread, flaky, flaky_thread, failing, snoozing]
