"""``exq stats``, ``queues``, ``nodes`` and ``busy``: to look at the whole of a namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .complete import complete_node, complete_queue
from .options import api_command, ask_api, not_there

if TYPE_CHECKING:
    from ..api import Api, BusyJob, Day, NodeInfo, QueueInfo, Stats
    from ..config import Config
    from .table import Cell


@click.command()
@click.option("--days", type=click.IntRange(1, 1825), help="The last days too, by day of UTC.")
@api_command
def stats(config: Config, as_json: bool, days: int | None) -> None:
    """Show the figures of now.

    Examples:
      exq stats
      exq stats --days 7
      exq stats --json | jq .enqueued
    """

    async def question(api: Api) -> tuple[Stats, list[Day]]:
        return await api.stats(), await api.history(days) if days else []

    figures, history = ask_api(config, question)
    if as_json:
        from . import records

        records.write(records.stats(figures))
        for day in history:
            records.write(records.day(day))
        return
    _show_stats(figures, history)


def _show_stats(figures: Stats, history: list[Day]) -> None:
    from .table import Cell, Column, Screen, Table
    from .words import number

    screen = Screen()
    failing = "red" if figures.failed else ""
    rows: list[tuple[str, Cell]] = [
        ("processed", Cell(number(figures.processed))),
        ("failed", Cell(number(figures.failed), failing)),
        ("enqueued", Cell(number(figures.enqueued))),
        ("busy", Cell(number(figures.busy))),
        ("scheduled", Cell(number(figures.scheduled))),
        ("retries", Cell(number(figures.retry), "yellow" if figures.retry else "")),
        ("dead", Cell(number(figures.dead), "red" if figures.dead else "")),
        ("nodes", Cell(number(figures.nodes), "" if figures.nodes else "red")),
    ]
    Table([Column("", 9, grows=True), Column("", 10, grows=True, right=True)], screen, rows).write(rows)
    if history:
        by_day = [(day.date.isoformat(), number(day.processed), number(day.failed)) for day in history]
        columns = [Column("DAY (UTC)", 10), Column("PROCESSED", 10, right=True), Column("FAILED", 10, right=True)]
        screen.print()
        Table(columns, screen, by_day).write(by_day)


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1, shell_complete=complete_queue)
@api_command
def queues(config: Config, as_json: bool, names: tuple[str, ...]) -> None:
    """Show queues: their jobs, and how long the next one waits.

    All of them, or those that are named.

    Examples:
      exq queues
      exq queues mail images
      exq queues --json | jq 'select(.latency > 60).name'
    """

    async def question(api: Api) -> list[QueueInfo]:
        return [await api.queue(name) for name in names] if names else await api.queues()

    found = ask_api(config, question)
    known = [queue for queue in found if queue.known or queue.size or queue.paused]
    if as_json:
        from . import records

        for queue in known:
            records.write(records.queue(queue))
    elif known:
        _show_queues(known)
    elif not names:
        click.echo("There are no queues: nobody has pushed a job yet.")
    if missing := [queue.name for queue in found if queue not in known]:
        not_there(f"there is no queue {', '.join(map(repr, missing))}; exq queues shows those that are")


def _show_queues(found: list[QueueInfo]) -> None:
    from .table import Cell, Column, Screen, Table
    from .words import number, span

    columns = [
        Column("QUEUE", 12, grows=True),
        Column("JOBS", 9, grows=True, right=True),
        Column("LATENCY", 7, right=True, keep=5),
        Column("", 6),
    ]
    rows = [
        (
            queue.name,
            number(queue.size),
            span(queue.latency) if queue.size else "-",
            Cell("paused", "yellow") if queue.paused else "",
        )
        for queue in found
    ]
    Table(columns, Screen(), rows).write(rows)


@click.command()
@api_command
def nodes(config: Config, as_json: bool) -> None:
    """Show the nodes, which are worker processes.

    Those of Exq and of Sidekiq are among them.

    Examples:
      exq nodes
      exq nodes --json | jq -r 'select(.quiet).node_id'
    """

    async def question(api: Api) -> list[NodeInfo]:
        return await api.nodes()

    found = ask_api(config, question)
    if as_json:
        from . import records

        for node in found:
            records.write(records.node(node))
    elif found:
        _show_nodes(found)
    else:
        click.echo("There are no nodes: nobody works on the queues.")


def _show_nodes(found: list[NodeInfo]) -> None:
    from .table import Cell, Column, Screen, Table
    from .words import ago, number, size

    now = datetime.now(UTC)
    columns = [
        Column("NODE", 16, grows=True),
        Column("PID", 7, right=True, keep=3),
        Column("BUSY", 4, right=True),
        Column("OF", 4, right=True, keep=6),
        Column("MEMORY", 8, right=True, keep=4),
        Column("UP", 5, right=True, keep=5),
        Column("BEAT", 5, right=True, keep=7),
        Column("", 5),
        Column("QUEUES", 10, grows=True, keep=2),
    ]
    rows = [
        (
            node.node_id,
            "-" if node.pid is None else str(node.pid),
            number(node.busy),
            number(node.concurrency) if node.concurrency else "any",
            size(node.rss),
            ago(node.started, now),
            ago(node.beat, now),
            Cell("quiet", "yellow") if node.quiet else "",
            ", ".join(node.queues),
        )
        for node in found
    ]
    Table(columns, Screen(), rows).write(rows)


@click.command()
@click.option("--node", metavar="NODE", shell_complete=complete_node, help="Only of this node.")
@click.option("--worker", metavar="TEXT", help="Only of workers that have TEXT in their name.")
@api_command
def busy(config: Config, as_json: bool, node: str | None, worker: str | None) -> None:
    """Show the running jobs, the longest running first.

    A node says every 5 seconds what it runs, at most 1,000 jobs.

    Examples:
      exq busy
      exq busy --node web-1#2 --worker Mail
    """

    async def question(api: Api) -> tuple[list[BusyJob], list[str]]:
        return await api.busy(), [one.node_id for one in await api.nodes()] if node else []

    found, there = ask_api(config, question)
    if node is not None and node not in there:
        not_there(f"there is no node {node!r}; exq nodes shows those that are")
    found = [one for one in found if node in (None, one.node_id) and (worker or "") in one.worker]
    if as_json:
        from . import records

        for job in found:
            records.write(records.busy(job))
    elif found:
        _show_busy(found)
    else:
        click.echo("No job is running.")


def _show_busy(found: list[BusyJob]) -> None:
    from .table import Column, Screen, Table
    from .words import ago

    now = datetime.now(UTC)
    found = sorted(found, key=lambda job: job.started or now)
    columns = [
        Column("FOR", 5, right=True),
        Column("JID", 24),
        Column("WORKER", 12, grows=True, keep=8),
        Column("QUEUE", 7, grows=True, keep=5),
        Column("NODE", 12, grows=True, keep=6),
    ]
    rows = [(ago(job.started, now), job.jid or "-", job.worker or "-", job.queue, job.node_id) for job in found]
    Table(columns, Screen(), rows).write(rows)
