"""Jobs of Rails: ActiveJob wraps each in a job of its own, whose one argument says the class and the real arguments.

A worker whose wire name is that of the ActiveJob class performs them, with the arguments as JSON says them: a symbol,
a date, a time, a number of ``BigDecimal`` and a GlobalID (``"gid://app/User/1"``) are strings, a duration is seconds, a
range is a list of its ends, and keyword arguments are bound by their names.  Type hints then make of them what the
worker wants, as of any job's.

Source: Rails 6.0 to 8.0, ``ActiveJob::Arguments`` and ``ActiveJob::Serializers``.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from .arguments import args_to_json
from .errors import ArgumentError
from .job import JSON, Job
from .spec import JobOptions, JobSpec

if TYPE_CHECKING:
    from .worker import BoundWorker

RAILS_WRAPPER = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"
"""The class of the outer job in Rails 6 to 8; where Sidekiq brings its own, this name stays as an alias."""

SIDEKIQ_WRAPPER = "Sidekiq::ActiveJob::Wrapper"
"""The class of the outer job where Sidekiq brings its own adapter, as it does since 7.3."""

WRAPPERS = frozenset({RAILS_WRAPPER, SIDEKIQ_WRAPPER})

_PREFIX = "_aj_"
_KEYWORDS = ("_aj_ruby2_keywords",)
_SERIALIZED, _GLOBAL_ID = "_aj_serialized", "_aj_globalid"
_SERIALIZERS = "ActiveJob::Serializers::"


def wrapped_name(job: Job) -> str | None:
    """The class of the ActiveJob inside *job*; None if it is no job of ActiveJob."""
    if job.worker not in WRAPPERS:
        return None
    inner = _inner(job)
    name = job.record.get("wrapped") or (inner or {}).get("job_class")
    return name if isinstance(name, str) and name else None


def wrapped_args(job: Job, worker: BoundWorker) -> list[JSON]:
    """The arguments of the ActiveJob inside *job*, by position as *worker* takes them.

    Raises:
        ArgumentError: they are not what ActiveJob writes, or do not fit the worker.
    """
    written = (_inner(job) or {}).get("arguments")
    if not isinstance(written, list):
        raise ArgumentError(worker.name, "args[0].arguments", "is not an array, as ActiveJob writes it")
    args, keywords = decoded(written)
    if not keywords:
        return args
    return args_to_json(worker.name, worker.parameters.positions(tuple(args), keywords))


def _inner(job: Job) -> Mapping[str, JSON] | None:
    first = job.args[0] if job.args else None
    return first if isinstance(first, dict) else None


# From Rails


def decoded(arguments: Sequence[JSON]) -> tuple[list[JSON], dict[str, JSON]]:
    """What ActiveJob wrote as ``arguments``: those by position, and those by keyword."""
    args = [_value(argument) for argument in arguments]
    last = arguments[-1] if arguments else None
    if isinstance(last, dict) and any(isinstance(last.get(mark), list) for mark in _KEYWORDS):
        return args[:-1], cast("dict[str, JSON]", args[-1])
    return args, {}


def _value(written: JSON) -> JSON:
    if isinstance(written, list):
        return [_value(item) for item in written]
    if not isinstance(written, dict):
        return written
    if _GLOBAL_ID in written:
        return written[_GLOBAL_ID]
    if _SERIALIZED in written:
        return _object(written)
    return {key: _value(value) for key, value in written.items() if not key.startswith(_PREFIX)}


def _object(written: Mapping[str, JSON]) -> JSON:
    """An object that ActiveJob has a serializer for: all of Rails' own have a ``value``, but for ranges."""
    if written[_SERIALIZED] == f"{_SERIALIZERS}RangeSerializer":
        return [_value(written.get("begin")), _value(written.get("end"))]
    if "value" in written:
        return _value(written["value"])
    return {key: _value(value) for key, value in written.items() if not key.startswith(_PREFIX)}


# To Rails


def active_job(
    job_class: str,
    /,
    *args: object,
    queue: str = "default",
    wrapper: str = RAILS_WRAPPER,
    keywords: Mapping[str, object] | None = None,
) -> JobSpec:
    """A job that Rails performs as ``job_class.new.perform(*args, **keywords)``.

    Datetimes and dates arrive as Ruby's, decimals as text (Rails before 7.1 has no other form for them); a GlobalID is
    given with :func:`global_id`.
    """
    arguments = [_written(arg) for arg in args]
    if keywords:
        marked = {name: _written(value) for name, value in keywords.items()}
        arguments.append({**marked, _KEYWORDS[0]: list(keywords)})
    inner: dict[str, object] = {
        "job_class": job_class,
        "job_id": str(uuid.uuid4()),
        "provider_job_id": None,
        "queue_name": queue,
        "priority": None,
        "arguments": arguments,
        "executions": 0,
        "exception_executions": {},
        "locale": "en",
        "timezone": "UTC",
    }
    return JobSpec(worker=wrapper, args=(inner,), queue=queue, options=JobOptions(extra={"wrapped": job_class}))


def global_id(gid: str) -> Mapping[str, str]:
    """An argument that Rails reads as the record *gid*, for example ``"gid://app/User/1"``."""
    return {_GLOBAL_ID: gid}


def _written(value: object) -> object:
    match value:
        case datetime.datetime():
            return _serialized("TimeSerializer", value.astimezone(datetime.UTC).isoformat()[:-6] + "Z")
        case datetime.date():
            return _serialized("DateSerializer", value.isoformat())
        case Mapping():
            return {name: _written(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_written(inner) for inner in value]
        case _:
            return value


def _serialized(serializer: str, value: str) -> dict[str, str]:
    return {_SERIALIZED: f"{_SERIALIZERS}{serializer}", "value": value}
