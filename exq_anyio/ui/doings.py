"""What can be done with jobs, how that is said, and what an action on all that match would do."""

from __future__ import annotations

from typing import cast

import attrs
from starlette.exceptions import HTTPException

from ..api import Place
from ..setting import check_queue_name
from . import asked
from .access import Action
from .pages import PATHS, Data
from .refs import Kind
from .visit import Visit


@attrs.frozen(kw_only=True)
class Doing:
    """What can be done with jobs, and how that is said."""

    action: Action
    label: str
    done: str
    places: frozenset[str]
    danger: bool = False
    hint: str = ""


DOINGS: tuple[Doing, ...] = (
    Doing(
        action="retry",
        label="Retry",
        done="retried",
        places=frozenset(["retry", "dead"]),
        hint="Back to its queue now, with the attempt given back",
    ),
    Doing(
        action="run",
        label="Run now",
        done="put in their queue",
        places=frozenset(["queue", "retry", "schedule"]),
        hint="To the front of its queue, or to its queue at once",
    ),
    Doing(
        action="kill",
        label="Kill",
        done="killed",
        places=frozenset(["queue", "retry", "schedule"]),
        danger=True,
        hint="To the dead set: it does not run, and is kept",
    ),
    Doing(
        action="delete",
        label="Delete",
        done="deleted",
        places=frozenset(["queue", "retry", "schedule", "dead"]),
        danger=True,
        hint="Gone for good",
    ),
)


def doings(kind: str, *, bulk: bool = False) -> list[Doing]:
    """What can be done with jobs that lie in a place of this *kind*."""
    return [one for one in DOINGS if kind in one.places and not (bulk and one.action == "run" and kind == "queue")]


def bulk_place(kind: str, name: str) -> Place:
    """The place that a form names.

    Raises:
        HTTPException: 400, there is no such kind.
    """
    if kind == "queue":
        return Place("queue", check_queue_name(name))
    if kind not in PATHS:
        raise HTTPException(400, "The form names no place where jobs lie.")
    return Place(cast("Kind", kind))


async def bulk(visit: Visit) -> Data:
    """What an action on all matching jobs would do, before it is done."""
    where = bulk_place(visit.query.get("place", ""), visit.query.get("queue", ""))
    doing = next((one for one in doings(where.kind, bulk=True) if one.action == visit.query.get("action")), None)
    if doing is None:
        raise HTTPException(400, f"There is no such action for {where}.")
    what = asked.filter_of(visit.query, visit.site.settings)
    sample = await asked.part(visit.api.at(where), what, 0, 5)
    back = visit.url(home(where))
    return {
        "place": where,
        "doing": doing,
        "what": what,
        "fields": {name: visit.query[name] for name in asked.FIELDS if visit.query.get(name)},
        "part": sample,
        "rows": [visit.shown(entry) for entry in sample.entries],
        "back": back,
        "title": f"{doing.label} all",
    }


def home(where: Place) -> str:
    """The path of the page that lists a place."""
    return f"/queues/{where.queue}" if where.kind == "queue" else PATHS[where.kind]
