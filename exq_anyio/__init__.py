"""Background jobs for Trio and asyncio on Redis, in the format of Sidekiq, Resque and Exq.

::

    import exq_anyio as exq

    @exq.worker(queue="mail")
    async def send_welcome(user_id: int) -> None: ...

    async with exq.open(url="redis://localhost") as q:
        jid = await q.push(send_welcome.job(7))
"""

from ._version import __version__
from .app import Exq, open  # noqa: A004  # exq.open is the name that users know
from .config import Config, QueueConfig
from .errors import (
    ArgumentError,
    ConfigError,
    Conflict,
    EnqueueUncertain,
    ExqError,
    InvalidQueue,
    JobCancelled,
    JobTimeout,
    LostClaim,
    MalformedPayload,
    PayloadTooLarge,
    RedisError,
    RedisFull,
    RedisUnavailable,
    TooManyJobs,
    UnknownWorker,
    WorkerError,
    WrongMode,
    WrongType,
)
from .job import Job
from .limits import Limit, Rate
from .middleware import Middleware, default_middleware, job_result, log_jobs, worker_job
from .outcome import Dead, Discard, Halt, Snooze, sidekiq_backoff
from .periodic import Cron, Every, Periodic
from .process import serve
from .resource import Resource, given, resource
from .spec import JobOptions, JobSpec
from .sync import Sync, sync
from .worker import Worker, worker

__all__ = [
    "ArgumentError",
    "Config",
    "ConfigError",
    "Conflict",
    "Cron",
    "Dead",
    "Discard",
    "EnqueueUncertain",
    "Every",
    "Exq",
    "ExqError",
    "Halt",
    "InvalidQueue",
    "Job",
    "JobCancelled",
    "JobOptions",
    "JobSpec",
    "JobTimeout",
    "Limit",
    "LostClaim",
    "MalformedPayload",
    "Middleware",
    "PayloadTooLarge",
    "Periodic",
    "QueueConfig",
    "Rate",
    "RedisError",
    "RedisFull",
    "RedisUnavailable",
    "Resource",
    "Snooze",
    "Sync",
    "TooManyJobs",
    "UnknownWorker",
    "Worker",
    "WorkerError",
    "WrongMode",
    "WrongType",
    "__version__",
    "default_middleware",
    "given",
    "job_result",
    "log_jobs",
    "open",
    "resource",
    "serve",
    "sidekiq_backoff",
    "sync",
    "worker",
    "worker_job",
]
