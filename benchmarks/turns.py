"""What each benchmark consists of: the turns that are taken, one after another, again and again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import anyio
import attrs
import coredis

from . import bounds, match, roster
from .contender import QUEUE, QUEUES, payload

RUN_TIMEOUT = 300.0
"""Seconds that one turn may take."""
PAUSE = 0.02
"""Seconds between two jobs of the latency benchmark: long enough for the worker to be idle again."""

Figures = dict[str, float]


@attrs.frozen
class Turn:
    """One contender, measured once."""

    setting: str
    """The event loop, or how the contender is set."""
    contender: str
    measure: Callable[[str], Figures]
    """From the URL of an empty server to the figures."""
    runs: int = 100
    """How often at most, where more would tell nothing new."""


def ran(module: str, arguments: Sequence[str], url: str, meanwhile: Callable[[], object] | None = None) -> Figures:
    """Run a contender to its end; its figures are its last line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--url", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if meanwhile is not None:
            meanwhile()
        output, said = process.communicate(timeout=RUN_TIMEOUT)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with exit status {process.returncode}:\n{said[-2000:]}")
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


# -- the engine and the sketches


def throughput(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """No-op jobs, from the start of the engine to its last settle."""
    for backend in backends:
        for contender in contenders:
            yield Turn(backend, contender, partial(ran, contender, ["--jobs", str(jobs), "--backend", backend]))


def enqueue(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """Jobs that go in: one by one, from 50 tasks at once, 500 a call."""
    for backend in backends:
        for contender in contenders:
            arguments = ["--contender", contender, "--jobs", str(jobs), "--backend", backend]
            yield Turn(backend, contender, partial(ran, "enqueue", arguments))


def latency(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """From the enqueue, in this process, to the first line of perform in another, which is idle."""
    for backend in backends:
        for contender in contenders:
            yield Turn(backend, contender, partial(_latency, contender, backend, jobs))


def _latency(contender: str, backend: str, jobs: int, url: str) -> Figures:
    sender = partial(anyio.run, enqueue_now_and_then, url, jobs)
    return ran(contender, ["--latency", "--jobs", str(jobs), "--backend", backend], url, sender)


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


# -- the peers


def peers(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """Everybody on the same work: throughput, idle start and load, enqueues; the bounds and the engine among them."""
    yield from throughput(["sketch", "engine"], backends, 40_000)
    yield Turn("asyncio", "LMOVE", partial(bounds.measure, "asyncio"), runs=2)
    yield Turn("trio", "LMOVE", partial(bounds.measure, "trio"), runs=2)
    for name in contenders or list(roster.PEERS):
        if not roster.is_installed(name):
            print(f"{name} is not installed: nox -s bench -- peers", file=sys.stderr)
            continue
        for setting in roster.PEERS[name].settings:
            share = jobs / 100
            yield Turn(setting, name, partial(match.measure, name, setting, share=share))
            yield Turn(setting, f"{name}, idle", partial(match.measure_idle, name, setting), runs=1)
            for processes in roster.PEERS[name].processes[1:]:
                several = partial(match.measure, name, setting, processes=processes, share=share)
                yield Turn(setting, f"{name} x {processes}", several, runs=2)
        first = next(iter(roster.PEERS[name].settings))
        yield Turn(first, f"{name}, enqueue", partial(match.enqueue_figures, name, first, jobs=30 * jobs), runs=2)


# -- the engine in other situations

SITUATIONS = {
    "sleeping": ("sleeping", 0, 5),
    "backlog of 1,000": ("backlog", 1_000, 5),
    "backlog of 1,000,000": ("backlog", 1_000_000, 3),
    "scheduler": ("scheduler", 0, 5),
    "5 queues": ("queues", 5, 5),
    "200 queues": ("queues", 200, 5),
    "5 queues, idle": ("idle", 5, 1),
    "200 queues, idle": ("idle", 200, 1),
    "a job at the server": ("round_trips", 0, 1),
    "threads": ("threads", 0, 5),
    "jobs of 50 ms": ("fifty_ms", 0, 5),
    "middlewares": ("middlewares", 0, 2),
}
"""Name → scenario, size, and how often at most."""


def situations(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """What the engine does in each of ``scenarios.py``, and how long commands take to start."""
    for name, (scenario, size, runs) in SITUATIONS.items():
        for backend in backends:
            if not contenders or name in contenders:
                yield Turn(backend, name, partial(_scenario, scenario, size, backend), runs)
    if not contenders or "start" in contenders:
        yield Turn("asyncio", "start", start_times)


def _scenario(scenario: str, size: int, backend: str, url: str) -> Figures:
    return ran("scenarios", [scenario, "--size", str(size), "--backend", backend], url)


FIRST_OPEN = (
    "import anyio, exq_anyio as exq\nasync def main():\n async with exq.open(mode='enqueuer'): pass\nanyio.run(main)"
)


def start_times(url: str) -> Figures:
    """Milliseconds of whole processes, the interpreter among them; modules are compiled, as they are when installed."""
    python, exq = sys.executable, os.path.join(os.path.dirname(sys.executable), "exq")
    commands = {
        "python_ms": [python, "-c", "pass"],
        "import_ms": [python, "-c", "import exq_anyio"],
        "help_ms": [exq, "--help"],
        "first_open_ms": [python, "-c", FIRST_OPEN],
    }
    figures = {}
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(commands["first_open_ms"], check=True, env={**compiled, "EXQ_URL": url})
    for name, command in commands.items():
        started = time.perf_counter()
        subprocess.run(command, check=True, env={**compiled, "EXQ_URL": url}, stdout=subprocess.DEVNULL)
        figures[name] = (time.perf_counter() - started) * 1000
    return figures


# -- how the cost grows

GROWTH = {
    "concurrency": [1, 10, 100, 1_000, 10_000],
    "payloads": [100, 1_000, 10_000, 100_000, 1_000_000],
    "backlog": [1_000, 10_000, 100_000, 1_000_000],
}


def growth(contenders: Sequence[str], backends: Sequence[str], jobs: int) -> Iterable[Turn]:
    """Jobs a second against concurrency, bytes of a payload, jobs that wait, and processes."""
    for scenario, sizes in GROWTH.items():
        for size in sizes:
            for backend in backends:
                if not contenders or scenario in contenders:
                    yield Turn(backend, f"{scenario}={size}", partial(_scenario, scenario, size, backend))
    if not contenders or "processes" in contenders:
        for setting in roster.OURS.settings:
            for processes in (1, 2, 3, 4):
                measure = partial(match.measure, "exq_anyio", setting, processes=processes, share=0.8)
                yield Turn(setting.partition(", ")[2], f"processes={processes}", measure)
