"""``exq cancel``, ``quiet``, ``stop``, ``pause`` and ``resume``: to steer those who work."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from .complete import complete_node, complete_queue
from .options import NOT_THERE, api_command, ask_api, confirm, not_there, yes_option
from .words import plural

if TYPE_CHECKING:
    from ..api import Api, Cancelled
    from ..config import Config


@click.command()
@click.argument("jids", metavar="JID...", nargs=-1, required=True)
@yes_option
@api_command
def cancel(config: Config, jids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Cancel running jobs, wherever they run.

    Each is dead as "Canceled", unless it ends by itself first.  A job that has begun within the last 5 seconds may be
    known to its node alone: it is cancelled all the same, and the exit status is then 3.

    Examples:
      exq busy
      exq cancel 0b2f9c1d7a3e5f6081920aab
    """
    confirm(f"Cancel {jids[0] if len(jids) == 1 else plural(len(jids), 'job')}?", yes)

    async def act(api: Api) -> list[Cancelled]:
        return [await api.cancel(jid) for jid in jids]

    told = ask_api(config, act)
    for jid, cancelled in zip(jids, told, strict=True):
        if as_json:
            from . import records

            nodes, running = list(cancelled.nodes), list(cancelled.running_on)
            records.write({"action": "cancelled", "jid": jid, "nodes": [*nodes], "running_on": [*running]})
        elif cancelled.running_on:
            click.echo(f"cancelled: {jid}, on {', '.join(cancelled.running_on)}")
        else:
            click.echo(
                f"exq: no node says that it runs {jid!r}; {plural(len(cancelled.nodes), 'node was', 'nodes were')} "
                "told, in case it has just begun",
                err=True,
            )
    if not all(cancelled.running_on for cancelled in told):
        sys.exit(NOT_THERE)


@click.command()
@click.argument("names", metavar="[NODE]...", nargs=-1, shell_complete=complete_node)
@click.option("--all", "every", is_flag=True, help="All nodes.")
@api_command
def quiet(config: Config, names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Have nodes take no more jobs.

    What runs goes on.  Only a restart ends that.

    Examples:
      exq quiet web-1#2
      exq quiet --all
    """
    _signal(config, names, every, as_json, "made quiet", lambda api, node: api.quiet(node))


@click.command()
@click.argument("names", metavar="[NODE]...", nargs=-1, shell_complete=complete_node)
@click.option("--all", "every", is_flag=True, help="All nodes.")
@yes_option
@api_command
def stop(config: Config, names: tuple[str, ...], every: bool, yes: bool, as_json: bool) -> None:
    """Have nodes end, gracefully.

    What runs gets the shutdown timeout, then goes back to its queue.
    What supervises the process, such as systemd, may start it again.

    Examples:
      exq stop web-1#2
      exq stop --all --yes
    """
    _check_nodes(names, every)
    confirm(f"Stop {'all nodes' if every else ', '.join(names)}?", yes)
    _signal(config, names, every, as_json, "told to stop", lambda api, node: api.stop(node))


def _check_nodes(names: tuple[str, ...], every: bool) -> None:
    if bool(names) == every:
        raise click.UsageError("name NODEs, or say --all; exq nodes shows them")


def _signal(
    config: Config,
    names: tuple[str, ...],
    every: bool,
    as_json: bool,
    did: str,
    send: Callable[[Api, str | None], Awaitable[list[str]]],
) -> None:
    _check_nodes(names, every)

    async def act(api: Api) -> list[str]:
        if every:
            return await send(api, None)
        return [told for name in names for told in await send(api, name)]

    told = ask_api(config, act)
    for node in told:
        if as_json:
            from . import records

            records.write({"action": did, "node_id": node})
        else:
            click.echo(f"{did}: {node}")
    if missing := [name for name in names if name not in told]:
        not_there(f"there is no node {', '.join(map(repr, missing))}; exq nodes shows those that are")
    if not told:
        not_there("there are no nodes: nobody works on the queues")


@click.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=complete_queue)
@click.option("--force", is_flag=True, help="Also a queue that nobody has pushed to yet.")
@api_command
def pause(config: Config, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Have nobody take jobs from QUEUEs any more.

    What runs goes on, and exq resume ends it.  Nodes of this package obey within a second, those that start later too;
    Exq's and Sidekiq's know no pause.

    Examples:
      exq pause mail
    """

    async def act(api: Api) -> list[tuple[str, list[str] | None]]:
        return [(name, await api.pause(name) if force or await _is_there(api, name) else None) for name in names]

    _said(ask_api(config, act), "paused", as_json)


@click.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=complete_queue)
@api_command
def resume(config: Config, names: tuple[str, ...], as_json: bool) -> None:
    """Have jobs taken from QUEUEs again.

    Examples:
      exq resume mail
    """

    async def act(api: Api) -> list[tuple[str, list[str] | None]]:
        return [(name, await api.resume(name) if await _is_there(api, name) else None) for name in names]

    _said(ask_api(config, act), "resumed", as_json)


async def _is_there(api: Api, name: str) -> bool:
    queue = await api.queue(name)
    return queue.known or queue.paused or queue.size > 0


def _said(outcomes: list[tuple[str, list[str] | None]], did: str, as_json: bool) -> None:
    for name, nodes in outcomes:
        if nodes is None:
            continue
        if as_json:
            from . import records

            records.write({"action": did, "queue": name, "nodes": [*nodes]})
        else:
            click.echo(f"{did}: {name}; {plural(len(nodes), 'node was', 'nodes were')} told")
    if missing := [name for name, nodes in outcomes if nodes is None]:
        not_there(f"there is no queue {', '.join(map(repr, missing))}; exq queues shows those that are")
