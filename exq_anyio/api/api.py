"""The whole of one namespace, for operators and for whoever builds their tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import attrs
import msgspec

from ..job import Timestamps
from ..setting import check_queue_name
from ..upkeep import Kind, Place
from .facts import (
    BusyJob,
    Day,
    NodeInfo,
    QueueInfo,
    Second,
    ServerInfo,
    Stats,
    busy_jobs,
    count,
    node_info,
    queue_info,
    server_info,
)
from .jobs import Jobs
from .keeper import Keeper
from .measures import MINUTE, TEN_MINUTES, Metrics, WorkerMetrics, by_worker, deploys, instants, point
from .periodic import PeriodicApi

MOST_MINUTES, MOST_HOURS = 8 * 60, 3 * 24
"""How long the counts of workers are kept: by minute, and by ten minutes (as in Sidekiq)."""

MOST_DAYS, MOST_SECONDS = 5 * 365, 120
"""How long counters are kept: by day (Sidekiq's five years), and by second."""


@attrs.frozen(kw_only=True)
class Cancelled:
    """Whom a cancellation was sent to."""

    nodes: tuple[str, ...]
    """The nodes that were told."""
    running_on: tuple[str, ...]
    """Those that said at their last beat that they run the job; a job that has just begun is not among it yet."""


class Api:
    """Looks at everything, and repairs.  Made by :func:`exq_anyio.open`, as ``q.api``.

    Every method may raise :class:`~exq_anyio.errors.RedisUnavailable`, or :class:`~exq_anyio.errors.WrongType` where a
    key holds what is not ours.  Nothing reads a whole set at once, or asks the server for all of its keys.
    """

    def __init__(self, keeper: Keeper, clock: Callable[[], float], unit: Timestamps, periodic: PeriodicApi) -> None:
        self.periodic: PeriodicApi = periodic
        """The periodic jobs."""
        self._keeper = keeper
        self._clock = clock
        self._unit: Timestamps = unit

    # -- figures

    async def stats(self) -> Stats:
        """The figures of now."""
        totals = await self._keeper.totals()
        return Stats(
            processed=totals.processed,
            failed=totals.failed,
            enqueued=totals.enqueued,
            scheduled=totals.schedule,
            retry=totals.retry,
            dead=totals.dead,
            busy=sum(map(count, totals.busy)),
            nodes=len(totals.busy),
        )

    async def history(self, days: int = 30) -> list[Day]:
        """The last *days* (1 to 1,825) by day of UTC, today first."""
        _check("days", days, MOST_DAYS)
        today = datetime.fromtimestamp(self._clock(), UTC).replace(hour=12)
        dates = [today - timedelta(days=back) for back in range(days)]
        counted = await self._keeper.counters("day", [date.timestamp() for date in dates])
        return [Day(date.date(), *pair) for date, pair in zip(dates, counted, strict=True)]

    async def realtime(self, seconds: int = 60) -> list[Second]:
        """The last *seconds* (1 to 120) by second, the latest last; the second that is under way is not among them."""
        _check("seconds", seconds, MOST_SECONDS)
        now = int(self._clock())
        instants = range(now - seconds, now)
        counted = await self._keeper.counters("second", instants)
        pairs = zip(instants, counted, strict=True)
        return [Second(datetime.fromtimestamp(instant, UTC), *pair) for instant, pair in pairs]

    async def metrics(self, *, minutes: int | None = None, hours: int | None = None) -> Metrics:
        """How often each worker ran, how often it failed, and how long it took.

        By minute in the last *minutes* (1 to 480; by default 60), or by ten minutes in the last *hours* (1 to 72); the
        time that is under way is the last of them.  Nodes write what they have counted with each heartbeat.  Sidekiq 7
        counts by minute only.
        """
        at, step = self._times(minutes, hours)
        begins = tuple(datetime.fromtimestamp(instant, UTC) for instant in at)
        counts = await self._keeper.counts("minute" if step == MINUTE else "ten minutes", at)
        marks = await self._keeper.marks(sorted({instant // 86400 * 86400 for instant in (*at, self._clock())}))
        return Metrics(
            at=begins, step=step, workers=tuple(by_worker(begins, counts)), deploys=tuple(deploys(marks, begins[0]))
        )

    async def worker_metrics(
        self, worker: str, *, minutes: int | None = None, hours: int | None = None
    ) -> WorkerMetrics:
        """Likewise of one worker, by its name on the wire; by minute also how many runs took how long."""
        at, step = self._times(minutes, hours)
        counts = await self._keeper.worker_counts("minute" if step == MINUTE else "ten minutes", worker, at)
        histograms = await self._keeper.histograms(worker, at) if step == MINUTE else [()] * len(at)
        begins = (datetime.fromtimestamp(instant, UTC) for instant in at)
        return WorkerMetrics(worker=worker, points=tuple(map(point, begins, counts, histograms)))

    async def mark_deploy(self, label: str, at: datetime | None = None) -> bool:
        """Note that *label* (such as a version) was deployed, now or *at*, for the pages that show metrics.

        Every process of a deploy may say so: the same label is noted once within a minute; whether this call did it.
        Sidekiq's page shows it too.  Raises ValueError for a time without a time zone.
        """
        if at is not None and at.tzinfo is None:
            raise ValueError(f"at must have a time zone, as datetime.now(UTC) has, not {at!r}")
        return await self._keeper.mark(label, self._clock() if at is None else at.timestamp())

    async def queues(self) -> list[QueueInfo]:
        """All queues, by name."""
        now, seen = await self._keeper.queues(None)
        return [queue_info(queue, now) for queue in seen]

    async def queue(self, name: str) -> QueueInfo:
        """One queue; an unknown one is empty and not ``known``.  Raises InvalidQueue."""
        now, (seen,) = await self._keeper.queues([check_queue_name(name)])
        return queue_info(seen, now)

    async def nodes(self) -> list[NodeInfo]:
        """All live nodes, of whatever program, by name."""
        return [node_info(entry) for entry in await self._keeper.nodes(work=False)]

    async def busy(self) -> list[BusyJob]:
        """The running jobs of all nodes, by node, the longest running first."""
        return [job for entry in await self._keeper.nodes(work=True) for job in busy_jobs(entry)]

    async def server(self) -> ServerInfo:
        """The server: version, memory, connections."""
        return server_info(await self._keeper.info())

    # -- jobs

    def jobs(self, queue: str) -> Jobs:
        """What waits in *queue*, the newest first.  Raises InvalidQueue."""
        return self._jobs(Place("queue", check_queue_name(queue)))

    def retries(self) -> Jobs:
        """Failed jobs that wait for their next run, the soonest first."""
        return self._set("retry")

    def scheduled(self) -> Jobs:
        """Jobs that are due later, the soonest first."""
        return self._set("schedule")

    def dead(self) -> Jobs:
        """Jobs given up, the latest first."""
        return self._set("dead")

    def at(self, place: Place) -> Jobs:
        """What waits at *place*, for example at ``entry.place``."""
        return self.jobs(place.queue) if place.kind == "queue" else self._set(place.kind)

    # -- control

    async def pause(self, queue: str) -> list[str]:
        """Have nobody take from *queue* any more; running jobs go on.  The nodes that were told, by name.

        Nodes of this package obey at once, and keep to it until :meth:`resume`, also those that start later; so do
        Sidekiq Pro's.  Exq and Sidekiq know no pause.  Raises InvalidQueue.
        """
        return await self._pause(queue, paused=True)

    async def resume(self, queue: str) -> list[str]:
        """Have *queue* taken from again, at once.  The nodes that were told.  Raises InvalidQueue."""
        return await self._pause(queue, paused=False)

    async def quiet(self, node_id: str | None = None) -> list[str]:
        """Have a node, or all (None), take no more jobs.  Those that were told: none when the node is not there.

        Exq's and Sidekiq's nodes obey too, at their next beat.
        """
        return await self._signal(node_id, "TSTP")

    async def stop(self, node_id: str | None = None) -> list[str]:
        """Have a node, or all (None), end: what runs gets its ``shutdown_timeout``.  Those that were told."""
        return await self._signal(node_id, "TERM")

    async def cancel(self, jid: str) -> Cancelled:
        """Cancel the running job *jid*, wherever it runs: it is dead as "Canceled", unless it ends by itself first.

        All nodes of this package are told, since a job that has just begun is known to its node only; of Exq's those
        that said they run it.  Sidekiq's cannot cancel.
        """
        running = [job for job in await self.busy() if job.jid == jid]
        ours = await self._keeper.node_ids(ours=True)
        told = await self._keeper.signal(ours, f"CANCEL {jid}")
        for job in running:
            if job.node_id not in ours and job.thread.startswith("#PID<"):
                text = msgspec.json.encode({"jid": jid, "pid": job.thread}).decode()
                told += await self._keeper.signal([job.node_id], f"CANCEL:{text}")
        return Cancelled(nodes=tuple(told), running_on=tuple(dict.fromkeys(job.node_id for job in running)))

    # -- below the surface

    def _times(self, minutes: int | None, hours: int | None) -> tuple[list[float], int]:
        """The beginnings of the times asked for, and how many seconds each lasts."""
        if hours is not None:
            if minutes is not None:
                raise ValueError("minutes or hours, not both")
            _check("hours", hours, MOST_HOURS)
            return instants(self._clock(), hours * 6, TEN_MINUTES), TEN_MINUTES
        minutes = 60 if minutes is None else minutes
        _check("minutes", minutes, MOST_MINUTES)
        return instants(self._clock(), minutes, MINUTE), MINUTE

    def _set(self, kind: Kind) -> Jobs:
        return self._jobs(Place(kind))

    def _jobs(self, place: Place) -> Jobs:
        return Jobs(place, self._keeper, self._clock, self._unit)

    async def _signal(self, node_id: str | None, text: str) -> list[str]:
        nodes: Sequence[str] = await self._keeper.node_ids(ours=False) if node_id is None else [node_id]
        return await self._keeper.signal(nodes, text)

    async def _pause(self, queue: str, *, paused: bool) -> list[str]:
        name = check_queue_name(queue)
        nodes = await self._keeper.node_ids(ours=True)
        text = f"{'PAUSE' if paused else 'RESUME'} {name}"
        return await self._keeper.pause(name, paused=paused, nodes=nodes, text=text)


def _check(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be from 1 to {most}, not {value}")
