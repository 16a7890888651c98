"""What can go wrong, one class for each thing that a caller can do differently.

Every error is an :class:`ExqError` and carries its facts as attributes.  A message says what is wrong, names the
thing, and says what to do; it never holds a job's arguments or a password.
"""

from __future__ import annotations


class ExqError(Exception):
    """The base of every error that this package raises on purpose."""


class ConfigError(ExqError):
    """A setting is unknown, missing or out of range.

    *key* names the setting as it was given, for example ``"heartbeat_interval"``.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class InvalidQueue(ExqError, ValueError):
    """A queue name that cannot be part of a Redis key or be shown on one line."""

    def __init__(self, queue: object, problem: str) -> None:
        super().__init__(f"queue {queue!r}: {problem}")
        self.queue = queue
        self.problem = problem


class WorkerError(ExqError):
    """A worker is declared in a way that cannot work: the message says which rule it breaks."""


class UnknownWorker(ExqError, LookupError):
    """No worker is registered under the job's ``class``.

    The job is retried like any failure, since the next deploy may bring the worker.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no worker is registered as {name!r}; name its module in `workers` or `imports`")
        self.name = name


class ArgumentError(ExqError, TypeError):
    """The arguments of a job do not fit its worker, or cannot be said in JSON.

    *worker* is the wire name, *path* the place of the bad value (``"args[0].when"``), or ``""`` for the whole call.
    """

    def __init__(self, worker: str, path: str, problem: str) -> None:
        where = f" {path}" if path else ""
        super().__init__(f"{worker}{where}: {problem}")
        self.worker = worker
        self.path = path
        self.problem = problem


class Interrupted(Exception):
    """A KeyboardInterrupt that hit a job, on its way to the task that opened the instance; never seen outside.

    asyncio lets a KeyboardInterrupt that leaves any other task stop its whole event loop, where nothing could be
    cleared away any more.
    """

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        super().__init__("interrupted")
        self.interrupt = interrupt


class MalformedPayload(ExqError, ValueError):
    """Bytes in a queue that are no job.  *reason* is one line; *text* says whether they are JSON at all."""

    def __init__(self, reason: str, *, is_json: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_json = is_json


class Conflict(ExqError):
    """A unique job is already enqueued or running.  *jid* is the job that holds the lock, *token* the lock's name."""

    def __init__(self, jid: str, token: str) -> None:
        super().__init__(f"a job with the same unique token is already there: jid={jid}")
        self.jid = jid
        self.token = token


class TooManyJobs(ExqError, ValueError):
    """One call was given more jobs than one isolated step may hold (10,000).  Split the call."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} jobs in one call, at most {limit} are isolated in one step; split the call")
        self.count = count
        self.limit = limit


class PayloadTooLarge(ExqError, ValueError):
    """A job is larger than ``max_payload_bytes``.  Store the data elsewhere and pass a reference."""

    def __init__(self, worker: str, size: int, limit: int) -> None:
        super().__init__(
            f"{worker}: the job is {size} bytes, the limit is {limit} (max_payload_bytes); pass a reference to the data"
        )
        self.worker = worker
        self.size = size
        self.limit = limit


class RedisError(ExqError):
    """Redis answered, and the answer was no.  *address* is the server, without a password."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"Redis at {address}: {problem}")
        self.address = address
        self.problem = problem


class RedisUnavailable(RedisError):
    """Redis cannot be reached, is loading, or is a read-only replica.

    *maybe_done* is false when the command surely had no effect; true when its bytes may have left before the failure.
    """

    def __init__(self, address: str, problem: str, *, maybe_done: bool = False) -> None:
        super().__init__(address, problem)
        self.maybe_done = maybe_done


class EnqueueUncertain(RedisUnavailable):
    """The connection failed after the jobs were sent: they may be enqueued or not.

    *jids* are their ids, in the order of the call.  With ``unique_token=jid`` and ``unique_until="expiry"``
    the call can be repeated safely, even when the job has already run.
    """

    def __init__(self, address: str, problem: str, jids: list[str]) -> None:
        shown = ", ".join(jids[:3]) + (f" and {len(jids) - 3} more" if len(jids) > 3 else "")
        super().__init__(address, f"{problem}; the enqueue may have happened: jid={shown}", maybe_done=True)
        self.jids = jids


class RedisFull(RedisError):
    """Redis is at ``maxmemory`` and took nothing.  Free memory or raise the limit; the queues are still worked off."""


class WrongType(RedisError):
    """A key holds another type than ours; nothing was changed.  *key* is the whole name of the key."""

    def __init__(self, address: str, key: str, found: str, expected: str) -> None:
        super().__init__(
            address,
            f"key {key!r} holds a {found}, a {expected} is needed; rename or delete it, or use another namespace",
        )
        self.key = key
        self.found = found
        self.expected = expected


class LostClaim(ExqError):
    """Another node has taken over the jobs of node *node_id*, which was cut off or frozen for too long."""

    def __init__(self, node_id: str) -> None:
        super().__init__(f"node {node_id} has lost its claim: it was cut off or frozen for longer than its limit")
        self.node_id = node_id


class JobTimeout(ExqError, TimeoutError):
    """A job ran longer than its ``timeout``.  *seconds* is the limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the job ran longer than its timeout of {seconds:g} s")
        self.seconds = seconds


class JobCancelled(ExqError):
    """A job was cancelled from inside or by an operator, while its node goes on."""

    def __init__(self, reason: str = "Canceled") -> None:
        super().__init__(reason)
        self.reason = reason


class WrongMode(ExqError, RuntimeError):
    """The instance was opened in a mode that does not offer this.  *mode* is what it was opened in."""

    def __init__(self, what: str, mode: str) -> None:
        super().__init__(f"{what} is not offered in mode {mode!r}")
        self.what = what
        self.mode = mode
