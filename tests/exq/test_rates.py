"""Rates that all nodes share, with processes that are killed: never exceeded, and fully used."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

import exq_anyio as exq

from .scene import Scene, until

PROGRAM = """
import sys
import anyio
import exq_anyio as exq
import valkey
from exq_anyio.node.limited import Limited

url, namespace, rate, backend = sys.argv[1:]
redis = valkey.Valkey.from_url(url)
counted_since = {}

# A job is counted after the server said this, and before it begins.
def asks(method):
    async def asked(self):
        self.asked_at = "%d.%06d" % redis.time()
        return await method(self)
    return asked

def dispatched(self, job, then=Limited.dispatched):
    counted_since[job.jid] = self.asked_at
    then(self, job)

Limited.available, Limited.admit, Limited.dispatched = asks(Limited.available), asks(Limited.admit), dispatched
NOTE = '''
local at = redis.call('TIME')
redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. at[1] .. '.' .. string.format('%06d', at[2]))
'''

@exq.worker
async def work() -> None:
    redis.eval(NOTE, 1, namespace + ":note", counted_since.pop(exq.worker_job().jid))

queues = {"default": exq.Limit(rates=eval(rate, {"Rate": exq.Rate}))}
patient = {"connect_timeout": 30, "timeout": 60}
anyio.run(lambda: exq.serve(url=url, namespace=namespace, queues=queues, redis_options=patient), backend=backend)
"""

COUNT, PER, BURST = 30, 1.0, 5
Start = Callable[[str, int], list[subprocess.Popen[bytes]]]


@attrs.frozen
class Begun:
    """A job that has begun.  All times are the server's, in unix seconds."""

    counted_since: float
    """It was counted under the rate after that,"""
    at: float
    """and before it began."""


@pytest.fixture
def start(scene: Scene, tmp_path: Path, anyio_backend: str) -> Iterator[Start]:
    """Start processes that work under a rate."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
    with ExitStack() as stack:

        def some(rate: str, count: int) -> list[subprocess.Popen[bytes]]:
            command = [sys.executable, str(tmp_path / "program.py"), scene.url, scene.namespace, rate, anyio_backend]
            started = [subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) for _ in range(count)]
            for process in started:
                stack.callback(process.wait)
                stack.callback(process.kill)
            return started

        yield some


async def begun(scene: Scene) -> list[Begun]:
    """The jobs in the order in which they began."""
    return [Begun(*map(float, note.split())) for note in await scene.redis.lrange(scene.key("note"), 0, -1)]


async def have_begun(scene: Scene, count: int) -> bool:
    return await scene.redis.llen(scene.key("note")) >= count


def sliding_is_kept(jobs: Sequence[Begun]) -> None:
    for first in range(len(jobs) - COUNT):
        within = jobs[first : first + COUNT + 1]
        assert within[-1].at - min(job.counted_since for job in within) >= PER, within


def fixed_is_kept(jobs: Sequence[Begun]) -> None:
    certain = Counter(int(job.at // PER) for job in jobs if job.counted_since // PER == job.at // PER)
    assert max(certain.values()) <= COUNT, certain


def bucket_is_kept(jobs: Sequence[Begun]) -> None:
    for first in range(len(jobs)):
        since = jobs[first].counted_since
        for last in range(first, len(jobs)):
            since = min(since, jobs[last].counted_since)
            assert last - first + 1 <= BURST + (jobs[last].at - since) * COUNT / PER + 1e-3, jobs[first : last + 1]


def use(jobs: Sequence[Begun], lost: int = 0) -> float:
    """How much of what the rate allows was used from the first to the last of *jobs*, if *lost* more had begun."""
    whole = (len(jobs) - 1) // COUNT * COUNT  # so many after the first, where many begin at once
    return (whole + lost) * PER / COUNT / (jobs[whole].at - jobs[0].at)


def best_use(jobs: Sequence[Begun]) -> float:
    """Likewise, in the best of all times in which two windows' jobs began: the machine may be busy in the others."""
    return max(use(jobs[first : first + 2 * COUNT + 1]) for first in range(len(jobs) - 2 * COUNT))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "burst", "is_kept"),
    [("sliding", None, sliding_is_kept), ("fixed", None, fixed_is_kept), ("bucket", BURST, bucket_is_kept)],
    ids=["sliding", "fixed", "bucket"],
)
async def test_a_rate_is_kept_and_used_by_four_processes_two_of_which_are_killed(
    kind: str,
    burst: int | None,
    is_kept: Callable[[Sequence[Begun]], None],
    scene: Scene,
    start: Start,
) -> None:
    rate = f"Rate({COUNT}, {PER}, kind={kind!r}, burst={burst})"
    async with scene.enqueuer() as q:  # a backlog until the end
        await q.enqueue_all(exq.JobSpec(worker="work") for _ in range(12 * COUNT))
    processes = start(rate, 4)
    await until(lambda: have_begun(scene, 2 * COUNT + COUNT // 2), 60)
    for process in processes[:2]:
        process.kill()
    killed_at, begun_before = await now(scene), await scene.redis.llen(scene.key("note"))
    start(rate, 2)
    await until(lambda: have_begun(scene, 8 * COUNT), 60)

    jobs = await begun(scene)
    is_kept(jobs)
    assert statistics.median(job.at - job.counted_since for job in jobs) < PER / 10  # or that would say little
    # What the two had counted and not begun is lost: of each no more than it may ask for at once, and only until that
    # has passed out of the rate, as if it had begun.
    lost = 2 * (burst or COUNT)
    # Who asks too seldom uses half of a bucket.  That each job begins as soon as it may is held by a clock that stands.
    assert best_use(jobs[:begun_before]) > 0.7
    assert best_use([job for job in jobs if job.at > killed_at + PER]) > 0.7
    assert use(jobs, lost) > 0.6


async def now(scene: Scene) -> float:
    return (await scene.redis.time()).timestamp()
