"""What each page reads.  A page is a function from a visit to what its template is given; streams read it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import attrs
from starlette.exceptions import HTTPException

from ..api import Jobs, NodeInfo, Place, QueueInfo, Second
from ..setting import check_queue_name
from . import asked, charts, measures, show
from .records import Shown, periodic_arguments, running
from .refs import Kind, Ref
from .visit import Visit

Data: TypeAlias = dict[str, object]

Read: TypeAlias = Callable[[Visit], Awaitable[Data]]
"""Reads what a page shows; it must not depend on who looks, only on what is asked for."""

DAYS = (7, 30, 90, 180)
"""Lengths of the history."""

LISTED = 200
"""Running jobs, or slowest queues, that one page lists."""

RATE_SECONDS = 10
"""Seconds over which the throughput of now is taken."""

PLACES: Mapping[str, tuple[Kind, str]] = {
    "/retries": ("retry", "Retries"),
    "/scheduled": ("schedule", "Scheduled"),
    "/dead": ("dead", "Dead"),
}
"""The pages of the sorted sets."""

PATHS: Mapping[str, str] = {kind: path for path, (kind, _) in PLACES.items()}


@attrs.frozen(kw_only=True)
class Page:
    """One page that can be looked at."""

    path: str
    """As Starlette writes it."""
    name: str
    """Which entry of the navigation it belongs to."""
    template: str
    read: Read


async def summary(visit: Visit) -> Data:
    """What the navigation shows on every page."""
    return {"stats": await visit.api.stats()}


async def dashboard(visit: Visit) -> Data:
    """Everything at a glance."""
    days = visit.number("days", 30, 1, 365)
    api = visit.api
    history = (await api.history(days))[::-1]
    seconds = await api.realtime(60)
    queues = await api.queues()
    slowest = sorted((queue for queue in queues if queue.size), key=lambda queue: -queue.latency)
    return {
        "stats": await api.stats(),
        "days": days,
        "lengths": DAYS,
        "history": history,
        "history_points": charts.points(history),
        "history_bars": charts.bars(history),
        "live_points": charts.points(seconds),
        "live_bars": charts.bars(seconds),
        "slots": sum(node.concurrency for node in await api.nodes()),
        "rate": rate(seconds),
        "queues": queues,
        "slowest": slowest[:8],
        "server": await api.server(),
        "title": "Dashboard",
    }


def rate(seconds: list[Second]) -> tuple[float, float]:
    """Processed and failed a second, over the last ten."""
    last = seconds[-RATE_SECONDS:]
    return sum(one.processed for one in last) / len(last), sum(one.failed for one in last) / len(last)


async def queues(visit: Visit) -> Data:
    """All queues, in the order asked for."""
    found = await visit.api.queues()
    order = visit.query.get("sort", "name")
    keys: dict[str, Callable[[QueueInfo], tuple[float, str]]] = {
        "size": lambda queue: (-queue.size, queue.name),
        "latency": lambda queue: (-queue.latency, queue.name),
    }
    if order in keys:
        found.sort(key=keys[order])
    nodes = await visit.api.nodes()
    workers = {queue.name: sum(queue.name in node.queues for node in nodes) for queue in found}
    most = max((queue.latency for queue in found), default=0)
    return {"queues": found, "workers": workers, "most": most, "sort": order, "title": "Queues"}


async def queue(visit: Visit) -> Data:
    """One queue, and what waits in it."""
    name = check_queue_name(visit.params["name"])
    info = await visit.api.queue(name)
    listed = await listing(visit, visit.api.jobs(name))
    return {**listed, "queue": info, "title": name}


async def place(visit: Visit) -> Data:
    """One of the sorted sets."""
    kind, title = PLACES[visit.path]
    return {**await listing(visit, visit.api.at(Place(kind))), "title": title}


async def listing(visit: Visit, jobs: Jobs) -> Data:
    """The part of a place that is asked for."""
    what = asked.filter_of(visit.query, visit.site.settings)
    size = visit.number("size", asked.SIZES[0], 1, asked.SIZES[-1])
    found = await asked.part(jobs, what, visit.number("from", 0, 0, 2**53), size)
    return {
        "place": jobs.place,
        "part": found,
        "rows": [visit.shown(entry) for entry in found.entries],
        "what": what,
        "fields": {name: visit.query.get(name, "") for name in asked.FIELDS},
        "size": size,
        "sizes": asked.SIZES,
    }


async def busy(visit: Visit) -> Data:
    """The nodes, and what they are running."""
    nodes = await visit.api.nodes()
    jobs = await visit.api.busy()
    redact = visit.site.settings.redact
    longest = sorted(jobs, key=lambda job: job.started.timestamp() if job.started else float("inf"))
    rows = [running(job, redact) for job in longest[:LISTED]]
    listed = [(node, program(node)) for node in nodes]
    return {"nodes": listed, "rows": rows, "count": len(jobs), "title": "Busy"}


def program(node: NodeInfo) -> Literal["exq_anyio", "Sidekiq", "Exq"]:
    """What a node runs: ours says so, Sidekiq has its process and a random number in its id, Exq neither."""
    if "exq_anyio" in node.labels:
        return "exq_anyio"
    return "Sidekiq" if node.node_id.count(":") >= 2 else "Exq"


@attrs.frozen
class Step:
    """Something that happened to a job, or will."""

    at: datetime
    what: str
    error: bool = False


async def job(visit: Visit) -> Data:
    """One waiting job, all of it."""
    ref = Ref.parse(visit.query.get("ref", ""))
    entry = await ref.entry(visit.api)
    if entry is None:
        return {"gone": ref, "title": "Gone"}
    one = visit.shown(entry)
    return {"one": one, "ref": ref, "steps": steps(one), "title": one.worker, "rest": rest(one), "gone": None}


async def running_job(visit: Visit) -> Data:
    """One running job."""
    node_id, thread = visit.query.get("node", ""), visit.query.get("thread", "")
    jobs = await visit.api.busy()
    found = next((job for job in jobs if (job.node_id, job.thread) == (node_id, thread)), None)
    if found is None:
        return {"gone": None, "one": None, "title": "Gone", "node_id": node_id}
    one = running(found, visit.site.settings.redact)
    return {"one": one, "ref": None, "steps": steps(one), "title": one.worker, "rest": rest(one), "gone": None}


def steps(one: Shown) -> list[Step]:
    """The life of a job as far as its record tells it, in its order."""
    job, found = one.job, list[Step]()
    if job is None:
        return found
    times = (
        (job.created_at, "Created", False),
        (job.failed_at, "Failed for the first time", True),
        (job.retried_at, "Failed again", True),
        (job.enqueued_at, f"Enqueued in {job.queue}", False),
    )
    found = [Step(at, what, error) for at, what, error in times if at is not None]
    found.sort(key=lambda step: step.at)
    endings = {"retry": "Next try", "schedule": "Due", "dead": "Died", "busy": "Began to run"}
    if one.at is not None and one.place in endings:
        found.append(Step(one.at, endings[one.place], one.place == "dead"))
    return found


KNOWN = frozenset(
    ("class", "args", "jid", "queue", "created_at", "enqueued_at", "failed_at", "retried_at", "error_class",
     "error_message", "error_backtrace", "retry_count", "retry", "tags", "unique_token", "unique_for", "unique_until",
     "unlocks_at", "wrapped")
)  # fmt: skip
"""Fields that the page of a job shows in places of their own."""


def rest(one: Shown) -> list[tuple[str, str]]:
    """The other fields of a job, each with its value, bounded."""
    if one.job is None:
        return []
    fields = ((name, value) for name, value in one.job.record.items() if name not in KNOWN)
    return [(show.shorten(name, 80), show.preview(value, 500)) for name, value in list(fields)[:40]]


SPANS: Mapping[str, tuple[str, dict[str, int]]] = {
    "1h": ("1 hour", {"minutes": 60}),
    "4h": ("4 hours", {"minutes": 240}),
    "8h": ("8 hours", {"minutes": 480}),
    "24h": ("24 hours", {"hours": 24}),
    "72h": ("3 days", {"hours": 72}),
}
"""How far back metrics go: by the minute, or by ten minutes, where no times of single runs are kept."""


def span(visit: Visit) -> str:
    """The span that is asked for.  Raises HTTPException: 400, there is none such."""
    asked_for = visit.query.get("span") or "1h"
    if asked_for not in SPANS:
        raise HTTPException(400, f"span must be one of {', '.join(SPANS)}.")
    return asked_for


async def metrics(visit: Visit) -> Data:
    """What each worker did."""
    chosen = span(visit)
    found = await visit.api.metrics(**SPANS[chosen][1])
    most = max((worker.seconds for worker in found.workers), default=0)
    rows = [(worker, measures.spark(worker.points)) for worker in found.workers[:LISTED]]
    listed = {"rows": rows, "most": most, "deploys": found.deploys[::-1], "span": chosen, "spans": SPANS}
    return {**listed, "title": "Metrics", "worker": None}


async def worker_metrics(visit: Visit) -> Data:
    """What one worker did."""
    chosen, name = span(visit), visit.query.get("worker", "")
    found = await visit.api.worker_metrics(name, **SPANS[chosen][1])
    histogram = found.histogram
    shares = [(f"{share:.0%}", measures.seconds(measures.percentile(histogram, share))) for share in PERCENTILES]
    return {
        "worker": found,
        "percentiles": shares if sum(histogram) else [],
        "heat": measures.heat_map(found.points),
        "points": charts.points(found.points),
        "bars": charts.bars(found.points),
        "span": chosen,
        "spans": SPANS,
        "title": name,
    }


PERCENTILES = (0.5, 0.9, 0.99)


async def periodic(visit: Visit) -> Data:
    """The periodic jobs."""
    found = await visit.api.periodic.all()
    redact = visit.site.settings.redact
    return {"rows": [(job, periodic_arguments(job, redact)) for job in found], "title": "Periodic"}


async def enqueue(visit: Visit) -> Data:
    """The form for a new job."""
    names = [queue.name for queue in await visit.api.queues()]
    return {"queues": names[:500], "title": "Enqueue a job", "problem": "", "given": dict(visit.query)}


MOST_LOOKED = 10 * asked.LOOK_AT
"""Jobs that are looked at in all when one is looked for everywhere."""


@attrs.frozen(kw_only=True)
class Hunt:
    """What came of looking for a job everywhere."""

    running: Shown | None = None
    entry: Shown | None = None
    looked: tuple[tuple[str, int, int], ...] = ()
    """Where it is not: the place, how many jobs were looked at, how many are there."""


async def look_everywhere(visit: Visit, jid: str) -> Hunt:
    """Look for a job among the running ones, in the sets and in all queues, a bounded number in each.

    Raises:
        HTTPException: 400, the id is empty.
    """
    if not jid.strip():
        raise HTTPException(400, "Which job? Give its id.")
    for job in await visit.api.busy():
        if job.jid == jid:
            return Hunt(running=running(job, visit.site.settings.redact))
    looked, left = list[tuple[str, int, int]](), MOST_LOOKED
    kinds = [Place(kind) for kind, _ in PLACES.values()]
    for where in [*kinds, *(Place("queue", queue.name) for queue in await visit.api.queues())]:
        found = await visit.api.at(where).find(jid, limit=min(asked.LOOK_AT, left))
        if found.entry is not None:
            return Hunt(entry=visit.shown(found.entry))
        looked.append((str(where), found.looked, found.total))
        left -= found.looked
    return Hunt(looked=tuple(looked))


async def find(visit: Visit) -> Data:
    """Where a job with the given id is: the address of its page, or how far was looked."""
    jid = visit.query.get("jid", "").strip()
    hunt = await look_everywhere(visit, jid)
    at = None
    if hunt.running is not None:
        at = visit.url("/running", node=hunt.running.node_id, thread=hunt.running.thread)
    elif hunt.entry is not None:
        at = visit.url("/job", ref=hunt.entry.ref)
    return {"found": at, "jid": jid, "looked": hunt.looked, "title": "Not found"}


PAGES: tuple[Page, ...] = (
    Page(path="/", name="dashboard", template="dashboard.html", read=dashboard),
    Page(path="/queues", name="queues", template="queues.html", read=queues),
    Page(path="/queues/{name:path}", name="queues", template="queue.html", read=queue),
    Page(path="/busy", name="busy", template="busy.html", read=busy),
    Page(path="/retries", name="retries", template="place.html", read=place),
    Page(path="/scheduled", name="scheduled", template="place.html", read=place),
    Page(path="/dead", name="dead", template="place.html", read=place),
    Page(path="/metrics", name="metrics", template="metrics.html", read=metrics),
    Page(path="/metrics/worker", name="metrics", template="worker.html", read=worker_metrics),
    Page(path="/periodic", name="periodic", template="periodic.html", read=periodic),
    Page(path="/job", name="", template="job.html", read=job),
    Page(path="/running", name="busy", template="job.html", read=running_job),
)
"""The pages that only look."""
