"""Puts jobs in: from a worker and its arguments, or a spec, to the bytes that go into Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TypeAlias, TypedDict, Unpack, cast

import attrs
import msgspec

from .config import Config
from .errors import ArgumentError, ConfigError, Conflict, PayloadTooLarge, TooManyJobs
from .events import Event, tell
from .exchange import Outgoing
from .job import JSON, Job, Record, encode, new_jid, stamp
from .outbox import Outbox, stand_in
from .periodic import Definition
from .setting import check_queue_name
from .spec import JobOptions, JobSpec, UniqueUntil, unstructure_args
from .worker import FunctionWorker, Registry, queue_of, to_spec

CALL_LIMIT = 10_000
"""Most jobs in one call: they go in one isolated step, which holds up the server."""

WorkerRef: TypeAlias = "str | FunctionWorker[..., object] | type"
"""A worker: its wire name, the marked function, or the class."""

ClientMiddleware: TypeAlias = Callable[[JobSpec], AbstractAsyncContextManager[object, "bool | None"]]
"""Wraps one enqueue; a :class:`~exq_anyio.spec.JobSpec` that it yields is enqueued instead of the one it was given."""


class Options(TypedDict, total=False):
    """Options of one job; see :class:`~exq_anyio.spec.JobOptions`."""

    max_retries: int | bool | None
    jid: str | None
    unique_for: float | timedelta | None
    unique_token: str | None
    unique_until: UniqueUntil | None
    timeout: float | timedelta | None
    tags: tuple[str, ...] | list[str]
    meta: Mapping[str, object] | None
    extra: Mapping[str, object]


class Client:
    """Enqueues jobs."""

    def __init__(self, config: Config, workers: Registry, outbox: Outbox, clock: Callable[[], float]) -> None:
        self.config = config
        self._workers = workers
        self._outbox = outbox
        self._clock = clock

    async def enqueue(
        self, queue: str, worker: WorkerRef, args: Sequence[object] = (), **options: Unpack[Options]
    ) -> str:
        """Put a job in *queue* now and return its jid.

        *worker* is a marked function, a worker class, or a wire name; *args* are its arguments by position.

        Raises:
            ArgumentError: the arguments do not fit the worker, or JSON cannot say them; nothing was enqueued.
            InvalidQueue, PayloadTooLarge: likewise.
            Conflict: a job with the same unique token holds the lock; its jid is in the error.
            RedisUnavailable: surely not enqueued.
            EnqueueUncertain: the connection failed after the job was sent.
            RedisFull, WrongType: Redis refused; nothing was enqueued.
        """
        return await self.push(self._spec(queue, worker, args, options))

    async def enqueue_in(
        self,
        queue: str,
        after: float | timedelta,
        worker: WorkerRef,
        args: Sequence[object] = (),
        **options: Unpack[Options],
    ) -> str:
        """Like :meth:`enqueue`, *after* seconds (or a timedelta) from now."""
        return await self.push(self._spec(queue, worker, args, options).on(after=after))

    async def enqueue_at(
        self, queue: str, at: datetime, worker: WorkerRef, args: Sequence[object] = (), **options: Unpack[Options]
    ) -> str:
        """Like :meth:`enqueue`, at the aware datetime *at*; at once when it is past."""
        return await self.push(self._spec(queue, worker, args, options).on(at=at))

    async def push(self, spec: JobSpec) -> str:
        """Enqueue the job that *spec* describes and return its jid; raises what :meth:`enqueue` does."""
        (jid,) = await self.enqueue_all([spec])
        if isinstance(jid, Conflict):
            raise jid
        return jid

    async def enqueue_all(self, specs: Iterable[JobSpec]) -> list[str | Conflict]:
        """Enqueue all *specs*, at most 10,000, in one isolated step: for each its jid, or what kept it out.

        Raises what :meth:`enqueue` does, except Conflict, and then nothing was enqueued.

        Raises:
            TooManyJobs: there are more than 10,000.
        """
        wanted = list(specs)
        if len(wanted) > CALL_LIMIT:
            raise TooManyJobs(len(wanted), CALL_LIMIT)
        if not wanted:
            return []
        if self.config.client_middleware:
            return await self._through(wanted, 0, 0)
        return await self._send(wanted)

    async def _through(self, specs: list[JobSpec], which: int, at: int) -> list[str | Conflict]:
        """Send *specs* from inside every client middleware of every spec."""
        stack = cast("tuple[ClientMiddleware, ...]", self.config.client_middleware)
        if which == len(specs):
            return await self._send(specs)
        if at == len(stack):
            return await self._through(specs, which + 1, 0)
        sent: list[str | Conflict] = []
        async with stack[at](specs[which]) as changed:
            if isinstance(changed, JobSpec):
                specs[which] = changed
            sent = await self._through(specs, which, at + 1)
        return sent

    async def _send(self, specs: list[JobSpec]) -> list[str | Conflict]:
        clock, outbox = self._clock, self._outbox
        if (test := stand_in(self.config)) is not None:
            clock, outbox = test.clock, test.outbox(self.config, self._workers, outbox)
        now = clock()
        jobs = [outgoing(spec, self.config, now) for spec in specs]
        holders = await outbox.push(jobs)
        if self.config.listeners:
            self._tell(jobs, holders, now)
        return [
            job.jid if at not in holders else Conflict(holders[at], job.lock[0] if job.lock else "")
            for at, job in enumerate(jobs)
        ]

    def _tell(self, jobs: Sequence[Outgoing], holders: Mapping[int, str], now: float) -> None:
        """Tell the listeners of the *jobs* that were enqueued, that is all but *holders*."""
        for at, job in enumerate(jobs):
            if at not in holders:
                event = Event(kind="enqueue", at=now, job=Job.decode(job.payload, job.queue))
                tell(self.config.listeners, event)

    def _spec(self, queue: str, worker: WorkerRef, args: Sequence[object], options: Options) -> JobSpec:
        extra = options.pop("extra", {})
        spec = to_spec(worker, args, self._workers).on(queue=queue, **options)
        return spec.with_fields(extra) if extra else spec


def outgoing(spec: JobSpec, config: Config, now: float) -> Outgoing:
    """*spec* as it goes into Redis at *now* (unix seconds).

    Raises:
        ArgumentError, InvalidQueue, PayloadTooLarge: it cannot.
    """
    options, queue = spec.options, check_queue_name(queue_of(spec))
    jid = options.jid or new_jid()
    args = unstructure_args(spec)
    at = stamp(now, config.timestamps)
    record: Record = {
        "retry": True if options.max_retries is None else options.max_retries,
        "queue": queue,
        "class": spec.worker,
        "args": args,
        "jid": jid,
        "created_at": at,
    }
    due = _due(options, now)
    if due is None:
        record["enqueued_at"] = at
    if options.timeout is not None:
        record["timeout"] = options.timeout
    if options.tags:
        record["tags"] = list(options.tags)
    if options.meta is not None:
        record["meta"] = dict(options.meta)
    record |= options.extra
    if "expires_in" in record and "expiry" not in record:
        wait = Job(record, b"", queue).expires_in
        if wait is None:
            raise ArgumentError(spec.worker, "expires_in", "must be a number of seconds above 0")
        record["expiry"] = (now if due is None else due) + wait
    lock = _lock(spec, queue, args, now, due)
    if lock is not None:
        token, duration = lock
        record |= {
            "unique_for": options.unique_for,
            "unique_token": token,
            "unique_until": options.unique_until or "success",
            "unlocks_at": now + duration,
        }
    try:
        payload = encode(record)
    except UnicodeEncodeError as error:
        raise ArgumentError(spec.worker, "", f"a text holds what UTF-8 cannot say: {error.reason}") from None
    if len(payload) > config.max_payload_bytes:
        raise PayloadTooLarge(spec.worker, len(payload), config.max_payload_bytes)
    return Outgoing(queue, payload, jid, due, lock)


def template(spec: JobSpec, config: Config) -> Record:
    """What is the same in all jobs that a periodic job enqueues.

    Raises:
        ArgumentError: *spec* says a jid or a time of its own, or JSON cannot say it.
        InvalidQueue, PayloadTooLarge: it cannot be enqueued.
    """
    for name in ("jid", "at", "after"):
        if getattr(spec.options, name) is not None:
            raise ArgumentError(spec.worker, name, "cannot be said of a periodic job: each job has its own")
    record = Job.decode(outgoing(spec, config, 0).payload).record
    for name in ("jid", "created_at", "enqueued_at", "unlocks_at", *(["expiry"] if "expires_in" in record else [])):
        record.pop(name, None)
    return record


def declared_periodic(config: Config, workers: Registry) -> list[Definition]:
    """The periodic jobs that *config* and the workers declare.

    Raises:
        ConfigError: a name is declared twice.
        ArgumentError, InvalidQueue, PayloadTooLarge: a job cannot be enqueued.
    """
    declared = {one.name: (one.job, one.schedule) for one in config.periodic}
    for worker in workers.workers.values():
        if worker.schedule is not None:
            if worker.name in declared:
                raise ConfigError("periodic", f"{worker.name!r} is declared twice, here and with its worker")
            declared[worker.name] = (worker.spec(()), worker.schedule)
    found: list[Definition] = []
    for name, (job, schedule) in declared.items():
        if job.declared is None:  # out of a file, which names its worker
            named = to_spec(job.worker, job.args, workers)
            job = attrs.evolve(named, options=job.options, queue=job.queue or named.queue)
        found.append(Definition(name, template(job, config), schedule, declared=True))
    return found


def unique_token(worker: str, queue: str, args: list[JSON]) -> str:
    """The default token of a unique job: SHA-256, in hex, over canonical JSON of worker, queue and arguments.

    Exq hashes to 27 bits, which collide; its default token is therefore not copied, and a token that is to be the same
    in Elixir and Python is given explicitly.
    """
    return hashlib.sha256(msgspec.json.encode([worker, queue, args], order="sorted")).hexdigest()


def _due(options: JobOptions, now: float) -> float | None:
    """Unix seconds at which the job is due, None when that is now or past."""
    if options.at is not None:
        due = options.at.timestamp()
    elif options.after is not None:
        due = now + options.after
    else:
        return None
    return due if due > now else None


def _lock(spec: JobSpec, queue: str, args: list[JSON], now: float, due: float | None) -> tuple[str, float] | None:
    """The token and the seconds of the unique lock; those of a scheduled job count from when it is due."""
    options = spec.options
    if options.unique_for is None:
        if options.unique_token is not None:
            raise ArgumentError(spec.worker, "unique_token", "needs unique_for, the seconds that its lock lasts")
        return None
    token = options.unique_token or unique_token(spec.worker, queue, args)
    return token, options.unique_for + (due - now if due is not None else 0)
