"""The JSON API: one table of endpoints, which the routes and the OpenAPI document are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..api import Bulk, Cancelled, Day, Entry, Jobs, NodeInfo, Place, Progress, QueueInfo, Second, ServerInfo, Stats
from ..api.measures import Metrics, WorkerMetrics
from ..job import JSON
from ..setting import check_queue_name
from . import asked, body, changes, pages, records
from .access import Action, check_origin
from .guard import Stream
from .json_types import (
    All,
    Cleared,
    Edit,
    Enqueued,
    FoundJob,
    JobList,
    Moved,
    Nothing,
    PeriodicRecord,
    Ran,
    Refs,
    Reschedule,
    There,
    Told,
    WhichJob,
    WhichNode,
    WhichPeriodic,
)
from .refs import Kind, Ref
from .site import Site
from .visit import Visit, admit

T = TypeVar("T")

Answer: TypeAlias = Callable[[Visit, Any], Awaitable[object]]
"""From a visit and the body of its request, if there is one, to what is answered."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """One method of one address."""

    method: Literal["GET", "POST"]
    path: str
    action: Action
    summary: str
    answers: Any
    """The type of what is answered."""
    handle: Answer
    takes: Any = None
    """The type of the body, None for no body."""
    query: tuple[str, ...] = ()
    """Parameters of the query."""


def answer(value: object, status: int = 200) -> Response:
    """*value* as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def routes(site: Site) -> list[Route]:
    """The routes of all endpoints, and of the document that describes them."""
    found = [Route(f"/api{one.path}", partial(serve, site, one), methods=[one.method]) for one in ENDPOINTS]
    return [Route("/api/openapi.json", partial(document, site)), *found]


async def serve(site: Site, endpoint: Endpoint, request: Request) -> Response:
    """Answer one request."""
    if endpoint.method != "GET":
        check_origin(request)
    visit = await admit(site, request, endpoint.action, ask_all=False)
    taken: object = None
    if endpoint.takes is not None:
        taken = _taken(await body.json(request), endpoint.takes)
    found = await endpoint.handle(visit, taken)
    if isinstance(found, Bulk):
        if request.headers.get("accept") == "application/x-ndjson":
            return Stream(changes.lines(found), "application/x-ndjson")
        found = await found
    return answer(found)


async def document(site: Site, request: Request) -> Response:
    """The OpenAPI document."""
    from .openapi import openapi

    await admit(site, request, "read", ask_all=False)
    return answer(openapi(site.settings.title, site.base(request), ENDPOINTS))


async def payload(site: Site, request: Request) -> Response:
    """All of one job's payload, to be kept as a file; what is redacted is redacted here too."""
    visit = await admit(site, request, "read", ask_all=False)
    entry = await Ref.parse(visit.query.get("ref", "")).entry(visit.api)
    if entry is None:
        raise HTTPException(404, "The job is not there any more.")
    shown = visit.shown(entry)
    hidden = site.settings.redact is not None
    raw = entry.payload if not hidden else shown.job.payload if shown.job is not None else shown.text.encode()
    headers = {"content-disposition": 'attachment; filename="payload.json"'}
    return Response(raw, media_type="application/octet-stream", headers=headers)


def _taken(found: dict[str, JSON], kind: type[T]) -> T:
    unknown = found.keys() - {field.name for field in attrs.fields(cast("Any", kind))}
    if unknown:
        raise HTTPException(400, f"There is no field {min(unknown)!r} in {kind.__name__}.")
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise HTTPException(400, f"The body is not what it should be: {error}.") from None


# What each answers


async def _listed(visit: Visit, jobs: Jobs) -> JobList:
    what = asked.filter_of(visit.query, visit.site.settings)
    size = visit.number("size", asked.SIZES[0], 1, asked.SIZES[-1])
    part = await asked.part(jobs, what, visit.number("from", 0, 0, 2**53), size)
    found = tuple(records.record(visit.shown(entry)) for entry in part.entries)
    return JobList(jobs=found, total=part.total, next=part.next, looked=part.looked)


async def _place(kind: Kind, visit: Visit, taken: None) -> JobList:
    return await _listed(visit, visit.api.at(Place(kind)))


async def _queue_jobs(visit: Visit, taken: None) -> JobList:
    return await _listed(visit, visit.api.jobs(visit.params["queue"]))


async def _stats(visit: Visit, taken: None) -> Stats:
    return await visit.api.stats()


async def _server(visit: Visit, taken: None) -> ServerInfo:
    return await visit.api.server()


async def _history(visit: Visit, taken: None) -> list[Day]:
    return await visit.api.history(visit.number("days", 30, 1, 5 * 365))


async def _realtime(visit: Visit, taken: None) -> list[Second]:
    return await visit.api.realtime(visit.number("seconds", 60, 1, 120))


async def _queues(visit: Visit, taken: None) -> list[QueueInfo]:
    return await visit.api.queues()


async def _queue(visit: Visit, taken: None) -> QueueInfo:
    return await visit.api.queue(visit.params["queue"])


async def _nodes(visit: Visit, taken: None) -> list[NodeInfo]:
    return await visit.api.nodes()


async def _busy(visit: Visit, taken: None) -> list[records.JobRecord]:
    redact = visit.site.settings.redact
    return [records.record(records.running(job, redact)) for job in await visit.api.busy()]


async def _job(visit: Visit, taken: None) -> records.JobRecord:
    entry = await Ref.parse(visit.query.get("ref", "")).entry(visit.api)
    if entry is None:
        raise HTTPException(404, "The job is not there any more; /api/find looks for its jid everywhere.")
    return records.record(visit.shown(entry), whole=True)


async def _find(visit: Visit, taken: None) -> FoundJob:
    found = await pages.look_everywhere(visit, visit.query.get("jid", ""))
    one = found.running if found.running is not None else found.entry
    return FoundJob(job=None if one is None else records.record(one, whole=True))


async def _act(action: Action, visit: Visit, taken: Refs) -> changes.Done:
    return await changes.act(visit.api, action, [Ref.parse(ref) for ref in taken.refs[:1_000]])


async def _act_on_all(action: Action, visit: Visit, taken: All) -> Bulk[Progress]:
    where = Place("queue", check_queue_name(taken.queue)) if taken.place == "queue" else Place(taken.place)
    given = cast("dict[str, str]", attrs.asdict(taken))
    return changes.act_on_all(visit.api, action, where, asked.filter_of(given, visit.site.settings))


async def _edit(visit: Visit, taken: Edit) -> Moved:
    return _moved(visit, await changes.edit(visit.api, Ref.parse(taken.ref), taken.args))


async def _reschedule(visit: Visit, taken: Reschedule) -> Moved:
    return _moved(visit, await changes.reschedule(visit.api, Ref.parse(taken.ref), taken.at))


def _moved(visit: Visit, entry: Entry | None) -> Moved:
    return Moved(job=None if entry is None else records.record(visit.shown(entry)))


async def _enqueue(visit: Visit, taken: changes.NewJob) -> Enqueued:
    return Enqueued(jid=await changes.enqueue(visit.q, taken))


async def _pause(visit: Visit, taken: None) -> Told:
    return _told(await visit.api.pause(visit.params["queue"]))


async def _resume(visit: Visit, taken: None) -> Told:
    return _told(await visit.api.resume(visit.params["queue"]))


async def _clear(visit: Visit, taken: None) -> Cleared:
    return Cleared(deleted=await visit.api.jobs(visit.params["queue"]).clear())


async def _quiet(visit: Visit, taken: WhichNode) -> Told:
    return _told(await visit.api.quiet(taken.node))


async def _stop(visit: Visit, taken: WhichNode) -> Told:
    return _told(await visit.api.stop(taken.node))


def _told(nodes: Sequence[str]) -> Told:
    return Told(nodes=tuple(nodes))


async def _cancel(visit: Visit, taken: WhichJob) -> Cancelled:
    return await visit.api.cancel(taken.jid)


async def _periodic(visit: Visit, taken: None) -> list[PeriodicRecord]:
    redact = visit.site.settings.redact
    return [
        PeriodicRecord(
            name=job.name,
            worker=job.worker,
            queue=job.queue,
            arguments=records.periodic_arguments(job, redact),
            schedule="" if job.schedule is None else str(job.schedule),
            declared=job.declared,
            paused=job.paused,
            next_tick=job.next_tick,
            last_tick=job.last_tick,
            last_jid=job.last_jid,
        )
        for job in await visit.api.periodic.all()
    ]


async def _periodic_run(visit: Visit, taken: WhichPeriodic) -> Ran:
    return Ran(jid=await visit.api.periodic.run(taken.name))


async def _periodic_pause(visit: Visit, taken: WhichPeriodic) -> There:
    return There(there=await visit.api.periodic.pause(taken.name))


async def _periodic_resume(visit: Visit, taken: WhichPeriodic) -> There:
    return There(there=await visit.api.periodic.resume(taken.name))


async def _periodic_remove(visit: Visit, taken: WhichPeriodic) -> There:
    return There(there=await visit.api.periodic.remove(taken.name))


async def _metrics(visit: Visit, taken: None) -> Metrics:
    return await visit.api.metrics(**pages.SPANS[pages.span(visit)][1])


async def _worker_metrics(visit: Visit, taken: None) -> WorkerMetrics:
    return await visit.api.worker_metrics(visit.query.get("worker", ""), **pages.SPANS[pages.span(visit)][1])


def _get(path: str, summary: str, answers: Any, handle: Answer, *query: str) -> Endpoint:
    return Endpoint(
        method="GET", path=path, action="read", summary=summary, answers=answers, handle=handle, query=query
    )


def _post(path: str, action: Action, summary: str, takes: Any, answers: Any, handle: Answer) -> Endpoint:
    return Endpoint(
        method="POST", path=path, action=action, summary=summary, answers=answers, handle=handle, takes=takes
    )


_SEARCH = ("from", "size", *asked.FIELDS)

_ON_JOBS: tuple[tuple[Action, str], ...] = (
    ("retry", "Back to the queue, with the attempt given back"),
    ("run", "To the queue now"),
    ("kill", "To the dead set"),
    ("delete", "Delete"),
)

ENDPOINTS: tuple[Endpoint, ...] = (
    _get("/stats", "The figures of now", Stats, _stats),
    _get("/server", "The Redis server", ServerInfo, _server),
    _get("/history", "Processed and failed by day, today first", list[Day], _history, "days"),
    _get("/realtime", "Processed and failed by second, the latest last", list[Second], _realtime, "seconds"),
    _get("/queues", "All queues", list[QueueInfo], _queues),
    _get("/queues/{queue:path}/jobs", "What waits in a queue, the newest first", JobList, _queue_jobs, *_SEARCH),
    _post("/queues/{queue:path}/pause", "pause", "Have nobody take from a queue", Nothing, Told, _pause),
    _post("/queues/{queue:path}/resume", "pause", "Have a queue taken from again", Nothing, Told, _resume),
    _post("/queues/{queue:path}/clear", "delete", "Delete a queue and all in it", Nothing, Cleared, _clear),
    _get("/queues/{queue:path}", "One queue", QueueInfo, _queue),
    _get("/retries", "Failed jobs, the next due first", JobList, partial(_place, "retry"), *_SEARCH),
    _get("/scheduled", "Scheduled jobs, the next due first", JobList, partial(_place, "schedule"), *_SEARCH),
    _get("/dead", "Dead jobs, the latest first", JobList, partial(_place, "dead"), *_SEARCH),
    _get("/job", "One job, all of it", records.JobRecord, _job, "ref"),
    _get("/find", "A job by its id, wherever it is", FoundJob, _find, "jid"),
    *(
        _post(f"/jobs/{action}", action, f"{what}: some jobs", Refs, changes.Done, partial(_act, action))
        for action, what in _ON_JOBS
    ),
    *(
        _post(f"/all/{action}", action, f"{what}: all that match", All, Progress, partial(_act_on_all, action))
        for action, what in _ON_JOBS
    ),
    _post("/jobs/edit", "edit", "Give a job other arguments", Edit, Moved, _edit),
    _post("/jobs/reschedule", "reschedule", "Have a job due at another time", Reschedule, Moved, _reschedule),
    _post("/jobs", "enqueue", "Enqueue a job", changes.NewJob, Enqueued, _enqueue),
    _get("/nodes", "All live nodes", list[NodeInfo], _nodes),
    _get("/busy", "The running jobs", list[records.JobRecord], _busy),
    _post("/nodes/quiet", "quiet", "Have a node, or all, take no more jobs", WhichNode, Told, _quiet),
    _post("/nodes/stop", "stop", "Have a node, or all, end", WhichNode, Told, _stop),
    _get("/metrics", "How often each worker ran, failed, and how long it took", Metrics, _metrics, "span"),
    _get("/metrics/worker", "Likewise of one worker, with times", WorkerMetrics, _worker_metrics, "worker", "span"),
    _get("/periodic", "All periodic jobs", list[PeriodicRecord], _periodic),
    _post("/periodic/run", "run", "Enqueue a periodic job now", WhichPeriodic, Ran, _periodic_run),
    _post("/periodic/pause", "pause", "Have a periodic job not enqueued", WhichPeriodic, There, _periodic_pause),
    _post("/periodic/resume", "pause", "Have a periodic job enqueued again", WhichPeriodic, There, _periodic_resume),
    _post("/periodic/remove", "delete", "Have a periodic job enqueued no more", WhichPeriodic, There, _periodic_remove),
    _post("/cancel", "cancel", "Cancel a running job", WhichJob, Cancelled, _cancel),
)
"""All of it."""
