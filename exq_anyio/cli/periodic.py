"""``exq periodic``: what is enqueued again and again, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .enqueue import json_array
from .options import api_command, ask_api, confirm, not_there, yes_option

if TYPE_CHECKING:
    from ..api import Api, PeriodicJob
    from ..config import Config


@click.group()
def periodic() -> None:
    """Look at periodic jobs, and steer them.

    Programs declare them with their workers or in their settings; others are added here.

    Examples:
      exq periodic list
      exq periodic run nightly
    """


@periodic.command("list")
@api_command
def list_all(config: Config, as_json: bool) -> None:
    """Show all periodic jobs: when each is due, and what was enqueued last."""

    async def question(api: Api) -> list[PeriodicJob]:
        return await api.periodic.all()

    found = ask_api(config, question)
    if as_json:
        from . import records

        for job in found:
            records.write(records.periodic(job))
    elif found:
        _show(found)
    else:
        click.echo("There are no periodic jobs.")


def _show(found: list[PeriodicJob]) -> None:
    from .table import Cell, Column, Screen, Table
    from .words import ago

    now = datetime.now(UTC)
    columns = [
        Column("NAME", 12, grows=True),
        Column("WHEN", 12, grows=True),
        Column("WORKER", 10, grows=True),
        Column("QUEUE", 7, grows=True, keep=3),
        Column("NEXT", 6, right=True),
        Column("LAST", 5, right=True, keep=5),
        Column("", 8, keep=6),
    ]
    rows = [
        (
            job.name,
            "?" if job.schedule is None else str(job.schedule),
            job.worker,
            job.queue,
            ago(job.next_tick, now),
            ago(job.last_tick, now),
            Cell("paused", "yellow") if job.paused else Cell("" if job.declared else "added"),
        )
        for job in found
    ]
    Table(columns, Screen(), rows).write(rows)


@periodic.command()
@click.argument("name")
@click.argument("worker")
@click.argument("args", metavar="[JSON_ARGS]", callback=json_array, default="[]")
@click.option("--cron", metavar="EXPRESSION", help="When: five fields, or six that begin with the second.")
@click.option("--timezone", metavar="NAME", help="Whose clocks cron goes by, such as Europe/Berlin; by default UTC.")
@click.option("--every", metavar="SECONDS", type=float, help="When: at each multiple since 1970 in UTC.")
@click.option("--missed", type=click.Choice(["skip", "once", "all"]), help="What if nobody was there; by default once.")
@click.option("--limit", metavar="N", type=int, help="Most that are made up for with --missed all; by default 100.")
@click.option("--queue", default="default", show_default=True, help="Where its jobs go.")
@api_command
def add(config: Config, name: str, worker: str, args: list[Any], queue: str, as_json: bool, **schedule: object) -> None:
    """Have a job of WORKER enqueued again and again, as NAME; one of that name is replaced.

    Examples:
      exq periodic add nightly Reports::Daily '["eu"]' --cron '0 3 * * *' --timezone Europe/Berlin
      exq periodic add sweep sweep --every 60 --queue low
    """
    from ..periodic import schedule_of
    from ..spec import JobSpec

    when = schedule_of({option: value for option, value in schedule.items() if value is not None})

    async def act(api: Api) -> PeriodicJob | None:
        await api.periodic.add(name, JobSpec(worker=worker, args=tuple(args), queue=queue), when)
        return await api.periodic.find(name)

    added = ask_api(config, act)
    if as_json:
        from . import records

        records.write({"action": "added", **(records.periodic(added) if added else {"name": name})})
    else:
        click.echo(f"added: {name}, {when}")


@periodic.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@yes_option
@api_command
def remove(config: Config, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Enqueue them no more.

    A program that declares one brings it back at its next start: pause that instead.
    """
    confirm(f"Remove {', '.join(names)}?", yes)
    _act(config, names, "removed", as_json, lambda api, name: api.periodic.remove(name))


@periodic.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@api_command
def pause(config: Config, names: tuple[str, ...], as_json: bool) -> None:
    """Enqueue nothing until they are resumed, also when their programs start anew."""
    _act(config, names, "paused", as_json, lambda api, name: api.periodic.pause(name))


@periodic.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@api_command
def resume(config: Config, names: tuple[str, ...], as_json: bool) -> None:
    """Enqueue them again, from their next times on."""
    _act(config, names, "resumed", as_json, lambda api, name: api.periodic.resume(name))


@periodic.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@api_command
def run(config: Config, names: tuple[str, ...], as_json: bool) -> None:
    """Enqueue their jobs now, beside their times, and print the jids."""
    _act(config, names, "enqueued", as_json, lambda api, name: api.periodic.run(name))


def _act(
    config: Config,
    names: tuple[str, ...],
    did: str,
    as_json: bool,
    act: Callable[[Api, str], Awaitable[bool | str | None]],
) -> None:
    async def question(api: Api) -> list[bool | str | None]:
        return [await act(api, name) for name in names]

    done = dict(zip(names, ask_api(config, question), strict=True))
    for name, result in done.items():
        if not result:
            continue
        jid = result if isinstance(result, str) else None
        if as_json:
            from . import records

            records.write({"action": did, "name": name, **({"jid": jid} if jid else {})})
        else:
            click.echo(f"{did}: {name}" + (f", {jid}" if jid else ""))
    if missing := [name for name, result in done.items() if not result]:
        unique = ", or its unique job is there already" if did == "enqueued" else ""
        not_there(f"there is no periodic job {', '.join(map(repr, missing))}{unique}; exq periodic list shows all")
