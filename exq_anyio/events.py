"""What happens to jobs and nodes, told to whoever listens: ``Config.listeners``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs

from .job import Job
from .outcome import Kind

logger: logging.Logger = logging.getLogger("exq_anyio")

EventKind: TypeAlias = Literal[
    "enqueue", "fetch", "start", "stop", "exception", "retry", "dead", "rescue", "node_start", "node_stop"
]
"""What has happened:

- ``enqueue``: this program has put a job in, now or for later, or its node has, for a periodic schedule.
- ``fetch``: a node has taken a job; ``seconds`` is how long it lay in its queue.
- ``start``: a run begins.
- ``stop``, ``exception``: the run has ended, without or with an error; ``seconds`` is how long it took, ``outcome``
  what is about to be written of it.
- ``retry``, ``dead``: it is written that the job is tried again, or is dead.  With ``other`` it is dead without a run
  having ended: the dead node of that id was one too many that the job has taken with it.
- ``rescue``: ``jobs`` jobs of the dead node ``other`` are back in their queues, or dead.
- ``node_start``, ``node_stop``: a node is up, or is no more.

Each is told once, by the process in which it happens.  What an operator does with ``q.api`` is none of these, nor is
what is no job at all.  Where an answer of Redis was lost the event may be lost with it.
"""


@attrs.frozen(kw_only=True)
class Event:
    """Something that has happened."""

    kind: EventKind
    """What."""
    at: float
    """Unix seconds."""
    node_id: str = ""
    """Where; ``""`` for ``enqueue``, but for that of a periodic schedule."""
    job: Job | None = None
    """The job; None where it is about a node."""
    worker: str = ""
    """Name of the worker that this program performs the job with; ``""`` where it has none, or is not asked yet."""
    seconds: float | None = None
    """How long it took; None where that is not known."""
    error: BaseException | None = None
    """What the run raised."""
    outcome: Kind | None = None
    """What becomes of the job: "done", "discarded", "retry", "dead", "schedule" or "push_back"."""
    jobs: int = 0
    """How many jobs."""
    other: str = ""
    """Another node that it is about."""


Listener: TypeAlias = Callable[[Event], object]
"""Told of each event as it happens, in the event loop (of ``enqueue`` where that is called): it must not block."""


def tell(listeners: Sequence[Listener], event: Event) -> None:
    """Tell all *listeners*; an error of one is logged, and costs no job."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("listener failed: event=%s", event.kind)
