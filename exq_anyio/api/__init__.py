"""To look at everything in a namespace, and to repair it: ``q.api``.  Knows Redis only by the questions of `keeper`."""

from .api import Api, Cancelled
from .entry import Entry, Filter, Found, Hits, Page, Place, Progress
from .facts import BusyJob, Day, NodeInfo, QueueInfo, Second, ServerInfo, Stats
from .jobs import Jobs
from .measures import HISTOGRAM_LIMITS, Deploy, Metrics, Point, WorkerMetrics
from .periodic import PeriodicApi, PeriodicJob
from .steps import Bulk, Steps

__all__ = [
    "HISTOGRAM_LIMITS",
    "Api",
    "Bulk",
    "BusyJob",
    "Cancelled",
    "Day",
    "Deploy",
    "Entry",
    "Filter",
    "Found",
    "Hits",
    "Jobs",
    "Metrics",
    "NodeInfo",
    "Page",
    "PeriodicApi",
    "PeriodicJob",
    "Place",
    "Point",
    "Progress",
    "QueueInfo",
    "Second",
    "ServerInfo",
    "Stats",
    "Steps",
    "WorkerMetrics",
]
