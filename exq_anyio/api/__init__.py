"""To look at everything in a namespace, and to repair it: ``q.api``.  Knows Redis only by the questions of `keeper`."""

from .api import Api, Cancelled
from .entry import Entry, Filter, Found, Hits, Page, Place, Progress
from .facts import BusyJob, Day, NodeInfo, QueueInfo, Second, ServerInfo, Stats
from .jobs import Jobs
from .steps import Bulk, Steps

__all__ = [
    "Api",
    "Bulk",
    "BusyJob",
    "Cancelled",
    "Day",
    "Entry",
    "Filter",
    "Found",
    "Hits",
    "Jobs",
    "NodeInfo",
    "Page",
    "Place",
    "Progress",
    "QueueInfo",
    "Second",
    "ServerInfo",
    "Stats",
    "Steps",
]
