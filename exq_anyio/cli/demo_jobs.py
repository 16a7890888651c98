"""The jobs of ``exq demo``: what is pushed, as Sidekiq would write it, and the workers that perform it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import anyio
import attrs

from ..job import Record, encode, new_jid
from ..middleware import worker_job
from ..worker import FunctionWorker, worker

QUEUES = {"critical": 20, "default": 10, "low": 4}
"""The queues, and how many of their jobs run at a time."""

FEWEST = 30
"""Jobs of the smallest demo."""

_BACKOFF = 0.4
"""Seconds until a failed job runs again."""

_LATER = 1.5
"""Seconds after the push at which the scheduled job is due."""

_QUICK_SECONDS = 1.5
"""Seconds that all quick jobs of a queue should take, so that there is something to see."""


@attrs.frozen(kw_only=True)
class Kind:
    """Jobs of one sort."""

    worker: str
    """The name on the wire."""
    queue: str
    count: int
    """How many are pushed."""
    does: str
    """What they do, for the table."""
    args: tuple[float | int, ...] = ()
    retry: bool | int = True
    """As Sidekiq writes it: true is the configured number."""
    later: float = 0.0
    """Seconds until they are due; 0: they go to their queue at once."""
    failures: int = 0
    """Runs of each that fail."""
    dies: bool = False
    """Whether the last failure is the end."""

    @property
    def runs(self) -> int:
        """Runs of all of them."""
        return self.count * (self.failures if self.dies else self.failures + 1)


@attrs.frozen
class Pushed:
    """One job that was pushed."""

    kind: Kind
    jid: str
    payload: bytes
    due: float | None
    """Unix seconds; None: it is in its queue."""


def plan(jobs: int) -> list[Kind]:
    """The kinds that make up *jobs* jobs: a few of each that is special, and for the rest quick ones."""
    special = [
        Kind(worker="SlowJob", queue="low", count=10, args=(0.5,), does="half a second of waiting"),
        Kind(worker="ThreadJob", queue="default", count=5, args=(0.2,), does="a plain def: runs in a thread"),
        Kind(worker="FlakyJob", queue="default", count=5, failures=2, does="fails twice, then succeeds"),
        Kind(worker="LaterJob", queue="critical", count=1, later=_LATER, does=f"scheduled, due after {_LATER:g} s"),
        Kind(
            worker="DoomedJob", queue="default", count=1, retry=2, failures=3, dies=True, does="fails until it is dead"
        ),
    ]
    quick = jobs - sum(kind.count for kind in special)
    low = quick // 3
    return [_quick("critical", quick - low), _quick("default", low), *special]


def _quick(queue: str, count: int) -> Kind:
    seconds = min(0.05, round(_QUICK_SECONDS * QUEUES[queue] / max(1, count), 5))
    return Kind(worker="QuickJob", queue=queue, count=count, args=(seconds,), does="a moment of waiting")


def payloads(kinds: Sequence[Kind], now: float) -> Iterator[Pushed]:
    """Every job, the kinds mixed, written as Sidekiq 7 writes it at *now* (unix seconds)."""
    waves = itertools.zip_longest(*([kind] * kind.count for kind in sorted(kinds, key=lambda kind: kind.count)))
    for kind in (kind for wave in waves for kind in wave if kind is not None):
        record: Record = {
            "retry": kind.retry,
            "queue": kind.queue,
            "class": kind.worker,
            "args": list(kind.args),
            "jid": new_jid(),
            "created_at": now,
        }
        if not kind.later:
            record["enqueued_at"] = now
        yield Pushed(kind, str(record["jid"]), encode(record), now + kind.later if kind.later else None)


class Unlucky(Exception):
    """What the jobs of the demo that fail fail with."""


@attrs.define
class Ledger:
    """What the workers of the demo have done, as they themselves noted it."""

    runs: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """Runs by worker and queue, those that failed too."""
    done: set[str] = attrs.field(factory=set)
    """The jids of the jobs that have succeeded."""


def workers(ledger: Ledger) -> list[FunctionWorker[..., object]]:
    """The workers, which note in *ledger* what they do."""

    def begins() -> None:
        job = worker_job()
        ledger.runs[job.worker, job.queue] += 1

    def ends() -> None:
        ledger.done.add(worker_job().jid)

    async def wait(seconds: float) -> None:
        begins()
        await anyio.sleep(seconds)
        ends()

    @worker(name="QuickJob")
    async def quick(seconds: float) -> None:
        await wait(seconds)

    @worker(name="SlowJob")
    async def slow(seconds: float) -> None:
        await wait(seconds)

    @worker(name="ThreadJob")
    def thread(seconds: float) -> None:
        begins()
        time.sleep(seconds)
        ends()

    @worker(name="LaterJob")
    async def later() -> None:
        await wait(0)

    @worker(name="FlakyJob", backoff=lambda job, error: _BACKOFF)
    async def flaky() -> None:
        begins()
        if worker_job().attempt <= 2:
            raise Unlucky("better luck next time")
        ends()

    @worker(name="DoomedJob", backoff=lambda job, error: _BACKOFF)
    async def doomed() -> None:
        begins()
        raise Unlucky("this never works")

    return [quick, slow, thread, later, flaky, doomed]
