"""The names of our keys in Redis, all of them, in one place.

Names and meanings are Sidekiq's and Exq's where they have them (``queues`` to ``<node_id>-signals``); ``lease``,
``leases``, ``taken``, ``periodic``, ``limit`` and ``paused`` are our own, ``paused`` as Sidekiq Pro has it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from .. import metrics
from ..job import Timestamps
from ..limits import Rate


class Keys:
    """The keys under one namespace; ``""`` means no prefix at all."""

    def __init__(self, namespace: str, resque_queues: Collection[str] = ()) -> None:
        self._resque_queues = resque_queues
        prefix = f"{namespace}:" if namespace else ""
        self.prefix: str = prefix
        self.queues: str = f"{prefix}queues"
        """Set: the name of every queue that was pushed to."""
        self.schedule: str = f"{prefix}schedule"
        """Sorted set: jobs by the time they are due."""
        self.retry: str = f"{prefix}retry"
        """Sorted set: failed jobs by the time of their next run."""
        self.dead: str = f"{prefix}dead"
        """Sorted set: jobs given up, by the time of their death."""
        self.paused: str = f"{prefix}paused"
        """Set: the queues that nobody takes from."""
        self.processes: str = f"{prefix}processes"
        """Set: the ids of nodes with a process entry."""
        self.heartbeats: str = f"{prefix}heartbeats"
        """Sorted set: node ids by the server's time at their last beat."""
        self.leases: str = f"{prefix}leases"
        """Set: the ids of nodes with a lease."""
        self.periodic: str = f"{prefix}periodic"
        """Sorted set: the names of periodic jobs by their next tick."""
        self.periodic_jobs: str = f"{prefix}periodic:jobs"
        """Hash: their definitions, by name."""
        self.periodic_paused: str = f"{prefix}periodic:paused"
        """Set: the names of those that are paused."""
        self.periodic_last: str = f"{prefix}periodic:last"
        """Hash: the last tick of each and the jid of its job."""

    def resque(self, queue: str) -> bool:
        """Whether the queue is Resque's too: pushed at the tail, taken at the head."""
        return bool(self._resque_queues) and (queue in self._resque_queues or "*" in self._resque_queues)

    def queue(self, name: str) -> str:
        """List: pushed at the head, taken at the tail; the other way round where :meth:`resque` says so."""
        return f"{self.prefix}queue:{name}"

    def backup(self, node_id: str, queue: str) -> str:
        """List: what the node has taken from the queue and not settled."""
        return f"{self.prefix}queue:backup::{node_id}::{queue}"

    def process(self, node_id: str) -> str:
        """Hash: what the node says of itself; expires."""
        return f"{self.prefix}{node_id}"

    def work(self, node_id: str) -> str:
        """Hash: the running jobs as Sidekiq 6.5 and later read them; expires."""
        return f"{self.prefix}{node_id}:work"

    def workers(self, node_id: str) -> str:
        """Hash: the running jobs as Exq and Sidekiq up to 6.4 read them; expires."""
        return f"{self.prefix}{node_id}:workers"

    def signals(self, node_id: str) -> str:
        """List: the signals sent to the node."""
        return f"{self.prefix}{node_id}-signals"

    def lease(self, node_id: str) -> str:
        """Hash: token and process of the node that owns the id, and the number and answer of its last settle."""
        return f"{self.prefix}{node_id}:lease"

    def taken(self, node_id: str) -> str:
        """Set: the queues that the node took from."""
        return f"{self.prefix}{node_id}:taken"

    def unique(self, token: str) -> str:
        """String: the jid that holds the unique lock; expires."""
        return f"{self.prefix}unique:{token}"

    def limit(self, name: str) -> str:
        """Hash: who holds how many places under the limit; a holder is ``<token>:<number>:<node_id>``."""
        return f"{self.prefix}limit:{name}"

    def rate(self, name: str, rate: Rate) -> str:
        """Sorted set (sliding) or hash: the jobs that have begun under a rate of the limit; expires."""
        return f"{self.prefix}limit:{name}:{rate.kind}:{rate.per:.10g}"

    def stats(self, now: float) -> tuple[str, str, str, str, str, str]:
        """The six counters of a run at *now* (unix seconds): processed and failed, each in total, by day, by second."""
        at = datetime.fromtimestamp(now, UTC)
        day, second = f"{at:%Y-%m-%d}", f"{at:%Y-%m-%d %H:%M:%S}Z"
        stat = f"{self.prefix}stat:"
        return (
            f"{stat}processed",
            f"{stat}processed:{day}",
            f"{stat}processed_rt:{second}",
            f"{stat}failed",
            f"{stat}failed:{day}",
            f"{stat}failed_rt:{second}",
        )

    def minute(self, at: float, unit: Timestamps) -> str:
        """Hash: runs, failures and milliseconds of each worker in the minute of *at*; expires."""
        return self.prefix + metrics.minute_key(at, unit)

    def ten_minutes(self, at: float) -> str:
        """Hash: likewise of ten minutes; expires."""
        return self.prefix + metrics.ten_minutes_key(at)

    def histogram(self, worker: str, at: float, unit: Timestamps) -> str:
        """String: how long the runs of a worker took in the minute of *at*; expires."""
        return self.prefix + metrics.histogram_key(worker, at, unit)

    def marks(self, at: float) -> str:
        """Hash: what was deployed on the day of *at*, by time; expires."""
        return self.prefix + metrics.marks_key(at)

    def deploy_lock(self, label: str) -> str:
        """String: that *label* was marked less than a minute ago; expires."""
        return f"{self.prefix}deploylock-{label}"
