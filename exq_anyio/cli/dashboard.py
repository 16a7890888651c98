"""What ``exq top`` shows, and what its keys mean: a function of what was seen, and of where the cursor is.

Nothing here waits, and nothing writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import attrs
from rich.text import Text

from ..api import BusyJob, Entry, NodeInfo, QueueInfo, Second, Stats
from .table import Cell, Column, Row, fit, row_line, title_line
from .words import ago, number, plural, size, span

Pane: TypeAlias = Literal["queues", "nodes", "busy", "failed"]

PANES: tuple[Pane, ...] = ("queues", "nodes", "busy", "failed")
"""In the order in which they are shown."""

BARS = "▁▂▃▄▅▆▇█"

KEYS = "Tab pane  ↑↓ row  p pause  Q quiet  c cancel  r retry  q quit"

COLUMNS: dict[Pane, Sequence[Column]] = {
    "queues": (
        Column("QUEUE", 16, grows=True),
        Column("JOBS", 11, right=True),
        Column("LATENCY", 7, right=True),
        Column("", 6),
    ),
    "nodes": (
        Column("NODE", 16, grows=True),
        Column("BUSY", 4, right=True),
        Column("OF", 5, right=True, keep=5),
        Column("MEMORY", 8, right=True, keep=4),
        Column("BEAT", 5, right=True, keep=6),
        Column("", 5),
    ),
    "busy": (
        Column("RUNS", 5, right=True),
        Column("JID", 24),
        Column("WORKER", 12, grows=True),
        Column("QUEUE", 8, grows=True, keep=5),
        Column("NODE", 10, grows=True, keep=4),
    ),
    "failed": (
        Column("FAILED", 6, right=True),
        Column("NEXT", 5, keep=5),
        Column("JID", 24),
        Column("WORKER", 12, grows=True),
        Column("ERROR", 10, grows=True, keep=6),
    ),
}


@attrs.frozen(kw_only=True)
class Seen:
    """What was seen at one look."""

    at: datetime
    stats: Stats
    rate: float
    """Runs that ended a second, since the look before."""
    seconds: Sequence[Second]
    queues: Sequence[QueueInfo]
    nodes: Sequence[NodeInfo]
    busy: Sequence[BusyJob]
    """The longest running first."""
    failed: Sequence[Entry]
    """Entries of retry and dead, the latest failure first."""

    def size(self, pane: Pane) -> int:
        """How many rows *pane* has."""
        return len(getattr(self, pane))


@attrs.frozen
class Action:
    """What a key asks for, once the one at the terminal has said yes."""

    verb: Literal["pause", "resume", "quiet", "cancel", "retry"]
    target: QueueInfo | NodeInfo | BusyJob | Entry

    def __str__(self) -> str:
        match self.target:
            case QueueInfo(name=name):
                return f"{self.verb} queue {name}"
            case NodeInfo(node_id=node_id):
                return f"{self.verb} node {node_id}"
            case target:
                return f"{self.verb} {target.jid} ({target.worker})"


@attrs.frozen(kw_only=True)
class Cursor:
    """Where the one at the terminal is."""

    pane: Pane = "queues"
    row: int = 0
    asked: Action | None = None
    """What is asked about just now."""
    told: str = ""
    """What was said last."""
    ended: bool = False


def press(key: str, cursor: Cursor, seen: Seen | None) -> tuple[Cursor, Action | None]:
    """Where *key* leads, and what is to be done now."""
    if key in ("q", "\x03", "\x1b"):
        return attrs.evolve(cursor, ended=cursor.asked is None, asked=None), None
    if cursor.asked is not None:
        agreed = cursor.asked if key in ("y", "Y", "\r", "\n") else None
        return attrs.evolve(cursor, asked=None, told="" if agreed else "nothing was done"), agreed
    if seen is None:
        return cursor, None
    if key in ("\t", "right", "left"):
        step = -1 if key == "left" else 1
        pane = PANES[(PANES.index(cursor.pane) + step) % len(PANES)]
        return attrs.evolve(cursor, pane=pane, row=0, told=""), None
    if key in ("up", "down", "k", "j"):
        row = cursor.row + (1 if key in ("down", "j") else -1)
        return attrs.evolve(cursor, row=max(0, min(row, seen.size(cursor.pane) - 1)), told=""), None
    action = _action(key, cursor, seen)
    return attrs.evolve(cursor, asked=action, told=cursor.told if action else _not_here(key)), None


def _action(key: str, cursor: Cursor, seen: Seen) -> Action | None:
    rows: Sequence[object] = getattr(seen, cursor.pane)
    if not cursor.row < len(rows):
        return None
    match key, rows[cursor.row]:
        case "p", QueueInfo(paused=paused) as queue:
            return Action("resume" if paused else "pause", queue)
        case "Q", NodeInfo() as node:
            return Action("quiet", node)
        case "c", BusyJob() as job:
            return Action("cancel", job)
        case "r", Entry() as entry:
            return Action("retry", entry)
        case _:
            return None


def _not_here(key: str) -> str:
    place = {"p": "a queue", "Q": "a node", "c": "a running job", "r": "a failed job"}.get(key)
    return f"{key} is for {place}: go there with Tab" if place else ""


# -- what is shown


def draw(seen: Seen | None, cursor: Cursor, width: int, height: int, trouble: str = "") -> list[Text]:
    """The lines of the screen, at most *height*, each at most *width* wide."""
    if seen is None:
        return [Text(trouble or "looking ...")]
    lines = [*_head(seen, width), Text(trouble, style="bold red")]
    left = max(len(PANES) * 2, height - len(lines) - 1 - (len(PANES) - 1))
    shares = share([seen.size(pane) + 1 for pane in PANES], left)
    for pane, most in zip(PANES, shares, strict=True):
        lines += [*_pane(pane, seen, cursor, width, most), Text()]
    foot = f"{cursor.asked}? [y/N]" if cursor.asked else cursor.told or KEYS
    lines[-1] = Text(foot, style="bold yellow" if cursor.asked else "dim")
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[: height - 1] + lines[-1:] if len(lines) > height else lines


def share(wanted: Sequence[int], total: int) -> list[int]:
    """*total* lines among those that want so many: who wants little gets it, the others the same."""
    given = [0] * len(wanted)
    while total > 0 and (hungry := [at for at, want in enumerate(wanted) if given[at] < want]):
        at = min(hungry, key=lambda one: given[one])
        given[at], total = given[at] + 1, total - 1
    return given


def _head(seen: Seen, width: int) -> list[Text]:
    stats = seen.stats
    figures = (
        (("processed", number(stats.processed), ""), ("failed", number(stats.failed), "red" if stats.failed else ""),
        ("enqueued", number(stats.enqueued), ""), ("busy", number(stats.busy), "")),
        (("retries", number(stats.retry), "yellow" if stats.retry else ""), ("scheduled", number(stats.scheduled), ""),
        ("dead", number(stats.dead), "red" if stats.dead else "")),
    )  # fmt: skip
    lines = [Text(), Text()]
    for line, each in zip(lines, figures, strict=True):
        for name, value, style in each:
            line.append(f"{name} ", style="dim").append(value, style=style or "bold").append("  ")
    latency = max((queue.latency for queue in seen.queues if queue.size and not queue.paused), default=0.0)
    failing = sum(second.failed for second in seen.seconds[-10:])
    told = Text(f"{seen.at.astimezone():%H:%M:%S}  ", style="dim")
    told.append(f"{seen.rate:,.0f} jobs/s", style="bold green").append(f"  longest wait {span(latency)}  ")
    told.append(f"{plural(failing, 'failure')} in 10 s", style="red" if failing else "dim")
    return [told, *lines, Text(bars([second.processed for second in seen.seconds], width), style="green")]


def bars(values: Sequence[int], width: int) -> str:
    """A line of bars, as high as the *values* are beside their highest; the last ones, if there is not room for all."""
    shown = values[-width:]
    most = max(shown, default=0) or 1
    return "".join(" " if value == 0 else BARS[min(len(BARS) - 1, value * len(BARS) // (most + 1))] for value in shown)


def _pane(pane: Pane, seen: Seen, cursor: Cursor, width: int, most: int) -> list[Text]:
    """The titles and some rows of one pane; the row of the cursor is among them."""
    here = pane == cursor.pane
    count, room = seen.size(pane), max(0, most - 1)
    row = min(cursor.row, count - 1) if here else 0
    first = max(0, min(row - room // 2, count - room))
    rows = _rows(pane, seen)[first : first + room]
    fitted = fit(COLUMNS[pane], width, rows, more=True)
    titles = title_line(fitted)
    titles.stylize("bold cyan" if here else "dim")
    if room < count:
        titles.append(f"  {first + 1}-{first + len(rows)} of {count}", style="dim")
    lines = [titles]
    for at, cells in enumerate(rows, first):
        line = row_line(fitted, cells)
        if here and at == row:
            line.align("left", width)
            line.stylize("reverse")
        lines.append(line)
    return lines


def _rows(pane: Pane, seen: Seen) -> list[Row]:
    match pane:
        case "queues":
            return [_queue_row(queue) for queue in seen.queues]
        case "nodes":
            return [_node_row(node, seen.at) for node in seen.nodes]
        case "busy":
            return [(ago(job.started, seen.at), job.jid, job.worker, job.queue, job.node_id) for job in seen.busy]
        case "failed":
            return [_failed_row(entry, seen.at) for entry in seen.failed]


def _queue_row(queue: QueueInfo) -> Row:
    latency = span(queue.latency) if queue.size else "-"
    return (queue.name, number(queue.size), latency, Cell("paused", "yellow") if queue.paused else "")


def _node_row(node: NodeInfo, now: datetime) -> Row:
    limit = number(node.concurrency) if node.concurrency else "any"
    quiet = Cell("quiet", "yellow") if node.quiet else ""
    return (node.node_id, number(node.busy), limit, size(node.rss), ago(node.beat, now), quiet)


def _failed_row(entry: Entry, now: datetime) -> Row:
    job = entry.job
    dead = entry.place.kind == "dead"
    state = Cell("dead", "red") if dead else Cell(ago(entry.at, now), "yellow")
    error = entry.problem if job is None else f"{job.error_class or ''}: {(job.error_message or '')[:200]}"
    return (ago(failed_at(entry), now), state, entry.jid or "-", entry.worker or "(no job)", error)


def failed_at(entry: Entry) -> datetime | None:
    """When it last failed."""
    job = entry.job
    at = (job.retried_at or job.failed_at) if job is not None else None
    return at or (entry.at if entry.place.kind == "dead" else None)


def latest_first(entries: Sequence[Entry]) -> list[Entry]:
    """Failed jobs, the latest failure first."""
    never = datetime.fromtimestamp(0, UTC)
    return sorted(entries, key=lambda entry: failed_at(entry) or never, reverse=True)
