"""What is aimed at: one row for each target, and from which figures it is seen."""

import statistics
from collections.abc import Callable, Iterable
from typing import Any

import attrs

ASYNC_PEERS = ("streaq", "saq", "pydocket", "arq")
"""The peers whose jobs are coroutines, and that bring a dead worker's jobs back."""


@attrs.frozen
class Results:
    """The figures of all benchmarks that were run: benchmark → (setting, contender) → the figures of each run."""

    runs: dict[str, dict[tuple[str, str], list[dict[str, float]]]]

    def all(self, benchmark: str, setting: str, contender: str, figure: str) -> list[float]:
        """One figure of each run; empty when it was not measured."""
        return [run[figure] for run in self.runs.get(benchmark, {}).get((setting, contender), []) if figure in run]

    def ratio(self, benchmark: str, setting: str, contender: str, to: tuple[str, str], figure: str) -> list[float]:
        """The median of a figure as a share of another contender's; empty when one of them was not measured."""
        of, by = self.all(benchmark, setting, contender, figure), self.all(benchmark, *to, figure)
        return [statistics.median(of) / statistics.median(by)] if of and by else []

    def best_peer(self, names: Iterable[str] | None = None, setting: str = "") -> list[float]:
        """Jobs a second of the fastest of the peers, of *names* only or with a *setting* only."""
        medians = [
            statistics.median(run["jobs_per_second"] for run in runs)
            for (how, name), runs in self.runs.get("peers", {}).items()
            if "jobs_per_second" in runs[0]
            and how.split(",")[0] in ((setting,) if setting else ("speed", "safe"))
            and name != "exq_anyio"
            and " x " not in name
            and (names is None or name in names)
        ]
        return [max(medians)] if medians else []

    def lead(self, setting: str, names: Iterable[str] | None = None, which: str = "") -> list[float]:
        """How many times as fast as those peers the engine is, on the backend *setting*."""
        ours, theirs = self.all("peers", setting, "engine", "jobs_per_second"), self.best_peer(names, which)
        return [statistics.median(ours) / theirs[0]] if ours and theirs else []

    def soonest_peer(self) -> list[float]:
        """The lowest median of the delays of the peers' idle workers, ms."""
        delays = [
            runs[0]["start_p50_ms"]
            for (how, name), runs in self.runs.get("peers", {}).items()
            if name.endswith(", idle") and not name.startswith("exq_anyio")
        ]
        return [min(delays)] if delays else []


@attrs.frozen
class Target:
    """One target."""

    what: str
    least: float | None
    """What the median must reach at least; None: see *most*."""
    most: float | None
    """What the median must not exceed; None: see *least*."""
    found: Callable[[Results], list[float]]
    """The figure of each run."""
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether *value* meets it."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def asked(self) -> str:
        """The target in words."""
        sign, bound = ("≥", self.least) if self.least is not None else ("<", self.most)
        return f"{sign} {number(bound)}{self.unit}" if bound else "0"


def number(value: float) -> str:
    """*value* with as many digits as say something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def at_least(what: str, bound: float, unit: str, found: Callable[[Results], list[float]]) -> Target:
    """A target that is met from *bound* on."""
    return Target(what, bound, None, found, unit)


def below(what: str, bound: float, unit: str, found: Callable[[Results], list[float]]) -> Target:
    """A target that is met below *bound*."""
    return Target(what, None, bound, found, unit)


def _seen(benchmark: str, setting: str, contender: str, figure: str) -> Callable[[Results], list[float]]:
    return lambda results: results.all(benchmark, setting, contender, figure)


def _share(benchmark: str, setting: str, contender: str, to: str, figure: str) -> Callable[[Results], list[float]]:
    return lambda results: results.ratio(benchmark, setting, contender, (setting, to), figure)


def _lead(setting: str, names: Iterable[str] | None, which: str) -> Callable[[Results], list[float]]:
    return lambda results: results.lead(setting, names, which)


def _ahead(results: Results) -> list[float]:
    ours, theirs = results.all("peers", "safe, uvloop", "exq_anyio, idle", "start_p50_ms"), results.soonest_peer()
    return [ours[0] / theirs[0]] if ours and theirs else []


def targets() -> Iterable[Target]:
    """All targets, in the order of the table."""
    for backend, share, speed in (("asyncio", 0.65, 25_000), ("uvloop", 0.65, 25_000), ("trio", 0.6, 18_000)):
        what = f"no-op jobs, 100 at a time, {backend}"
        rate = "jobs_per_second"
        yield at_least(what, speed, "/s", _seen("throughput", backend, "engine", rate))
        yield at_least(
            f"{what}: to the bare sketch", share, "x", _share("throughput", backend, "engine", "sketch", rate)
        )
    for backend, lead in (("uvloop", 4), ("trio", 3)):
        yield at_least(f"to the fastest peer of all, {backend}", lead, "x", _lead(backend, None, ""))
    for name in ASYNC_PEERS:
        yield at_least(f"to {name}, safe, uvloop", 5, "x", _lead("uvloop", (name,), "safe"))
    for backend, share in (("uvloop", 1.5), ("trio", 1.4)):
        found = _share("peers", f"safe, {backend}", "exq_anyio x 2", "exq_anyio", "jobs_per_second")
        yield at_least(f"two processes to one, {backend}", share, "x", found)
    for backend in ("asyncio", "uvloop", "trio"):
        for manner, share in (("one_by_one", 0.85), ("50_tasks", 1.3)):
            words = f"enqueue {manner.replace('_', ' ')}, to a bare script call, {backend}"
            yield at_least(words, share, "x", _share("enqueue", backend, "engine", "bare", manner))
        yield at_least(f"enqueue by 500, {backend}", 100_000, "/s", _seen("enqueue", backend, "engine", "by_500"))
    for backend in ("asyncio", "uvloop", "trio"):
        for figure, most in (("p50_ms", 0.8), ("p99_ms", 4)):
            words = f"idle start, {figure.removesuffix('_ms')}, {backend}"
            yield below(words, most, " ms", _seen("latency", backend, "engine", figure))
    yield below("idle start to that of the soonest peer", 1, "x", _ahead)
    for backend in ("asyncio", "trio"):
        yield from _situations(backend)
    for figure, most in (("import_ms", 150), ("help_ms", 300), ("first_open_ms", 500)):
        words = {"import_ms": "import exq_anyio", "help_ms": "exq --help", "first_open_ms": "first open"}[figure]
        yield below(f"{words}, a whole process", most, " ms", _seen("situations", "asyncio", "start", figure))


def _situations(backend: str) -> Iterable[Target]:
    def seen(contender: str, figure: str) -> Callable[[Results], list[float]]:
        return _seen("situations", backend, contender, figure)

    def row(what: str) -> str:
        return f"{what}, {backend}"

    yield below(row("5 idle queues: commands at the server"), 10, "/s", seen("5 queues, idle", "commands_a_second"))
    yield below(row("5 idle queues: CPU"), 1, " %", seen("5 queues, idle", "cpu_percent"))
    yield below(row("round trips a job"), 0.05, "", seen("a job at the server", "round_trips_a_job"))
    yield below(row("10,000 sleeping jobs: all started"), 1, " s", seen("sleeping", "all_started_s"))
    yield below(row("10,000 sleeping jobs: memory"), 180, " MB", seen("sleeping", "rss_mb"))
    yield below(row("10,000 sleeping jobs: pushed back"), 2, " s", seen("sleeping", "pushed_back_s"))
    yield below(row("10,000 sleeping jobs: left behind"), 0, "", seen("sleeping", "left_behind"))
    many = _share("situations", backend, "backlog of 1,000,000", "backlog of 1,000", "jobs_per_second")
    yield at_least(row("1,000,000 waiting and scheduled jobs to 1,000"), 0.9, "x", many)
    yield at_least(row("due jobs moved"), 100_000, "/s", seen("scheduler", "moves_per_second"))
    busy = _share("situations", backend, "200 queues", "5 queues", "jobs_per_second")
    yield at_least(row("200 queues, 5 busy, to 5"), 0.5, "x", busy)
    yield below(row("200 idle queues: commands at the server"), 60, "/s", seen("200 queues, idle", "commands_a_second"))
    yield below(row("200 idle queues: CPU"), 2, " %", seen("200 queues, idle", "cpu_percent"))
    threads = 6_000 if backend == "asyncio" else 4_500
    yield at_least(row("plain functions, in threads"), threads, "/s", seen("threads", "jobs_per_second"))
    yield below(row("each middleware beyond the first"), 3, " µs", seen("middlewares", "us_a_middleware"))
    yield at_least(row("2,000 jobs of 50 ms: of the ideal"), 0.97, "", seen("jobs of 50 ms", "share_of_ideal"))


def as_results(reports: Iterable[dict[str, Any]]) -> Results:
    """The figures in what the harness has written."""
    return Results(
        {
            report["benchmark"]: {(run["backend"], run["contender"]): run["figures"] for run in report["runs"]}
            for report in reports
        }
    )
