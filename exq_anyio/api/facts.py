"""What the API says of counters, queues, nodes and running jobs; and how that is read from what they wrote.

Sidekiq 6 to 8, Exq and this package write process entries, each a little otherwise, and anybody may write there: what
cannot be read is None or nothing, and stops nobody from reading the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, cast

import attrs
import msgspec

from ..errors import MalformedPayload
from ..job import JSON, Job, encode, instant, seconds
from ..upkeep import NodeEntry, QueueSeen


@attrs.frozen(kw_only=True)
class Stats:
    """The figures of a whole namespace at one instant."""

    processed: int
    """Runs that ended, failures too, since counting began."""
    failed: int
    """Runs that failed."""
    enqueued: int
    """Jobs in all queues."""
    scheduled: int
    """Jobs that are due later."""
    retry: int
    """Failed jobs that wait for their next run."""
    dead: int
    """Jobs given up."""
    busy: int
    """Running jobs, as the nodes last said."""
    nodes: int
    """Live nodes."""


@attrs.frozen
class Day:
    """What one day (UTC) counted."""

    date: date
    processed: int
    failed: int


@attrs.frozen
class Second:
    """What one second counted."""

    at: datetime
    processed: int
    failed: int


@attrs.frozen(kw_only=True)
class QueueInfo:
    """A queue."""

    name: str
    size: int
    """Jobs that wait in it."""
    latency: float
    """Seconds since the job that is taken next was enqueued; 0.0 for an empty queue, or a job that does not say."""
    paused: bool
    """Whether nodes take nothing from it."""
    known: bool
    """Whether anybody ever pushed to it, and it was not cleared since."""


@attrs.frozen(kw_only=True)
class ServerInfo:
    """The server that holds all of it, as it says itself; None where it does not say, or may not be asked."""

    name: str
    """``"Valkey"`` or ``"Redis"``."""
    version: str
    uptime: int | None
    """Seconds."""
    memory: int | None
    """Bytes in use."""
    memory_peak: int | None
    """Bytes in use at most, since it was started."""
    memory_limit: int | None
    """Bytes that it may use, ``maxmemory``; None when there is no limit."""
    eviction: str
    """What it does at that limit; jobs are safe only with ``noeviction``."""
    clients: int | None
    """Open connections."""
    operations: int | None
    """Commands in the last second."""


@attrs.frozen(kw_only=True)
class NodeInfo:
    """A live node: one process of this package, of Exq or of Sidekiq."""

    node_id: str
    host: str
    pid: int | None
    """Its process; None when it does not say."""
    started: datetime | None
    beat: datetime | None
    """Its last sign of life."""
    queues: tuple[str, ...]
    concurrency: int
    """Most jobs at a time; 0 when there is no limit."""
    busy: int
    """Running jobs at its last beat."""
    quiet: bool
    """Whether it takes no more jobs."""
    rss: int | None
    """Resident memory in kB."""
    rtt: float | None
    """Seconds that Redis took to answer its last beat."""
    tag: str
    version: str
    """Of the program; ``""`` when it does not say (Sidekiq up to 6, Exq)."""
    labels: tuple[str, ...]


@attrs.frozen(kw_only=True)
class BusyJob:
    """A running job, as its node last said: a node of this package every 5 seconds, and at most 1,000 of them."""

    node_id: str
    thread: str
    """Names the run on its node."""
    queue: str
    started: datetime | None
    job: Job | None
    """None when what the node wrote is no job."""
    payload: bytes
    """The job as the node wrote it; Exq's nodes encode it anew, so that its bytes are no key to any set."""

    @property
    def jid(self) -> str:
        """Id of the job, ``""`` when it has none."""
        return self.job.jid if self.job is not None else ""

    @property
    def worker(self) -> str:
        """Name of its worker, ``""`` when it is no job."""
        return self.job.worker if self.job is not None else ""


def queue_info(seen: QueueSeen, now: float) -> QueueInfo:
    """What is known of a queue at *now* (unix seconds)."""
    enqueued = seconds(_mapping(seen.oldest).get("enqueued_at")) if seen.oldest is not None else None
    return QueueInfo(
        name=seen.name,
        size=seen.size,
        latency=0.0 if enqueued is None else max(0.0, now - enqueued),
        paused=seen.paused,
        known=seen.known,
    )


def server_info(fields: Mapping[str, str]) -> ServerInfo:
    """What the fields of INFO say."""
    valkey = fields.get("valkey_version", "")
    return ServerInfo(
        name="Valkey" if valkey else "Redis",
        version=valkey or fields.get("redis_version", ""),
        uptime=_whole(fields.get("uptime_in_seconds")),
        memory=_whole(fields.get("used_memory")),
        memory_peak=_whole(fields.get("used_memory_peak")),
        memory_limit=_whole(fields.get("maxmemory")) or None,
        eviction=fields.get("maxmemory_policy", ""),
        clients=_whole(fields.get("connected_clients")),
        operations=_whole(fields.get("instantaneous_ops_per_sec")),
    )


def node_info(entry: NodeEntry) -> NodeInfo:
    """What a process entry says, whoever wrote it."""
    fields, info = entry.fields, _mapping(entry.fields.get("info", b""))
    limit = _whole(fields.get("concurrency"))
    rtt = _whole(fields.get("rtt_us"))
    return NodeInfo(
        node_id=entry.node_id,
        host=_text(info.get("hostname")),
        pid=_whole(info.get("pid")),
        started=instant(info.get("started_at")),
        beat=instant(_real(fields.get("beat"))),
        queues=_texts(info.get("queues")),
        # Sidekiq 8.1 writes it as a field, others in `info`.
        concurrency=(_whole(info.get("concurrency")) if limit is None else limit) or 0,
        busy=_whole(fields.get("busy")) or 0,
        quiet=fields.get("quiet") == b"true",
        rss=_whole(fields.get("rss")),
        rtt=None if rtt is None else rtt / 1e6,
        tag=_text(info.get("tag")),
        version=_text(info.get("version")),
        labels=_texts(info.get("labels")),
    )


def busy_jobs(entry: NodeEntry) -> list[BusyJob]:
    """The running jobs of a node, the longest running first; who writes both hashes names the thread alike in both."""
    found = [_busy(entry.node_id, thread, raw) for thread, raw in {**entry.workers, **entry.work}.items()]
    return sorted(found, key=lambda job: (job.started is None, job.started and job.started.timestamp(), job.thread))


def count(value: bytes) -> int:
    """A count that a node wrote; 0 when it is none."""
    return max(0, _whole(value) or 0)


def _busy(node_id: str, thread: str, raw: bytes) -> BusyJob:
    record = _mapping(raw)
    queue, held = _text(record.get("queue")), record.get("payload")
    # Sidekiq before 6 and Resque keep the object itself, all others its text.
    payload = (
        held.encode("utf-8", "replace") if isinstance(held, str) else encode(held) if isinstance(held, dict) else raw
    )
    try:
        job = Job.decode(payload, queue or None)
    except MalformedPayload:
        job = None
    started = instant(record.get("run_at"))
    return BusyJob(node_id=node_id, thread=thread, queue=queue, started=started, job=job, payload=payload)


def _mapping(raw: bytes) -> dict[str, JSON]:
    """A JSON object; nothing when it is none."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, JSON]", found) if isinstance(found, dict) else {}


def _whole(value: Any) -> int | None:
    """A count or an id, written as a number, or as text (hash fields; Exq's pid)."""
    if isinstance(value, bool) or not isinstance(value, (bytes, str, int, float)):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _real(value: bytes | None) -> float | None:
    try:
        return float(value or b"")
    except ValueError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
