"""``exq health``: whether all is well, for probes and for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import click

from .complete import complete_queue
from .options import api_command, ask_api

if TYPE_CHECKING:
    from ..api import Api, NodeInfo, QueueInfo
    from ..config import Config


@attrs.frozen
class Check:
    """One thing that was looked at."""

    name: str
    problem: str
    """``""`` when all is well."""
    said: str
    """What was seen."""


@click.command()
@click.option("--max-latency", metavar="SECONDS", type=click.FloatRange(0), help="How long the next job may wait.")
@click.option("--max-size", metavar="JOBS", type=click.IntRange(0), help="How many jobs may wait in a queue.")
@click.option(
    "-q", "--queue", "names", metavar="NAME", multiple=True, shell_complete=complete_queue, help="Only this queue."
)
@click.option("--min-nodes", metavar="N", type=click.IntRange(0), default=1, show_default=True, help="Nodes at work.")
@api_command
def health(
    config: Config,
    as_json: bool,
    max_latency: float | None,
    max_size: int | None,
    names: tuple[str, ...],
    min_nodes: int,
) -> None:
    """Check that Redis answers, that nodes work, and that no job waits too long.

    Exit status: 0 all is well, 1 it is not.  A paused queue may wait as long as it likes.

    Examples:
      exq health
      exq health --max-latency 30 --queue mail --min-nodes 2
    """

    async def question(api: Api) -> tuple[list[NodeInfo], list[QueueInfo]]:
        queues = [await api.queue(name) for name in names] if names else await api.queues()
        return await api.nodes(), queues

    nodes, queues = ask_api(config, question)
    checks = [Check("redis", "", "answers"), _nodes(nodes, min_nodes)]
    checks += [_queue(queue, max_latency, max_size) for queue in queues]
    for check in checks:
        if as_json:
            from . import records

            records.write({"check": check.name, "ok": not check.problem, "said": check.problem or check.said})
        else:
            click.echo(f"{'ok ' if not check.problem else 'BAD'}  {check.name}: {check.problem or check.said}")
    if any(check.problem for check in checks):
        sys.exit(1)


def _nodes(nodes: list[NodeInfo], least: int) -> Check:
    from .words import plural

    at_work = [node for node in nodes if not node.quiet]
    said = f"{plural(len(at_work), 'node')} at work"
    return Check("nodes", "" if len(at_work) >= least else f"{said}, {least} wanted", said)


def _queue(queue: QueueInfo, max_latency: float | None, max_size: int | None) -> Check:
    from .words import plural, span

    said = f"{plural(queue.size, 'job')}, the next waits {span(queue.latency)}" if queue.size else "empty"
    problem = ""
    if queue.paused:
        said = f"paused, {plural(queue.size, 'job')}"
    elif max_latency is not None and queue.latency > max_latency:
        problem = f"{said}, {max_latency:g}s allowed"
    elif max_size is not None and queue.size > max_size:
        problem = f"{said}, {max_size:,} allowed"
    return Check(f"queue {queue.name}", problem, said)
