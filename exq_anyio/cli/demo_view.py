"""What ``exq demo`` shows: bars while it runs, or lines where there is no terminal, and the tables at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..redis.inspect import Counts
from .demo_account import Account, Line
from .demo_jobs import QUEUES, Kind, Ledger, Pushed

WIDTH = 78
"""Columns, so that it fits 80."""

PLAIN_SECONDS = 0.5
"""Seconds between two lines where there is no terminal."""


class View:
    """The one who writes to the terminal."""

    def __init__(self, kinds: Sequence[Kind], loop: str) -> None:
        self._console = console = Console(highlight=False)
        self._loop = loop
        self._totals = Counter[str]()
        for kind in kinds:
            self._totals[kind.queue] += kind.count
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._started = time.monotonic()
        self._said = 0.0
        unicode = console.encoding.lower().startswith("utf")
        self._right, self._wrong, self._none = ("✓", "✗", "·") if unicode else ("ok", "WRONG", "-")
        self._box = box.SIMPLE_HEAD if unicode else box.ASCII2

    def begins(self, server: str, jobs: int) -> None:
        """Say what is there."""
        limits = " ".join(f"{queue}:{limit}" for queue, limit in QUEUES.items())
        self._print(f"[bold]exq demo[/]  {self._loop}, an embedded {server}")
        self._print(f"[dim]{jobs:,} jobs as Sidekiq writes them; queues {limits}[/]")
        self._console.print()
        self._started = time.monotonic()

    def __enter__(self) -> None:
        if self._is_live:
            self._live.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._is_live:
            self._live.stop()

    def show(self, counts: Counts, ledger: Ledger) -> None:
        """Show how far it is."""
        seconds = time.monotonic() - self._started
        if self._is_live:
            self._live.update(self._bars(counts, seconds), refresh=True)
        elif seconds >= self._said or counts.pending == 0:
            self._said = seconds + PLAIN_SECONDS
            self._print(f"{seconds:5.1f} s  {self._state(counts)}")

    def summary(self, account: Account) -> None:
        """Show what happened."""
        self._print(self._jobs(account))
        self._print(self._figures(account.lines()))
        if account.adds_up:
            jobs, done, died = len(account.pushed), len(account.ledger.done), len(account.died)
            self._print(
                f"[bold green]{self._right} It adds up.[/]  {jobs:,} jobs: {done:,} done, {died} dead as it should be, "
                f"none lost; {account.seconds:.1f} s."
            )
            self._print("[dim]Your own:  exq run MODULE --queue default:10 --redis-url redis://localhost[/]")
            return
        self._print(f"[bold red]{self._wrong} It does not add up.[/]")
        for line in _differing(account.lines()):
            self._print(f"  {line.name}: {line.found:,}, and should be {line.expected:,}")
        missing = account.missing
        for job in missing[:5]:
            self._print(f"  not at its end: {_named(job)}")
        if missing[5:]:
            self._print(f"  and {len(missing) - 5:,} more")

    def _print(self, what: object) -> None:
        self._console.print(what, width=min(WIDTH, self._console.width))

    def _bars(self, counts: Counts, seconds: float) -> Group:
        grid = Table.grid(padding=(0, 2))
        for queue, total in self._totals.items():
            taken = sum(size for (_, of), size in counts.backups.items() if of == queue)
            waiting = counts.queues.get(queue, 0)
            left = waiting + taken
            grid.add_row(
                f"[bold]{queue}[/]",
                ProgressBar(
                    total=total, completed=max(0, total - left), width=34, complete_style="cyan", finished_style="green"
                ),
                Text(f"{waiting:,} waiting", justify="right"),
                Text(f"{taken} running", justify="right"),
            )
        state = f"retry {counts.retry}  scheduled {counts.schedule}  dead {counts.dead}"
        runs = f"processed {counts.processed:,}  failed {counts.failed}"
        return Group(grid, Text(f"{state}   {runs}   {seconds:.1f} s", style="dim"))

    def _state(self, counts: Counts) -> str:
        return (
            f"processed {counts.processed:,}  waiting {counts.waiting:,}  running {counts.taken}  "
            f"retry {counts.retry}  scheduled {counts.schedule}  dead {counts.dead}"
        )

    def _jobs(self, account: Account) -> Padding:
        table = self._table("What was pushed, and what the workers did")
        for name in ("job", "queue", "what it does"):
            table.add_column(name, no_wrap=True)
        for name in ("pushed", "runs", "done", "dead"):
            table.add_column(name, justify="right", no_wrap=True)
        died, done = account.died, account.ledger.done
        for kind in account.kinds:
            jids = [job.jid for job in account.pushed if job.kind is kind]
            numbers = (
                kind.count,
                account.ledger.runs[kind.worker, kind.queue],
                sum(jid in done for jid in jids),
                sum(jid in died for jid in jids),
            )
            table.add_row(kind.worker, kind.queue, kind.does, *(f"{n:,}" if n else self._none for n in numbers))
        return Padding(table, (0, 0, 1, 0))

    def _figures(self, lines: Sequence[Line]) -> Padding:
        table = self._table("What Redis says, now that the worker has stopped")
        table.add_column("read back", no_wrap=True, min_width=56)
        for name in ("expected", "found", ""):
            table.add_column(name, justify="right", no_wrap=True)
        for line in lines:
            right = line.expected == line.found
            mark = f"[green]{self._right}[/]" if right else f"[bold red]{self._wrong}[/]"
            table.add_row(line.name, f"{line.expected:,}", f"{line.found:,}", mark, style=None if right else "red")
        return Padding(table, (0, 0, 1, 0))

    def _table(self, title: str) -> Table:
        return Table(
            box=self._box,
            pad_edge=False,
            show_edge=False,
            collapse_padding=True,
            padding=(0, 1),
            title=title,
            title_justify="left",
            title_style="bold",
            header_style="dim",
        )


def _differing(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.expected != line.found]


def _named(job: Pushed) -> str:
    return f"{job.kind.worker} in {job.kind.queue}, jid={job.jid}"
