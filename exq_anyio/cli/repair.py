"""``exq retry``, ``run-now``, ``kill``, ``delete``, ``clear``, ``edit`` and ``reschedule``: to act on what waits."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import click

from .complete import complete_place
from .enqueue import json_array
from .options import NOT_THERE, api_command, ask_api, confirm, not_there, yes_option
from .pick import Line, Named, Sought, Wanted, filter_options, find, from_option
from .words import instant, plural

if TYPE_CHECKING:
    from ..api import Api, Bulk, Entry, Filter, Jobs, Progress
    from ..config import Config


@attrs.frozen(kw_only=True)
class Action:
    """What is done to one entry, or to many."""

    verb: str
    """What it is called in a question: ``Delete``."""
    did: str
    """What it is called when it is done: ``deleted``."""
    one: Callable[[Jobs, Entry], Awaitable[bool]]
    many: Callable[[Jobs, Filter | None], Bulk[Progress]]
    asks: bool
    """Whether it asks first also for a job that is named."""


def acting(name: str, action: Action, summary: str, *, examples: Sequence[str], locks: bool = False) -> click.Command:
    """A command that does *action* to the JIDs that are named, or to all that match."""
    text = (
        f"{summary}\n\nName the jobs by their JIDs, which are looked for everywhere, or in the PLACE of --from; or all "
        f"of a PLACE, with --all or a filter, which asks first.\n\nExamples:\n"
    ) + "\n".join(f"  {example}" for example in examples)

    @click.command(name, help=text)
    @click.argument("jids", metavar="[JID]...", nargs=-1)
    @from_option
    @click.option("--all", "every", is_flag=True, help="All that are in PLACE.")
    @filter_options
    @yes_option
    @api_command
    def command(
        config: Config,
        as_json: bool,
        jids: tuple[str, ...],
        place: Named | None,
        every: bool,
        yes: bool,
        keep_lock: bool = False,
        **filters: Any,
    ) -> None:
        wanted, chosen = Wanted(**filters), _keeping(action, keep_lock)
        if jids:
            if every or wanted.filter() is not None:
                raise click.UsageError("name JIDs, or say --all or a filter; not both")
            _act_on_each(config, chosen, jids, place, yes, as_json)
            return
        if place is None:
            raise click.UsageError("name JIDs; or a PLACE, with --from, and --all or a filter")
        if not every and wanted.filter() is None:
            raise click.UsageError(f"that would be all that is in {place}: say --all, or filter")
        _act_on_all(config, chosen, place, wanted, yes, as_json)

    if locks:
        command = click.option("--keep-lock", is_flag=True, help="Keep the unique locks that they hold.")(command)
    return command


def _keeping(action: Action, keep_lock: bool) -> Action:
    if not keep_lock:
        return action
    deletes = action.did == "deleted"
    return attrs.evolve(
        action,
        one=(lambda jobs, entry: jobs.delete(entry, keep_lock=True))
        if deletes
        else (lambda jobs, entry: jobs.kill(entry, keep_lock=True)),
        many=(lambda jobs, what: jobs.delete_all(what, keep_locks=True))
        if deletes
        else (lambda jobs, what: jobs.kill_all(what, keep_locks=True)),
    )


retry: click.Command = acting(
    "retry",
    Action(
        verb="Retry",
        did="retried",
        one=lambda jobs, entry: jobs.retry(entry),
        many=lambda jobs, what: jobs.retry_all(what),
        asks=False,
    ),
    "Retry failed or dead jobs now.\n\nThey go back to their queues, with the attempt given back; scheduled jobs too.",
    examples=[
        "exq retry 0b2f9c1d7a3e5f6081920aab",
        "exq retry --from dead --worker Mail --error Timeout --since 2h",
        "exq retry --from retries --all --yes",
    ],
)
run_now: click.Command = acting(
    "run-now",
    Action(
        verb="Run",
        did="put to run now",
        one=lambda jobs, entry: jobs.run_now(entry),
        many=lambda jobs, what: jobs.run_all(what),
        asks=False,
    ),
    "Run waiting jobs now.\n\nThey go to their queues, their attempts as they are; one in a queue goes to its front.",
    examples=["exq run-now 0b2f9c1d7a3e5f6081920aab", "exq run-now --from scheduled --worker Report"],
)
kill: click.Command = acting(
    "kill",
    Action(
        verb="Kill",
        did="killed",
        one=lambda jobs, entry: jobs.kill(entry),
        many=lambda jobs, what: jobs.kill_all(what),
        asks=True,
    ),
    "Move waiting jobs to the dead set.\n\nThere they can be looked at and retried.  To end a running job: exq cancel.",
    examples=["exq kill 0b2f9c1d7a3e5f6081920aab", "exq kill --from mail --worker Newsletter --yes"],
    locks=True,
)
delete: click.Command = acting(
    "delete",
    Action(
        verb="Delete",
        did="deleted",
        one=lambda jobs, entry: jobs.delete(entry),
        many=lambda jobs, what: jobs.delete_all(what),
        asks=True,
    ),
    "Delete waiting jobs, for ever.",
    examples=["exq delete 0b2f9c1d7a3e5f6081920aab --from dead", "exq delete --from dead --until 30d --yes"],
    locks=True,
)


def _act_on_each(
    config: Config, action: Action, jids: Sequence[str], place: Named | None, yes: bool, as_json: bool
) -> None:
    """Act on each of *jids*; the status says whether all of them were there."""

    async def look(api: Api) -> list[Sought]:
        return [await find(api, jid, place) for jid in jids]

    found = ask_api(config, look)
    entries = [sought.entry for sought in found if sought.entry is not None]
    for entry in entries:
        # Before anything is done, and not in the midst of it.
        _check(action, entry)
    if action.asks and entries:
        named = f"{entries[0].jid} ({entries[0].worker}) of {entries[0].place}"
        confirm(f"{action.verb} {named if len(entries) == 1 else plural(len(entries), 'job')}?", yes)

    async def act(api: Api) -> list[bool]:
        return [await action.one(api.at(entry.place), entry) for entry in entries]

    done = ask_api(config, act) if entries else []
    outcomes = iter(done)
    missed = 0
    for jid, sought in zip(jids, found, strict=True):
        was_there = sought.entry is not None and next(outcomes)
        missed += not was_there
        _say(action, jid, sought.entry, was_there, place, sought.looked, as_json)
    if missed:
        sys.exit(NOT_THERE)


def _check(action: Action, entry: Entry) -> None:
    """Refuse what the API would, for all of them at once."""
    if entry.place.kind == "queue" and action.did == "retried":
        raise click.UsageError(f"{entry.jid} waits in {entry.place} already; exq run-now puts it to the front")
    if entry.place.kind == "dead" and action.did == "killed":
        raise click.UsageError(f"{entry.jid} is dead already; exq delete deletes it")


def _say(
    action: Action, jid: str, entry: Entry | None, done: bool, place: Named | None, looked: int, as_json: bool
) -> None:
    if as_json:
        from . import records

        there = None if entry is None else str(entry.place)
        records.write({"action": action.did, "jid": jid, "done": done, "from": there})
    elif done and entry is not None:
        click.echo(f"{action.did}: {jid} ({entry.worker}), was in {entry.place}")
    elif entry is not None:
        click.echo(f"exq: {jid} has just left {entry.place}: nothing was done to it", err=True)
    else:
        where = f"in {place}" if place else "waiting anywhere"
        click.echo(f"exq: no job {jid!r} is {where}; looked at {looked:,}", err=True)


def _act_on_all(config: Config, action: Action, place: Named, wanted: Wanted, yes: bool, as_json: bool) -> None:
    what = wanted.filter()

    async def look(api: Api) -> int | None:
        if place.kind == "queue" and not (await api.queue(place.queue)).known:
            return None
        jobs = place.jobs(api)
        action.many(jobs, what)  # refuses, before the question, what cannot be
        return await jobs.size()

    try:
        total = ask_api(config, look)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if total is None:
        not_there(f"there is no queue {place.queue!r}; exq queues shows those that are")
    which = f"those that match {wanted} of the {total:,}" if what else f"all {total:,}"
    confirm(f"{action.verb} {which} in {place}?", yes or total == 0)
    _follow(config, action.did, place, as_json, lambda api: action.many(place.jobs(api), what))


def _follow(config: Config, did: str, place: Named, as_json: bool, begin: Callable[[Api], Bulk[Progress]]) -> None:
    """Do it, and say how far it came, also when it is interrupted."""
    last: list[Progress] = []

    async def act(api: Api) -> None:
        line = Line()
        async for progress in begin(api):
            last[:] = [progress]
            line.say(f"looked at {progress.looked:,} of {progress.total:,}, {did} {progress.done:,} ...")
        line.clear()

    try:
        ask_api(config, act)
    except KeyboardInterrupt:
        _say_progress(did, place, last, as_json, whole=False)
        raise
    _say_progress(did, place, last, as_json, whole=True)


def _say_progress(did: str, place: Named, last: list[Progress], as_json: bool, *, whole: bool) -> None:
    looked, total, done, moved = (last[0].looked, last[0].total, last[0].done, last[0].moved) if last else (0, 0, 0, 0)
    if as_json:
        from . import records

        records.write(
            {"action": did, "place": str(place), "done": done, "moved": moved, "looked": looked, "complete": whole}
        )
        return
    text = f"{did}: {plural(done, 'job')} of {place}; looked at {looked:,} of {total:,}"
    if moved:
        text += f"; {moved:,} had left when it came to them"
    click.echo(text if whole else f"\ninterrupted; {text}", err=not whole)


@click.command()
@click.argument("place", type=Named.read, shell_complete=complete_place)
@yes_option
@api_command
def clear(config: Config, place: Named, yes: bool, as_json: bool) -> None:
    """Delete everything in PLACE.

    That is retries, scheduled, dead, or a queue, whose name goes too.  Jobs that come meanwhile stay.  Unique locks
    that the jobs hold are freed.

    Examples:
      exq clear dead
      exq clear mail --yes
    """

    async def look(api: Api) -> int | None:
        if place.kind == "queue" and not (await api.queue(place.queue)).known:
            return None
        return await place.jobs(api).size()

    total = ask_api(config, look)
    if total is None:
        not_there(f"there is no queue {place.queue!r}; exq queues shows those that are")
    confirm(f"Delete all {total:,} in {place}?", yes or total == 0)

    async def act(api: Api) -> int:
        return await place.jobs(api).clear()

    done = ask_api(config, act)
    if as_json:
        from . import records

        records.write({"action": "cleared", "place": str(place), "done": done})
    else:
        click.echo(f"deleted: {plural(done, 'job')} of {place}")


def _change(
    config: Config,
    jid: str,
    place: Named | None,
    as_json: bool,
    change: Callable[[Jobs, Entry], Awaitable[Entry | None]],
) -> None:
    """Change one job, and show what it is now."""

    async def act(api: Api) -> tuple[Sought, Entry | None]:
        sought = await find(api, jid, place)
        if sought.entry is None:
            return sought, None
        return sought, await change(api.at(sought.entry.place), sought.entry)

    sought, now = ask_api(config, act)
    if sought.entry is None:
        not_there(f"no job {jid!r} is {f'in {place}' if place else 'waiting anywhere'}; looked at {sought.looked:,}")
    if now is None:
        not_there(f"{jid} has just left {sought.entry.place}: nothing was done to it")
    if as_json:
        from . import records

        records.write(records.entry(now))
    else:
        due = f", due {now.at.isoformat(timespec='seconds')}" if now.score is not None and now.at is not None else ""
        click.echo(f"changed: {jid} ({now.worker}), in {now.place}{due}")


@click.command()
@click.argument("jid")
@click.argument("args", metavar="JSON_ARGS", callback=json_array)
@from_option
@api_command
def edit(config: Config, jid: str, args: list[Any], place: Named | None, as_json: bool) -> None:
    """Give a waiting job other arguments.

    They are a JSON array.  Everything else stays as it is, where it is.

    Examples:
      exq edit 0b2f9c1d7a3e5f6081920aab '[7, "hello"]'
    """
    _change(config, jid, place, as_json, lambda jobs, entry: jobs.edit(entry, args))


@click.command()
@click.argument("jid")
@click.argument("at", metavar="TIME", type=instant)
@from_option
@api_command
def reschedule(config: Config, jid: str, at: datetime, place: Named | None, as_json: bool) -> None:
    """Have a waiting job due at another TIME.

    Write +2h (from now), or ISO 8601.  A job in a queue goes to the schedule.

    Examples:
      exq reschedule 0b2f9c1d7a3e5f6081920aab +30m
      exq reschedule 0b2f9c1d7a3e5f6081920aab 2030-01-31T12:00:00Z
    """

    async def change(jobs: Jobs, entry: Entry) -> Entry | None:
        try:
            return await jobs.reschedule(entry, at)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    _change(config, jid, place, as_json, change)
