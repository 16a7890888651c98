"""The buttons of the pages: a form is checked, obeyed, and answered by a page that says what came of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, cast
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import asked, changes, doings, pages, show
from .access import ACTIONS, Action, check_origin, check_token
from .body import Form, form
from .guard import Stream
from .refs import Ref
from .site import SAID_COOKIE, Site
from .visit import Visit, admit

Obey: TypeAlias = Callable[[Visit, Form], Awaitable[str]]
"""Does what a form says; the sentence about what came of it."""

PATIENCE = 8.0
"""Seconds after which an action on many answers although it is not over, where nothing shows its progress."""


async def post(site: Site, request: Request) -> Response:
    """Every form but the one for all that match: the action is a field of it."""
    sent, action = await checked(site, request)
    visit = await admit(site, request, action, ask_all=False)
    obey = OBEY.get(action)
    if obey is None:
        raise HTTPException(400, "There is no such action.")
    return back(visit, sent, await obey(visit, sent))


async def checked(site: Site, request: Request) -> tuple[Form, Action]:
    """The form, if it comes from one of our pages, and what it wants.

    Raises:
        HTTPException: 400, 403, 413 or 415.
    """
    check_origin(request)
    sent = await form(request)
    check_token(request, sent.get("token"))
    action, _ = sent.chosen()
    if action not in ACTIONS or action == "read":
        raise HTTPException(400, "There is no such action.")
    return sent, cast("Action", action)


def back(visit: Visit, sent: Form, said: str, to: str | None = None) -> Response:
    """To the page that the form came from, which then says *said*."""
    base = visit.site.base(visit.request)
    where = sent.get("back") if to is None else to
    if not where.startswith(f"{base}/") or where.startswith("//") or "\\" in where or not where.isprintable():
        where = f"{base}/"
    response = RedirectResponse(where, 303)
    secure = visit.request.url.scheme == "https"
    text = quote(show.shorten(said, 300), safe=" ,.:;()'")
    response.set_cookie(SAID_COOKIE, text, max_age=60, path=f"{base}/", httponly=True, secure=secure, samesite="strict")
    return response


async def _run(visit: Visit, sent: Form) -> str:
    if not (name := sent.get("periodic")):
        return await _jobs(visit, sent)
    jid = await visit.api.periodic.run(name)
    return f"{name} enqueued: {jid}." if jid else f"{name} was not enqueued: it is gone, or its unique lock is held."


async def _jobs(visit: Visit, sent: Form) -> str:
    action, chosen = sent.chosen()
    refs = [Ref.parse(ref) for ref in chosen]
    if not refs:
        return "Nothing was chosen."
    done = await changes.act(visit.api, cast("Action", action), refs)
    verb = next(doing.done for doing in doings.DOINGS if doing.action == action)
    parts = [f"{show.plural(done.done, 'job')} {verb}"]
    if done.moved:
        parts.append(f"{done.moved:,} had moved on")
    if done.refused:
        parts.append(f"{done.refused:,} cannot be, since they are no jobs")
    return f"{'; '.join(parts)}."


async def _delete(visit: Visit, sent: Form) -> str:
    if name := sent.get("periodic"):
        return f"{name} removed." if await visit.api.periodic.remove(name) else f"{name} was not there any more."
    name = sent.get("queue")
    if not name or sent.chosen()[1]:
        return await _jobs(visit, sent)
    count = await visit.api.jobs(name).clear()
    return f"Queue {name} cleared: {show.plural(count, 'job')} deleted."


async def _pause(visit: Visit, sent: Form) -> str:
    resume = sent.get("resume")
    if name := sent.get("periodic"):
        there = await (visit.api.periodic.resume(name) if resume else visit.api.periodic.pause(name))
        return f"{name} {'resumed' if resume else 'paused'}." if there else f"{name} was not there any more."
    name = sent.get("queue")
    told = await (visit.api.resume(name) if resume else visit.api.pause(name))
    return f"Queue {name} {'resumed' if resume else 'paused'}; {show.plural(len(told), 'node')} told."


async def _quiet(visit: Visit, sent: Form) -> str:
    told = await visit.api.quiet(sent.get("node") or None)
    return f"{_told(told)} to take no more jobs."


async def _stop(visit: Visit, sent: Form) -> str:
    told = await visit.api.stop(sent.get("node") or None)
    return f"{_told(told)} to stop."


def _told(nodes: list[str]) -> str:
    return f"{nodes[0]} was told" if len(nodes) == 1 else f"{show.plural(len(nodes), 'node')} were told"


async def _cancel(visit: Visit, sent: Form) -> str:
    cancelled = await visit.api.cancel(sent.get("jid"))
    where = ", ".join(cancelled.running_on) or show.plural(len(cancelled.nodes), "node")
    return f"Cancellation sent to {where}." if cancelled.nodes else "No node is there that could cancel it."


async def _edit(visit: Visit, sent: Form) -> str:
    entry = await changes.edit(visit.api, Ref.parse(sent.get("ref")), changes.arguments(sent.get("args")))
    return "Arguments changed." if entry is not None else "The job had moved on."


async def _reschedule(visit: Visit, sent: Form) -> str:
    at = asked.instant("The time", sent.get("at"))
    entry = await changes.reschedule(visit.api, Ref.parse(sent.get("ref")), at)
    return f"Due at {show.moment(entry.at)}." if entry is not None else "The job had moved on."


async def _enqueue(visit: Visit, sent: Form) -> str:
    jid = await changes.enqueue(visit.q, new_job(sent.fields()))
    return f"Enqueued: {jid}."


def new_job(given: Mapping[str, str]) -> changes.NewJob:
    """What the form for a new job says.  Raises HTTPException: 400, a field cannot be read."""
    if not given.get("worker", "").strip():
        raise HTTPException(400, "Which worker? Give its name.")
    try:
        retries = int(given["max_retries"]) if given.get("max_retries") else None
        after = float(given["after"]) if given.get("after") else None
    except ValueError:
        raise HTTPException(400, "Retries and seconds must be numbers.") from None
    return changes.NewJob(
        queue=given.get("queue", "").strip() or "default",
        worker=given["worker"].strip(),
        args=changes.arguments(given.get("args", "").strip() or "[]"),
        after=after,
        at=asked.instant("The time", given["at"]) if given.get("at") else None,
        max_retries=retries,
        tags=tuple(tag.strip() for tag in given.get("tags", "").split(",") if tag.strip()),
    )


OBEY: Mapping[Action, Obey] = {
    "retry": _jobs,
    "run": _run,
    "kill": _jobs,
    "delete": _delete,
    "pause": _pause,
    "quiet": _quiet,
    "stop": _stop,
    "cancel": _cancel,
    "edit": _edit,
    "reschedule": _reschedule,
}


async def post_enqueue(site: Site, request: Request) -> Response:
    """The form for a new job; what cannot be is told above it, and nothing that was typed is lost."""
    sent, action = await checked(site, request)
    if action != "enqueue":
        raise HTTPException(400, "There is no such action.")
    visit = await admit(site, request, action, ask_all=True)
    try:
        said = await _enqueue(visit, sent)
    except HTTPException as error:
        data = {**await pages.enqueue(visit), "problem": error.detail, "given": sent.fields()}
        return site.page(visit, "enqueue.html", {**data, **await pages.summary(visit), "name": "enqueue"}, 400)
    return back(visit, sent, said, visit.url("/enqueue", queue=sent.get("queue"), worker=sent.get("worker")))


async def post_bulk(site: Site, request: Request) -> Response:
    """An action on all that match: its progress line by line for a script, else a page when it is over."""
    sent, action = await checked(site, request)
    visit = await admit(site, request, action, ask_all=False)
    place = doings.bulk_place(sent.get("place"), sent.get("queue"))
    fields = sent.fields()
    bulk = changes.act_on_all(visit.api, action, place, asked.filter_of(fields, site.settings))
    if request.headers.get("accept") == "application/x-ndjson":
        return Stream(changes.lines(bulk), "application/x-ndjson")
    count, ended, began = 0, True, time.monotonic()
    async for step in bulk:
        count = step.done
        if time.monotonic() - began > PATIENCE:
            ended = False
            break
    verb = next((doing.done for doing in doings.DOINGS if doing.action == action), "done")
    if not ended:
        again = visit.url("/bulk", **{name: value for name, value in fields.items() if name not in ("token", "back")})
        return back(visit, sent, f"{show.plural(count, 'job')} {verb} so far; go on for the others.", again)
    return back(visit, sent, f"{show.plural(count, 'job')} {verb}.", visit.url(doings.home(place)))
