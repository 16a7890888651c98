"""One measurement of one peer: its queue is filled, its worker started, and each job leaves a mark with the time.

What is measured is kind to whoever is measured: the rate is that between the first and the last mark, so that neither
the start of the worker nor what it does after its last job counts.
"""

import contextlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator

import attrs
import coredis

from .contender import latency_figures, run_on, server_counts
from .roster import PEERS, program

PATIENCE = 40.0
"""Seconds for the jobs of one measurement."""
POLL = 0.02
"""Seconds between two looks at the marks."""
SENT_FOR = 2.5
"""Seconds for which jobs are sent to an idle worker now and then."""
IDLE = 4.0
"""Seconds in which an idle worker is watched."""
MARK = struct.Struct("=qqq")
WARM = 20
"""Jobs before an idle worker is watched."""
FEW = 16
"""Worker processes, above which each is there for one job alone."""
ROOT = pathlib.Path(__file__).parent.parent

Figures = dict[str, float]


@attrs.frozen
class Match:
    """A peer with one of its settings, on a server, with a file for the marks."""

    peer: str
    setting: str
    url: str
    marks: pathlib.Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its programs."""
        setting = PEERS[self.peer].settings[self.setting]
        ours = {"EXQ_URL": self.url, "RQ_REDIS_URL": self.url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        bench = {"BENCH_URL": self.url, "BENCH_MARKS": str(self.marks), "BENCH_SETTING": self.setting.split(",")[0]}
        bench["BENCH_PAUSE"] = str(setting.pause)
        return {**os.environ, **ours, **bench, **setting.environment}

    def client(self, what: str, jobs: int) -> Figures:
        """Run its program that enqueues; what that says."""
        module = f"benchmarks.peers.{PEERS[self.peer].module or self.peer}"
        command = [program(self.peer, "python"), "-m", module, what, str(jobs)]
        ended = subprocess.run(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE
        )
        figures: Figures = json.loads(ended.stdout.splitlines()[-1])
        return figures

    @contextlib.contextmanager
    def workers(self, processes: int) -> Iterator[list[int]]:
        """That many workers, started as the documentation says; yields their process ids."""
        name, *arguments = PEERS[self.peer].settings[self.setting].worker
        if name == "rq":
            arguments += ["--url", self.url]
        log = self.log.open("wb")
        started = [
            subprocess.Popen(
                [program(self.peer, name), *arguments], env=self.environment, cwd=ROOT, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
            for _ in range(processes)
        ]  # fmt: skip
        try:
            yield [process.pid for process in started]
        finally:
            for process in started:  # all is measured, and what they leave is removed: no need to wait for a stop
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.close()

    @property
    def log(self) -> pathlib.Path:
        """What the workers print."""
        return self.marks.with_suffix(".log")

    def read(self) -> list[tuple[int, int, int]]:
        """The marks: sent (ns), performed (ns), process id."""
        content = self.marks.read_bytes() if self.marks.exists() else b""
        return list(MARK.iter_unpack(content[: len(content) // MARK.size * MARK.size]))

    def wait_for(self, jobs: int) -> None:
        """Return when so many jobs have left their mark; raises RuntimeError after ``PATIENCE``."""
        deadline = time.monotonic() + PATIENCE
        while not self.marks.exists() or self.marks.stat().st_size < jobs * MARK.size:
            if time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.peer} ({self.setting}): {len(self.read())} of {jobs} jobs done\n{said}")
            time.sleep(POLL)


def rate(marks: list[tuple[int, int, int]]) -> float:
    """Jobs a second while all worker processes were at work."""
    by_process = defaultdict(list)
    for _, performed, process in marks:
        by_process[process].append(performed)
    every = sorted(performed for _, performed, _ in marks)
    first, last = every[0], every[-1]
    if len(by_process) <= FEW:
        first = max(min(times) for times in by_process.values())
        last = min(max(times) for times in by_process.values())
    between = sum(first < performed <= last for performed in every)
    return between / ((last - first) / 1e9)


def measure(peer: str, setting: str, url: str, *, processes: int = 1, share: float = 1.0) -> Figures:
    """What a peer does with *share* of its number of jobs."""
    jobs = max(100, int(PEERS[peer].settings[setting].jobs * processes * share))
    with tempfile.TemporaryDirectory(prefix="exq-bench-") as directory:
        match = Match(peer, setting, url, pathlib.Path(directory, "marks"))
        match.client("fill", jobs)
        with match.workers(processes) as pids:
            with counted(url) as counts:
                match.wait_for(1)
                begun, begun_at = [usage(pid) for pid in pids], len(match.read())
                match.wait_for(jobs)
            used = [usage(pid) for pid in pids]
            marks = match.read()
    spent = sum(end[0] - start[0] for start, end in zip(begun, used, strict=True))
    return {
        "jobs_per_second": rate(marks),
        "commands_a_job": counts[0] / jobs,
        "reads_a_job": counts[1] / jobs,
        "cpu_us_a_job": spent / max(1, jobs - begun_at) * 1e6,
        "rss_mb": sum(rss for _, rss in used),
    }


def measure_idle(peer: str, setting: str, url: str) -> Figures:
    """What a peer does when there is nothing, or one job now and then, to do."""
    with tempfile.TemporaryDirectory(prefix="exq-bench-") as directory:
        match = Match(peer, setting, url, pathlib.Path(directory, "marks"))
        match.client("fill", WARM)
        with match.workers(1) as pids:
            match.wait_for(WARM)
            return idle_figures(match, WARM, pids)


def idle_figures(match: Match, done: int, pids: list[int]) -> Figures:
    """How soon an idle worker begins a job, and what it asks of the server and of the processor meanwhile."""
    time.sleep(0.5)
    jobs = int(SENT_FOR / PEERS[match.peer].settings[match.setting].pause)
    match.client("send", jobs)
    match.wait_for(done + jobs)
    delays = [performed - sent for sent, performed, _ in match.read() if sent]
    figures = {f"start_{name}": value for name, value in latency_figures(delays).items()}
    time.sleep(0.5)
    used = sum(usage(pid)[0] for pid in pids)
    with counted(match.url) as counts:
        time.sleep(IDLE)
    figures["idle_commands_a_second"] = counts[0] / IDLE
    figures["idle_cpu_percent"] = (sum(usage(pid)[0] for pid in pids) - used) / IDLE * 100
    return figures


def enqueue_figures(peer: str, setting: str, url: str, jobs: int) -> Figures:
    """Jobs a second into the queue."""
    with tempfile.TemporaryDirectory(prefix="exq-bench-") as directory:
        return Match(peer, setting, url, pathlib.Path(directory, "marks")).client("enqueue", jobs)


@contextlib.contextmanager
def counted(url: str) -> Iterator[list[int]]:
    """At the end of the block, the commands of all clients in it, and how often the server read them."""
    counts: list[int] = []
    before = run_on("asyncio", _counts, url)
    yield counts
    after = run_on("asyncio", _counts, url)
    counts += (after[0] - before[0] - LOOK, after[1] - before[1] - LOOK_READS)


LOOK, LOOK_READS = 4, 5
"""Commands and reads that a look at the counts takes: coredis greets with three (HELLO, CLIENT SETINFO twice)."""


async def _counts(url: str) -> tuple[int, int]:
    async with coredis.Redis.from_url(url) as redis:
        return await server_counts(redis)


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds of a process and all that it has started so far, and their memory in MB."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    cpu, rss = 0.0, 0.0
    for process in family(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, fields[11:15])) / tick  # user, system, and those of its ended children
            rss += int(fields[21]) * page / 1e6
    return cpu, rss


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found
