"""Make the tables and the pictures of what the harness has measured: ``python -m benchmarks.report``.

It reads ``benchmarks/results/*.json``, writes the tables into ``docs/benchmarks.md`` between their marks, draws
``docs/images/throughput.svg`` and ``docs/images/growth.svg``, and prints each target with what was measured.
"""

import argparse
import json
import pathlib
import re
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from .roster import OURS, PEERS
from .targets import Results, as_results, number, targets

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"

PICTURES = {"throughput": "peers", "growth": "growth"}
"""Name of a picture → the benchmark that it is drawn of."""

CAPTION = 180
"""Characters in a line of a picture's caption."""

Cells = Sequence[str]


def markdown(head: Cells, rows: Sequence[Cells]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the most where there are several runs."""
    if not values:
        return "-"
    least, most = number(min(values)), number(max(values))
    return number(statistics.median(values)) + (f" ({least} to {most})" if least != most else "")


def target_rows(results: Results) -> list[Cells]:
    """Each target, what was measured, and whether it is met."""
    rows: list[Cells] = []
    for target in targets():
        values = target.found(results)
        verdict = "" if not values else "met" if target.met(statistics.median(values)) else "**missed**"
        rows.append([target.what, target.asked, spread(values), verdict])
    return rows


def peer_rows(results: Results, versions: dict[str, str]) -> list[Cells]:
    """Every peer with every setting."""
    rows: list[Cells] = []
    for name, peer in PEERS.items():
        first = next(iter(peer.settings))
        for how, setting in peer.settings.items():

            def cell(figure: str, suffix: str = "", how: str = how, name: str = name) -> str:
                return spread(results.all("peers", how, name + suffix, figure))

            enqueued = [cell(manner, ", enqueue") for manner in ("one_by_one", "50_tasks", "by_500")]
            rows.append(
                [
                    f"{name} {versions.get(name, '')}".strip() if how == first else "",
                    f"{how}: {setting.says}",
                    cell("jobs_per_second"),
                    cell("jobs_per_second", " x 2"),
                    cell("cpu_us_a_job"),
                    f"{cell('commands_a_job')} / {cell('reads_a_job')}",
                    cell("rss_mb"),
                    f"{cell('start_p50_ms', ', idle')} / {cell('start_p99_ms', ', idle')}",
                    f"{cell('idle_commands_a_second', ', idle')} / {cell('idle_cpu_percent', ', idle')}",
                    " / ".join(enqueued) if how == first else "",
                ]
            )
    return rows


PEER_HEAD = (
    "", "settings", "jobs/s", "2 processes", "CPU µs a job", "commands / reads a job at the server", "MB",
    "idle start p50 / p99 ms", "idle commands/s / CPU %", "enqueue/s: one by one / 50 tasks / by 500",
)  # fmt: skip


def bound_rows(results: Results) -> list[Cells]:
    """The engine beside what can be reached with the client at all."""
    rows: list[Cells] = []
    for backend in ("asyncio", "uvloop", "trio"):
        speeds = [
            spread(results.all("throughput", backend, one, "jobs_per_second")) for one in ("engine", "sketch", "kept")
        ]
        moves = [spread(results.all("peers", backend, "LMOVE", one)) for one in ("one_by_one", "32_tasks", "pipelined")]
        rows.append([backend, *speeds, " / ".join(moves)])
    return rows


BOUND_HEAD = (
    "", "engine", "sketch: a task a job", "sketch: tasks that are kept", "LMOVE/s: one by one / 32 tasks / pipelined",
)  # fmt: skip


def machine(reports: Sequence[dict[str, Any]]) -> str:
    """Where and when it was measured."""
    lines = []
    for report in reports:
        versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version)
        place, load = report["machine"], report["machine"]["load_at_end"][0]
        lines.append(
            f"- **{report['benchmark']}**: {report['date'][:16].replace('T', ' ')} UTC, {place['processor']}, "
            f"{place['cores']} cores, {place['system']}, load {load:.1f} at the end; {versions}"
        )
    return "\n".join(lines)


def write(name: str, text: str) -> None:
    """Put *text* between the marks called *name* of the page."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    page = PAGE.read_text()
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} has no marks {begin} and {end}")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page))


def draw_throughput(results: Results, caption: str) -> None:
    """Bars: who performs how many no-op jobs a second; lines: how many LMOVE the client can send."""
    from matplotlib import pyplot

    bars = []
    for backend in ("asyncio", "uvloop", "trio"):
        for contender in ("sketch", "engine"):
            values = results.all("peers", backend, contender, "jobs_per_second")
            bars.append((f"{'exq_anyio' if contender == 'engine' else 'bare sketch'}, {backend}", values, contender))
    others = [(name, how) for name, peer in PEERS.items() if peer is not OURS for how in peer.settings]
    bars += [(f"{name}, {how}", results.all("peers", how, name, "jobs_per_second"), "peer") for name, how in others]
    bars = sorted((bar for bar in bars if bar[1]), key=lambda bar: statistics.median(bar[1]))
    if not bars:
        return
    colours = {"sketch": "#c8c8c8", "engine": "#b1361e", "peer": "#4a6d8c"}
    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(bars) + 1.4))
    medians = [statistics.median(values) for _, values, _ in bars]
    errors = [
        [middle - min(values) for middle, (_, values, _) in zip(medians, bars, strict=True)],
        [max(values) - middle for middle, (_, values, _) in zip(medians, bars, strict=True)],
    ]
    drawn = axes.barh([label for label, _, _ in bars], medians, xerr=errors, color=[colours[kind] for *_, kind in bars])
    axes.bar_label(drawn, [f" {middle:,.0f}" for middle in medians], fontsize=7)
    for backend, style in (("asyncio", "-"), ("trio", "--")):
        for manner in ("32_tasks", "pipelined"):
            moves = results.all("peers", backend, "LMOVE", manner)
            if moves:
                label = f"coredis, {manner.replace('_', ' ')}, {backend}: {statistics.median(moves):,.0f} LMOVE/s"
                axes.axvline(statistics.median(moves), color="#777777", linestyle=style, linewidth=0.8, label=label)
    axes.set_xlabel("no-op jobs a second, one worker process; median, least and most")
    axes.tick_params(labelsize=7)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6, loc="lower right")
    _save(figure, "throughput", caption)


GROWTH = {
    "concurrency": "jobs at a time",
    "payloads": "bytes of a payload",
    "processes": "processes",
    "backlog": "jobs that wait, and as many that are scheduled",
}


def draw_growth(results: Results, caption: str) -> None:
    """Jobs a second against what grows."""
    from matplotlib import pyplot

    found = results.runs.get("growth")
    if not found:
        return
    figure, places = pyplot.subplots(2, 2, figsize=(9, 6))
    for axes, (name, label) in zip(places.flat, GROWTH.items(), strict=True):
        for backend, colour in (("asyncio", "#b1361e"), ("uvloop", "#b1361e"), ("trio", "#4a6d8c")):
            points = sorted(
                (int(contender.partition("=")[2]), [run["jobs_per_second"] for run in runs])
                for (how, contender), runs in found.items()
                if how == backend and contender.startswith(f"{name}=")
            )
            if points:
                sizes, middles = [size for size, _ in points], [statistics.median(values) for _, values in points]
                axes.plot(sizes, middles, marker="o", color=colour, label=backend)
                axes.fill_between(
                    sizes, *zip(*((min(v), max(v)) for _, v in points), strict=True), color=colour, alpha=0.2
                )
        axes.set_xlabel(label, fontsize=8)
        axes.set_ylabel("jobs a second", fontsize=8)
        if name != "processes":
            axes.set_xscale("log")
        if name in ("concurrency", "payloads"):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    _save(figure, "growth", caption)


def _save(figure: Any, name: str, caption: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    lines = textwrap.wrap(caption, CAPTION)
    figure.text(0.01, 0.005, "\n".join(lines), fontsize=5, color="#555555", verticalalignment="bottom")
    figure.tight_layout(rect=(0, 0.015 * (1 + len(lines)), 1, 1))
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})


def caption(report: dict[str, Any]) -> str:
    """One line below a picture: the machine, the versions, the date."""
    versions = {**report["versions"], **report.get("peers", {})}
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"{report['date'][:10]}, {report['machine']['processor']}, {report['machine']['cores']} cores; {named}"


def main() -> None:
    """Read all results, write all that follows from them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="only print the targets, write nothing")
    options = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    results = as_results(reports)
    by_name = {report["benchmark"]: report for report in reports}
    rows = target_rows(results)
    print(markdown(["", "target", "measured", ""], rows))
    met, unknown = sum(row[3] == "met" for row in rows), sum(not row[3] for row in rows)
    print(f"\n{met} met, {len(rows) - met - unknown} missed, {unknown} not measured")
    if options.print:
        return
    write("targets", markdown(["", "target", "measured: median (least to most)", ""], rows))
    peers = by_name.get("peers", {}).get("peers", {})
    write("peers", markdown(PEER_HEAD, peer_rows(results, peers)))
    write("bounds", markdown(BOUND_HEAD, bound_rows(results)))
    write("machine", machine(reports))
    pictures = [f"![{what}](images/{what}.svg)" for what, of in PICTURES.items() if of in by_name]
    write("pictures", "\n\n".join(pictures))
    if "peers" in by_name:
        draw_throughput(results, caption(by_name["peers"]))
    if "growth" in by_name:
        draw_growth(results, caption(by_name["growth"]))


if __name__ == "__main__":
    main()
