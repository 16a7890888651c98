"""How a node is: for probes and for whoever watches over its process.  May be read from any thread."""

from __future__ import annotations

import time
import types
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from .dequeuer import Line
from .heartbeat import Pulse


@attrs.frozen(kw_only=True)
class Health:
    """How one node is."""

    node_id: str
    """Its identity."""
    problem: str
    """Why the process should be replaced; ``""`` while it is live, also when Redis is away."""
    ready: bool
    """Whether it takes jobs: it is up, not quiet, and Redis is there."""
    quiet: bool
    """Whether it was told to take no more jobs, or to stop."""
    redis: bool
    """Whether Redis is there."""
    silent: float
    """Seconds since the last sign of life of the event loop, which gives one every second."""
    running: Mapping[str, int]
    """Running jobs, by queue; those of all queues that a pattern stands for under the pattern."""
    ended: Mapping[str, int]
    """Jobs that have ended since the start, however they did, likewise."""

    @property
    def performed(self) -> int:
        """Jobs that have ended since the start, of all queues."""
        return sum(self.ended.values())


def examine(
    node_id: str,
    lines: Iterable[Line],
    pulse: Pulse,
    *,
    poll_timeout: float,
    quiet: bool,
    redis: bool,
    former: Mapping[str, int] = types.MappingProxyType({}),
) -> Health:
    """How the node is that takes from *lines*, looks every *poll_timeout* seconds, and has this *pulse*.

    *former* are the jobs of lines that are no more.
    """
    now, known = time.monotonic(), list(lines)
    silent = now - pulse.seen
    problem = ""
    if silent > pulse.blocked_limit:
        problem = f"the event loop has been blocked for {silent:.0f} s"
    elif redis:  # else they all wait for it, and rightly so
        problem = next((text for line in known if (text := _stuck(line, now, poll_timeout + pulse.blocked_limit))), "")
    running, ended = Counter[str](), Counter(former)
    for line in known:
        running[line.place] += len(line.held)
        ended[line.place] += line.newest - len(line.held)
    return Health(
        node_id=node_id,
        problem=problem,
        ready=not quiet and redis and bool(node_id),
        quiet=quiet,
        redis=redis,
        silent=silent,
        running=running,
        ended=ended,
    )


def _stuck(line: Line, now: float, limit: float) -> str:
    idle = now - line.turned
    if line.ending or line.idle.is_set() or idle < limit:
        return ""
    return f"queue {line.queue} has not been looked at for {idle:.0f} s"
