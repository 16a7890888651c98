"""Tells a worker of a job that is given up because it failed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable
from math import inf
from typing import cast

import anyio
import anyio.to_thread

from ..job import Job
from ..worker import BoundWorker

logger: logging.Logger = logging.getLogger("exq_anyio")


async def tell_exhausted(worker: BoundWorker, job: Job, error: BaseException, threads: anyio.CapacityLimiter) -> None:
    """Call ``on_exhausted`` of *worker*, for as long as a run of the job may take; its own failure is only logged.

    KeyboardInterrupt and the cancellation of the caller go on: then the job is not settled yet, and comes again.
    """
    tell = worker.on_exhausted
    assert tell is not None
    limit = job.timeout or worker.options.timeout or inf
    with anyio.CancelScope(deadline=anyio.current_time() + limit) as timed:
        try:
            if inspect.iscoroutinefunction(tell):
                await cast("Awaitable[object]", tell(job, error))
            else:
                await anyio.to_thread.run_sync(tell, job, error, abandon_on_cancel=True, limiter=threads)
        except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
            raise
        except BaseException:
            logger.exception("on_exhausted failed: jid=%s worker=%s", job.jid, job.worker)
    if timed.cancelled_caught:
        logger.error("on_exhausted took longer than %s s: jid=%s worker=%s", limit, job.jid, job.worker)
