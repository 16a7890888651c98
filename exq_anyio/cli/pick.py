"""Which jobs are meant: places, filters, and one job by its jid."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import attrs
import click

from .complete import SETS, complete_place
from .words import instant

if TYPE_CHECKING:
    from ..api import Api, Entry, Filter, Jobs

_Command = TypeVar("_Command", bound=Callable[..., object])


@attrs.frozen
class Named:
    """A place as the command line names it: ``retries``, ``scheduled``, ``dead``, or a queue."""

    kind: str
    """One of the three sets, or ``"queue"``."""
    queue: str = ""

    @classmethod
    def read(cls, text: str) -> Named:
        """What *text* names; ``queue:dead`` is a queue that is called like a set."""
        if text in SETS:
            return cls(text)
        return cls("queue", text.removeprefix("queue:"))

    def jobs(self, api: Api) -> Jobs:
        """What waits there.  Raises InvalidQueue."""
        match self.kind:
            case "retries":
                return api.retries()
            case "scheduled":
                return api.scheduled()
            case "dead":
                return api.dead()
            case _:
                return api.jobs(self.queue)

    def __str__(self) -> str:
        match self.kind:
            case "dead":
                return "the dead set"
            case "queue":
                return f"queue {self.queue}"
            case _:
                return self.kind


def from_option(command: _Command) -> _Command:
    """``--from``."""
    return click.option(
        "--from",
        "place",
        metavar="PLACE",
        type=Named.read,
        shell_complete=complete_place,
        help="Where they are: retries, scheduled, dead, or the name of a queue.",
    )(command)


def filter_options(command: _Command) -> _Command:
    """What entries have to meet."""
    for option in reversed(
        (
            click.option("--worker", metavar="TEXT", help="Workers that have TEXT in their name."),
            click.option("--error", metavar="TEXT", help="Errors that have TEXT in the name of their class."),
            click.option("--text", metavar="TEXT", help="Jobs that have TEXT anywhere in them."),
            click.option("--tag", metavar="TAG", help="Jobs with this tag."),
            click.option("--since", metavar="TIME", type=instant, help="Not before: 2h (ago), +2h, or ISO 8601."),
            click.option("--until", metavar="TIME", type=instant, help="Not after."),
        )
    ):
        command = option(command)
    return command


@attrs.frozen(kw_only=True)
class Wanted:
    """The filters that were given."""

    worker: str | None = None
    error: str | None = None
    text: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def filter(self) -> Filter | None:
        """What the API is asked for; None when nothing was given."""
        from ..api import Filter

        given = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        return Filter(**given) if given else None

    def __str__(self) -> str:
        """How they were given, to be shown in a question."""
        given = attrs.asdict(self, value_serializer=lambda _, field, value: _shown(value))
        return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)


def _shown(value: object) -> object:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


@attrs.frozen
class Sought:
    """What a search for one jid came to."""

    entry: Entry | None
    looked: int
    """Entries looked at, in all places."""


async def find(api: Api, jid: str, place: Named | None, *, queues: bool = True) -> Sought:
    """The job *jid*, in *place*, or wherever it is: retries, dead, scheduled, then the queues.

    Who looks at a terminal is told how far it is.
    """
    looked = 0
    for jobs in await _places(api, place, queues=queues):
        found = await _find_in(jobs, jid, looked)
        looked += found.looked
        if found.entry is not None:
            return Sought(found.entry, looked)
    return Sought(None, looked)


async def _places(api: Api, place: Named | None, *, queues: bool) -> Sequence[Jobs]:
    if place is not None:
        return [place.jobs(api)]
    sets = [api.retries(), api.dead(), api.scheduled()]
    return [*sets, *(api.jobs(queue.name) for queue in await api.queues())] if queues else sets


async def _find_in(jobs: Jobs, jid: str, before: int) -> Sought:
    from ..api import Filter

    looked = 0
    progress = Line()
    async for hits in jobs.search(Filter(text=jid)):
        looked = hits.looked
        progress.say(f"looked at {before + looked:,} jobs, now in {jobs.place} ...")
        for entry in hits.entries:
            if entry.jid and entry.jid == jid:
                progress.clear()
                return Sought(entry, looked)
    progress.clear()
    return Sought(None, looked)


class Line:
    """A line on stderr that changes, where that is a terminal; else nothing."""

    def __init__(self) -> None:
        self._shown = 0

    def say(self, text: str) -> None:
        """Show *text* in place of what was there."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text:<{self._shown}}")
            sys.stderr.flush()
            self._shown = len(text)

    def clear(self) -> None:
        """Show nothing any more."""
        if self._shown:
            sys.stderr.write(f"\r{'':<{self._shown}}\r")
            sys.stderr.flush()
            self._shown = 0
