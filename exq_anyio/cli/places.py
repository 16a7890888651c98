"""``exq jobs``, ``retries``, ``scheduled``, ``dead`` and ``show``: to look at what waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import attrs
import click

from .complete import complete_queue
from .options import api_command, ask_api, not_there
from .pick import Line, Named, Wanted, filter_options, find, from_option

if TYPE_CHECKING:
    from ..api import Api, BusyJob, Entry
    from ..config import Config
    from .table import Column


@attrs.define
class Listing:
    """What is listed, and how far that is."""

    place: Named
    as_json: bool
    shown: int = 0
    looked: int = 0
    total: int = 0
    write: Callable[[Sequence[Entry]], None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.write = _write_json

    def show(self, entries: Sequence[Entry], *, known: bool) -> None:
        """Show some more, or, with *known*, all of them."""
        if not self.as_json and self.shown == 0 and entries:
            self.write = _table(self.place, entries, more=not known)
        self.write(entries)
        self.shown += len(entries)


def listing(name: str, what: str, examples: Sequence[str]) -> click.Command:
    """A command that lists one of the three sets."""

    @click.command(name, help=_help(what, examples))
    @list_options
    @api_command
    def command(config: Config, **given: Any) -> None:
        _list(config, Named(name), **given)

    return command


def _help(what: str, examples: Sequence[str]) -> str:
    return f"{what}\n\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


def list_options(command: Callable[..., object]) -> Callable[..., object]:
    """What every listing takes."""
    count = click.option(
        "-n", "--limit", type=click.IntRange(1, 10_000), default=25, show_default=True, help="Most of them to show."
    )
    every = click.option("--all", "every", is_flag=True, help="Show all of them.")
    offset = click.option("--offset", type=click.IntRange(0), default=0, help="Pass over so many first.")
    return filter_options(count(every(offset(command))))


@click.command()
@click.argument("queue", shell_complete=complete_queue)
@list_options
@api_command
def jobs(config: Config, queue: str, **given: Any) -> None:
    """Show the jobs that wait in QUEUE, the newest first.

    Examples:
      exq jobs mail
      exq jobs mail --worker Welcome --since 10m
      exq jobs mail --all --json | jq -c .job.args
    """
    _list(config, Named("queue", queue), **given)


retries: click.Command = listing(
    "retries",
    "Show failed jobs that wait for their retry.\n\nThe soonest come first.",
    ["exq retries", "exq retries --error Timeout --until +1h"],
)
scheduled: click.Command = listing(
    "scheduled",
    "Show jobs that are due later, the soonest first.",
    ["exq scheduled", "exq scheduled --since +1d --worker Report"],
)
dead: click.Command = listing(
    "dead",
    "Show jobs given up, the latest first.",
    ["exq dead", "exq dead --worker Mail --error Timeout --since 2h", "exq dead --all --json | jq -r .jid"],
)


def _list(config: Config, place: Named, as_json: bool, limit: int, every: bool, offset: int, **filters: Any) -> None:
    wanted = Wanted(**filters)
    listed = Listing(place, as_json)
    if wanted.filter() is not None and offset:
        raise click.UsageError("--offset counts entries, and not those that a filter finds: give one of them")

    async def question(api: Api) -> bool:
        if place.kind == "queue":
            queue = await api.queue(place.queue)
            if not (queue.known or queue.size or queue.paused):
                return False
        if wanted.filter() is not None:
            await _search(api, listed, wanted, None if every else limit)
        elif every:
            await _all(api, listed)
        else:
            page = await place.jobs(api).page(offset, limit)
            listed.show(page.entries, known=True)
            listed.total = page.total
        return True

    try:
        if not ask_api(config, question):
            not_there(f"there is no queue {place.queue!r}; exq queues shows those that are")
    except KeyboardInterrupt:
        click.echo(f"\nlooked at {listed.looked:,} of {listed.total:,}: {listed.shown:,} shown", err=True)
        raise
    if not as_json:
        _conclude(listed, wanted, offset)


async def _search(api: Api, listed: Listing, wanted: Wanted, limit: int | None) -> None:
    """Show what is found as soon as it is found."""
    progress = Line()
    what = wanted.filter()
    assert what is not None
    async for hits in listed.place.jobs(api).search(what, limit=limit):
        progress.clear()
        listed.looked, listed.total = hits.looked, hits.total
        listed.show(hits.entries, known=False)
        progress.say(f"looked at {hits.looked:,} of {hits.total:,}, {listed.shown:,} found ...")
    progress.clear()


async def _all(api: Api, listed: Listing) -> None:
    async for page in listed.place.jobs(api).pages():
        listed.looked, listed.total = listed.looked + len(page), page.total
        listed.show(page.entries, known=False)


def _conclude(listed: Listing, wanted: Wanted, offset: int) -> None:
    """Say, apart from what is shown, how much of it all that is."""
    from .words import plural

    if wanted.filter() is not None:
        there = "" if listed.looked >= listed.total else "; --limit or --all goes on"
        click.echo(
            f"{plural(listed.shown, 'hit')}; looked at {listed.looked:,} of {listed.total:,} in {listed.place}{there}",
            err=True,
        )
    elif listed.total == 0:
        click.echo(f"Nothing is in {listed.place}.", err=True)
    elif listed.shown < listed.total:
        first = f"{offset + 1:,} to {offset + listed.shown:,}" if listed.shown else "none"
        click.echo(f"{first} of {listed.total:,} in {listed.place}", err=True)


def _write_json(entries: Sequence[Entry]) -> None:
    from . import records

    for entry in entries:
        records.write(records.entry(entry))


def _table(place: Named, first: Sequence[Entry], *, more: bool) -> Callable[[Sequence[Entry]], None]:
    from .table import Screen, Table

    now = datetime.now(UTC)
    columns, row = _columns(place)
    table = Table(columns, Screen(), [row(entry, now) for entry in first], more=more)
    return lambda entries: table.write(row(entry, now) for entry in entries)


def _columns(place: Named) -> tuple[list[Column], Callable[[Entry, datetime], tuple[str, ...]]]:
    """The columns for a place, and what makes the row of an entry."""
    from .table import Column
    from .words import ago

    jid, worker = Column("JID", 24), Column("WORKER", 10, grows=True)
    queue = Column("QUEUE", 7, grows=True, keep=4)
    match place.kind:
        case "queue":
            columns = [Column("WAITS", 6, right=True), jid, worker, Column("ARGUMENTS", 14, grows=True, keep=3)]
            return columns, lambda entry, now: (ago(entry.at, now), *_names(entry), _arguments(entry))
        case "scheduled":
            columns = [Column("DUE", 6, right=True), jid, worker, queue, Column("ARGUMENTS", 8, grows=True, keep=3)]
            return columns, lambda entry, now: (ago(entry.at, now), *_names(entry), entry.queue, _arguments(entry))
        case "retries":
            title, tries = "DUE", Column("TRY", 3, right=True, keep=2)
        case _:
            title, tries = "DIED", Column("RUNS", 4, right=True, keep=2)
    columns = [Column(title, 6, right=True), jid, worker, queue, tries, Column("ERROR", 10, grows=True, keep=8)]
    return columns, lambda entry, now: (
        ago(entry.at, now), *_names(entry), entry.queue, _tries(entry, place.kind), _error(entry),
    )  # fmt: skip


def _names(entry: Entry) -> tuple[str, str]:
    return entry.jid or "-", entry.worker or "(no job)"


def _arguments(entry: Entry) -> str:
    if entry.job is None:
        return entry.text[:200]
    return json.dumps(entry.job.args, ensure_ascii=False, separators=(", ", ": "))[1:-1][:200]


def _tries(entry: Entry, kind: str) -> str:
    """The number of the next run, or of the runs that there were."""
    return "-" if entry.job is None else f"{entry.job.attempt - (kind == 'dead')}"


def _error(entry: Entry) -> str:
    if entry.job is None:
        return entry.problem
    error, message = entry.job.error_class or "", entry.job.error_message or ""
    return f"{error}: {message[:200]}" if message else error


@click.command()
@click.argument("jid")
@from_option
@api_command
def show(config: Config, jid: str, place: Named | None, as_json: bool) -> None:
    """Show all of one job, wherever it is.

    Its place, its arguments, its error and where that was raised.

    Examples:
      exq show 0b2f9c1d7a3e5f6081920aab
      exq show 0b2f9c1d7a3e5f6081920aab --from dead --json | jq .job
    """

    async def question(api: Api) -> tuple[Entry | None, list[BusyJob], int]:
        running = [] if place else [job for job in await api.busy() if job.jid == jid]
        found = await find(api, jid, place)
        return found.entry, running, found.looked

    entry, running, looked = ask_api(config, question)
    if entry is None and not running:
        where = f"in {place}" if place else "anywhere, nor does any run"
        not_there(f"no job {jid!r} is {where}; looked at {looked:,}")
    from . import records

    for job in running:
        if as_json:
            records.write(records.busy(job))
        else:
            click.echo(f"It runs on {job.node_id}, since {job.started or 'an unknown time'}.")
    if as_json and entry is not None:
        records.write(records.entry(entry))
    elif not as_json:
        _show(entry, running)


def _show(entry: Entry | None, running: Sequence[BusyJob]) -> None:
    from .logs import one_line

    job = entry.job if entry is not None else running[0].job
    lines: list[tuple[str, object]] = []
    if entry is not None:
        lines += [("place", entry.place), ("at", entry.at)]
    if job is None:
        assert entry is not None
        lines += [("problem", entry.problem), ("text", entry.text[:2000])]
    else:
        shown = {"class": "worker"}
        hidden = {"error_backtrace"}
        lines += [
            (shown.get(name, name), _value(name, value)) for name, value in job.record.items() if name not in hidden
        ]
    for name, value in lines:
        click.echo(f"{one_line(name):<14} {one_line(str(value))}")
    if job is not None and (trace := job.error_backtrace):
        click.echo("backtrace")
        for line in trace:
            click.echo(f"  {one_line(line)}")


def _value(name: str, value: object) -> str:
    from ..job import instant

    if name.endswith("_at") and (at := instant(cast("Any", value))) is not None:
        return at.isoformat(timespec="seconds")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
