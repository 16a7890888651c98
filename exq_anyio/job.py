"""A job: the record that travels as JSON, and the exact bytes that it came as.

Every known field has a property; the fields that nobody here knows stay in :attr:`Job.record` and are written back
untouched.  Sidekiq 6 to 8, Resque and Exq wrote these records before us: times are float seconds or integer
milliseconds, ``jid``, ``retry`` and ``queue`` may be missing.  Pure: clock and chance are arguments.
"""

from __future__ import annotations

import base64
import secrets
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs
import msgspec

from .errors import MalformedPayload

if TYPE_CHECKING:
    JSON: TypeAlias = str | int | float | bool | list["JSON"] | dict[str, "JSON"] | None
    """What JSON can say, as Python holds it."""
else:
    # The inner name cannot be resolved from another module's hints; there a JSON value is taken as it comes.
    JSON = Any

Record: TypeAlias = "dict[str, JSON]"
"""A job's JSON object."""

Timestamps: TypeAlias = Literal["seconds", "milliseconds"]
"""How times are written: float seconds (Sidekiq up to 7, Exq) or integer milliseconds (Sidekiq 8)."""

DEFAULT_QUEUE = "default"
"""Where a scheduled or retried job goes that names no queue (Sidekiq's default too)."""

MAX_ERROR_MESSAGE = 10_000
"""Characters of an error message that are kept (Sidekiq, job_retry)."""

MAX_BACKTRACE = 1_000
"""Lines of a backtrace that are kept."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def new_jid() -> str:
    """A new job id, 24 hex digits from the system's randomness, as Sidekiq makes them."""
    return secrets.token_hex(12)


def stamp(now: float, unit: Timestamps) -> float | int:
    """*now* (unix seconds) as a job's time field in *unit*."""
    return now if unit == "seconds" else int(now * 1000)


def seconds(value: JSON) -> float | None:
    """A time field as unix seconds, whichever unit it was written in; None when it is no usable time.

    Source: Sidekiq 8 writes integer milliseconds, all others float seconds; 1e11 s is the year 5138.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value < 1e14:  # before dividing: an integer may be too large for a float
        return None
    return value / 1000 if value >= 1e11 else float(value)


def instant(value: JSON) -> datetime | None:
    """A time field as an aware UTC datetime, or None when it is no usable time."""
    unix = seconds(value)
    return None if unix is None else datetime.fromtimestamp(unix, UTC)


def encode(record: Record) -> bytes:
    """The compact JSON of *record*: the bytes that become the payload."""
    return _encode(record)


@attrs.frozen(eq=False, repr=False)
class Job:
    """One job as it was read: its record, its exact bytes and the queue that it was taken from."""

    record: Record
    """The decoded JSON object; to be read, not changed."""
    payload: bytes
    """The exact bytes in Redis; removal needs them."""
    queue: str
    """The list that the job came from; it wins over the record's own ``queue``."""

    @classmethod
    def decode(cls, payload: bytes, queue: str | None = None) -> Job:
        """Read *payload*, taken from *queue* (None: the record's own ``queue``, else ``"default"``).

        Raises:
            MalformedPayload: the bytes are not JSON, not an object, name no worker, or have no list of arguments.
        """
        try:
            record = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedPayload(f"not JSON that can be read ({type(error).__name__})") from None
        if type(record) is not dict:
            raise MalformedPayload("JSON, but not an object", is_json=True)
        worker = record.get("class")
        if type(worker) is not str or not worker:
            raise MalformedPayload("the object names no worker under 'class'", is_json=True)
        if type(record.get("args")) is not list:
            raise MalformedPayload("'args' is not an array", is_json=True)
        if queue is None:
            named = record.get("queue")
            queue = named if type(named) is str and named else DEFAULT_QUEUE
        return cls(cast("Record", record), payload, queue)

    def __repr__(self) -> str:
        return f"<Job {self.jid} {self.worker} queue={self.queue}>"

    def changed(self, **fields: JSON) -> Job:
        """The same job with *fields* set (None included), re-encoded; everything else stays as it is."""
        record = {**self.record, **fields}
        return Job(record, encode(record), self.queue)

    @property
    def jid(self) -> str:
        """Job id; ``""`` when the payload has none that is a string (Resque)."""
        jid = self.record.get("jid")
        return jid if type(jid) is str else ""

    @property
    def worker(self) -> str:
        """Name of the worker, the record's ``class``."""
        return cast("str", self.record["class"])

    @property
    def args(self) -> list[JSON]:
        """The arguments as JSON has them."""
        return cast("list[JSON]", self.record["args"])

    @property
    def retry(self) -> bool | int | None:
        """``retry`` as written: true (the default number), false (none, not even dead), a number; None: absent."""
        retry = self.record.get("retry")
        return retry if isinstance(retry, int) else None

    def max_retries(self, default: int) -> int:
        """How many retries this job gets; *default* where the payload does not say a number."""
        retry = self.retry
        if retry is None or retry is True:
            return default
        return max(0, int(retry))

    @property
    def retry_count(self) -> int | None:
        """0 after the first failure (Sidekiq; Exq writes 1), None before it.

        -1 when its first retry was asked for by hand: Sidekiq takes one off the count, so that the try costs none.
        """
        return -1 if self.record.get("retry_count") == -1 else self._count("retry_count")

    @property
    def attempt(self) -> int:
        """1 for the first run, 2 for the first retry, and so on."""
        count = self.retry_count
        return 1 if count is None else count + 2

    @property
    def rescue_count(self) -> int:
        """How often the job was taken back from a dead node."""
        return self._count("rescue_count") or 0

    @property
    def snooze_count(self) -> int:
        """How often the job put itself off."""
        return self._count("snooze_count") or 0

    @property
    def created_at(self) -> datetime | None:
        """When the job was made."""
        return instant(self.record.get("created_at"))

    @property
    def enqueued_at(self) -> datetime | None:
        """When the job was last put in its queue."""
        return instant(self.record.get("enqueued_at"))

    @property
    def failed_at(self) -> datetime | None:
        """When the job failed for the first time."""
        return instant(self.record.get("failed_at"))

    @property
    def retried_at(self) -> datetime | None:
        """When a retry last failed."""
        return instant(self.record.get("retried_at"))

    @property
    def tick(self) -> datetime | None:
        """The instant for which it was enqueued, if it is one of a periodic job."""
        told = self.record.get("periodic")
        return instant(told.get("tick")) if isinstance(told, dict) else None

    @property
    def error_class(self) -> str | None:
        """Class of the last error."""
        return self._text("error_class")

    @property
    def error_message(self) -> str | None:
        """Message of the last error."""
        return self._text("error_message")

    @property
    def error_backtrace(self) -> list[str] | None:
        """Lines of the last error's backtrace, outermost call first as Python shows them; None when none was kept."""
        packed = self.record.get("error_backtrace")
        if isinstance(packed, list):  # Sidekiq before 5 kept the bare lines
            return [line for line in packed if isinstance(line, str)]
        return unpack_backtrace(packed) if isinstance(packed, str) else None

    @property
    def tags(self) -> list[str]:
        """The job's tags."""
        tags = self.record.get("tags")
        return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []

    @property
    def meta(self) -> dict[str, JSON]:
        """Free data that travels with the job."""
        meta = self.record.get("meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def timeout(self) -> float | None:
        """Seconds that one run may take; None when the payload sets no limit."""
        return self._wait("timeout")

    @property
    def retry_for(self) -> float | None:
        """Seconds after the first failure in which the job is retried, beside the number of retries; None: no limit."""
        return self._wait("retry_for")

    @property
    def expires_in(self) -> float | None:
        """Seconds that the job is worth performing, as its maker said; None: not said."""
        return self._wait("expires_in")

    @property
    def expires_at(self) -> float | None:
        """Unix seconds after which the job is not to be performed any more; None: never.

        ``expiry`` says it (Sidekiq Pro); where only ``expires_in`` is there, it counts from when the job was enqueued.
        """
        record = self.record
        if "expiry" in record:
            return seconds(record["expiry"])
        if "expires_in" not in record:
            return None
        wait, since = self.expires_in, seconds(record.get("enqueued_at"))
        return None if wait is None or since is None else since + wait

    @property
    def unique_token(self) -> str | None:
        """Name of the unique lock that the job holds, or None."""
        return self._text("unique_token")

    @property
    def unique_until(self) -> str:
        """What frees the lock: ``"success"``, ``"start"`` or ``"expiry"``."""
        return self._text("unique_until") or "success"

    def _count(self, field: str) -> int | None:
        value = self.record.get(field)
        return value if type(value) is int and 0 <= value < 1 << 53 else None

    def _wait(self, field: str) -> float | None:
        """A field that is a number of seconds above 0, or None."""
        value = self.record.get(field)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if 0 < value < 1e11 else None

    def _text(self, field: str) -> str | None:
        value = self.record.get(field)
        return value if type(value) is str else None


def pack_backtrace(lines: list[str]) -> str:
    """*lines* as Sidekiq keeps them: base64 of zlib of a JSON array."""
    # A path need not be UTF-8; Python then holds in its name what JSON cannot say.
    sayable = [line.encode("utf-8", "replace").decode() for line in lines[:MAX_BACKTRACE]]
    return base64.b64encode(zlib.compress(_encode(sayable))).decode()


def unpack_backtrace(packed: str) -> list[str] | None:
    """The lines in *packed*, or None when it is not what Sidekiq writes.  Reads at most 1 MB of text."""
    try:
        text = zlib.decompressobj().decompress(base64.b64decode(packed), 1 << 20)
        lines = _decode(text)
    except (ValueError, RecursionError, zlib.error, msgspec.DecodeError):
        return None
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else None
