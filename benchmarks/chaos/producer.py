"""A process that enqueues jobs and writes down, for each call, what it was told; it ends at SIGTERM."""

from __future__ import annotations

import argparse
import random
import signal

import anyio

import exq_anyio as exq

from .jobs import Planned, plan
from .ledger import Ledger


class Producer:
    """Plans jobs from a seed and puts them in."""

    def __init__(self, name: str, seed: str, ledger: Ledger) -> None:
        self._name = name
        self._rng = random.Random(seed)
        self._ledger = ledger
        self._made = 0

    async def produce(self, q: exq.Exq, rate: float) -> None:
        """Make about *rate* calls a second, one or several jobs each, until cancelled."""
        while True:
            await anyio.sleep(self._rng.expovariate(rate))
            await self._call(q, self._rng.choice([1, 1, 1, 2, 10]))

    async def _call(self, q: exq.Exq, count: int) -> None:
        """Enqueue *count* jobs; those that may be repeated go alone."""
        together: list[tuple[str, Planned]] = []
        for _ in range(count):
            self._made += 1
            jid = f"{self._name}-{self._made}"
            job = plan(self._rng, jid)
            fate = job.fate
            self._ledger.write("planned", jid, job.worker, fate.processed, fate.failed, fate.end)
            if job.repeat:
                await self._push_until_certain(q, jid, job)
            else:
                together.append((jid, job))
        if together:
            await self._push(q, together)

    async def _push_until_certain(self, q: exq.Exq, jid: str, job: Planned) -> None:
        certain = False
        while not certain:
            certain = await self._push(q, [(jid, job)])

    async def _push(self, q: exq.Exq, jobs: list[tuple[str, Planned]]) -> bool:
        """Enqueue *jobs* in one call and write down what became of each; false when that is not certain."""
        specs = [spec(jid, job) for jid, job in jobs]
        for jid, _ in jobs:
            self._ledger.write("sent", jid)
        try:
            answers = await q.enqueue_all(specs)
        except exq.EnqueueUncertain as error:
            for jid in error.jids:
                self._ledger.write("uncertain", jid)
            return False
        except exq.RedisUnavailable:
            for jid, _ in jobs:
                self._ledger.write("failed", jid)
            return False
        for (jid, _), answer in zip(jobs, answers, strict=True):
            ours = answer == jid or (isinstance(answer, exq.Conflict) and answer.jid == jid)
            self._ledger.write("accepted" if ours else "conflict", jid)
        return True


def spec(jid: str, job: Planned) -> exq.JobSpec:
    """*job* as it is enqueued."""
    made = exq.JobSpec(worker=job.worker, args=tuple(job.args)).on(queue=job.queue, **job.options)
    return made.on(jid=jid) if job.after is None else made.on(jid=jid, after=job.after)


async def run(asked: argparse.Namespace) -> None:
    """Enqueue until SIGTERM; the call that is under way then is still made."""
    options: dict[str, float] = {"timeout": 2, "connect_timeout": 1}
    producer = Producer(asked.name, asked.seed, Ledger(asked.ledger))
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            tasks.start_soon(_connected, producer, asked, options)
            async for _ in signals:
                tasks.cancel_scope.cancel()
                break


async def _connected(producer: Producer, asked: argparse.Namespace, options: dict[str, float]) -> None:
    while True:
        try:
            async with exq.open(url=asked.url, mode="enqueuer", redis_options=options) as q:
                await producer.produce(q, asked.rate)
        except exq.RedisUnavailable:
            await anyio.sleep(0.2)


def main() -> None:
    """Enqueue until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "ledger", "name", "seed", "backend"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rate", type=float, default=10)
    asked = parser.parse_args()
    anyio.run(run, asked, backend=asked.backend)


if __name__ == "__main__":
    main()
