"""Says that the node lives, and what it does: the lease, the heartbeat and the process entry, in one step.

The beat runs in a thread with an event loop and a connection of its own, so that a job that blocks the loop does not
make a live node look dead; the thread sees the blocked loop, and logs the stack that blocks it.
"""

from __future__ import annotations

import logging
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import msgspec

from ..errors import ExqError, LostClaim, RedisUnavailable
from ..exchange import Beat, Claim
from .performer import Running
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

TICK = 1.0
"""Seconds between two signs of life of the event loop."""

LISTED = 1_000
"""Most running jobs that a process entry lists."""


@attrs.define
class Pulse:
    """What the event loop and the beating thread tell each other."""

    blocked_limit: float
    """Seconds after which a silent loop is reported."""
    loop_thread: int = attrs.field(factory=threading.get_ident)
    """Thread that the event loop runs in."""
    seen: float = attrs.field(factory=time.monotonic)
    """Last sign of life of the loop (monotonic seconds)."""
    lost: str = ""
    """The lease token that the beat found to be no longer valid; ``""`` while all is well."""
    round_trip: float = 0.0
    """Seconds that the last beat took."""
    reported: bool = False
    """True while the loop is known to be blocked."""

    def blocked(self) -> float:
        """Seconds since the loop's last sign of life, 0 while they are within the limit."""
        silent = time.monotonic() - self.seen
        return silent if silent > self.blocked_limit else 0.0

    def report(self) -> None:
        """Log, once, the stack that blocks the loop."""
        silent = self.blocked()
        if silent and not self.reported:
            frame = sys._current_frames().get(self.loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame else ""
            logger.error("event loop is blocked: seconds=%.0f\n%s", silent, stack)
        self.reported = bool(silent)


async def tick(pulse: Pulse, on_lost: Callable[[str], None]) -> None:
    """Give signs of life, and notice that the claim is lost, until cancelled."""
    while True:
        pulse.seen = time.monotonic()
        if pulse.lost:
            token, pulse.lost = pulse.lost, ""
            on_lost(token)
        await anyio.sleep(TICK)


async def beat(
    store: Store,
    claim: Claim,
    pulse: Pulse,
    snapshot: Callable[[], Beat],
    written: Callable[[Beat], None],
    interval: float,
) -> None:
    """Beat every *interval* seconds until cancelled; each beat that was *written* is told."""
    while True:
        token, started = claim.token, time.monotonic()
        try:
            said = snapshot()
            await store.beat(claim, said)
            written(said)
            pulse.round_trip = time.monotonic() - started
        except RedisUnavailable:
            await store.available()
            continue
        except LostClaim:
            pulse.lost = token
        except ExqError as error:
            logger.error("cannot beat: node=%s error=%s", claim.node_id, error)
        pulse.report()
        await anyio.sleep(interval)


async def in_thread(
    open_store: Callable[[], AbstractAsyncContextManager[Store]], loop: Callable[[Store], object]
) -> None:
    """Run ``await loop(store)`` in a thread with an event loop and a store of its own, until cancelled."""
    stop: list[Callable[[], object]] = []
    ended = threading.Event()

    async def main() -> None:
        import asyncio

        asyncio_loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as tasks:
            stop.append(partial(asyncio_loop.call_soon_threadsafe, tasks.cancel_scope.cancel))
            if ended.is_set():  # the node was stopped before this thread could be told so
                return
            async with open_store() as store:
                await loop(store)  # type: ignore[misc]  # an awaitable of any result

    def thread() -> None:
        anyio.run(main, backend="asyncio")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, thread)
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
            with suppress(RuntimeError):  # its loop has ended by itself
                for end in stop:
                    end()


@attrs.frozen
class Capsule:
    """Queues under one limit, as Sidekiq shows them."""

    limit: float
    mode: str
    """``"strict"`` or ``"weighted"``."""
    weights: Mapping[str, int]
    """The queues, in their order; 0 where the order says all."""


def _written(limit: float) -> int:
    return 0 if limit == float("inf") else int(limit)


def process_entry(
    *,
    node_id: str,
    host: str,
    tag: str,
    version: str,
    pid: int,
    started: float,
    capsules: Mapping[str, Capsule],
    total: float,
    busy: int,
    quiet: bool,
    round_trip: float,
) -> dict[str, str]:
    """The fields of a process entry, as Sidekiq 6, 7 and 8 and Exq read them.

    *total* is the limit of all capsules together.  A limit of infinity is written as 0, as Exq does.
    """
    concurrency = int(min(sum(_written(capsule.limit) for capsule in capsules.values()), total))
    weights = {queue: weight for capsule in capsules.values() for queue, weight in capsule.weights.items()}
    info = {
        "hostname": host,
        "started_at": started,
        "pid": pid,
        "tag": tag,
        "concurrency": concurrency,
        "capsules": {
            name: {"concurrency": _written(capsule.limit), "mode": capsule.mode, "weights": dict(capsule.weights)}
            for name, capsule in capsules.items()
        },
        "queues": list(weights),
        "weights": [weights],
        "labels": ["exq_anyio"],
        "identity": node_id,
        "version": version,
        "embedded": False,
        # Exq reads these two here, Sidekiq the fields of the hash.
        "busy": busy,
        "quiet": quiet,
    }
    return {
        "info": msgspec.json.encode(info).decode(),
        "concurrency": str(concurrency),
        "busy": str(busy),
        "quiet": "true" if quiet else "false",
        "rss": str(resident_kilobytes()),
        "rtt_us": str(int(round_trip * 1e6)),
    }


def work_entries(running: Iterable[Running], host: str) -> list[tuple[str, bytes, bytes]]:
    """Thread id, Sidekiq's and Exq's entry of each running job, the first 1,000."""
    entries: list[tuple[str, bytes, bytes]] = []
    for run in running:
        if len(entries) == LISTED:
            break
        payload = run.job.payload.decode("utf-8", "replace")
        thread = f"{id(run):x}"
        work = {"queue": run.line.queue, "payload": payload, "run_at": int(run.started)}
        worker = {"host": host, "pid": thread, "queue": run.line.queue, "payload": payload, "run_at": run.started}
        entries.append((thread, msgspec.json.encode(work), msgspec.json.encode(worker)))
    return entries


def resident_kilobytes() -> int:
    """Resident memory of this process in kB; its peak where the present size cannot be read."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * (resource.getpagesize() // 1024)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
