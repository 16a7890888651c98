"""For the logs of a program: which job a line was written in, and lines that programs read.

The package sets no logging up; ``exq run`` does, with what is here.  In a program of your own::

    handler = logging.StreamHandler()
    handler.addFilter(JobFilter())
    handler.setFormatter(JSONFormatter())

For structlog, :func:`add_job` is a processor.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from .middleware import current_run

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "jid", "worker"}
"""What every record has; anything else was given as ``extra``."""

_DIRECTIVE = re.compile(r"(?:(\w+)=)?%(?:\((\w+)\))?[-#0 +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?([a-zA-Z%])")
"""A directive of a message, and the name that stands before it: ``jid=%s``."""


class JobFilter(logging.Filter):
    """Passes every record, and notes in it, as ``jid`` and ``worker``, the job that it was logged in; else ``""``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the job; what the record says itself (``extra``) stays."""
        run = current_run.get(None)
        record.__dict__.setdefault("jid", "" if run is None else run.job.jid)
        record.__dict__.setdefault("worker", "" if run is None else run.job.worker)
        return True


def add_job(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor for structlog: adds ``jid`` and ``worker`` to what is logged inside a job."""
    run = current_run.get(None)
    if run is not None:
        event.setdefault("jid", run.job.jid)
        event.setdefault("worker", run.job.worker)
    return event


class JSONFormatter(logging.Formatter):
    """One JSON object a line.

    ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``; ``jid`` and ``worker`` where a :class:`JobFilter` has
    noted them; the fields that this package writes into its lines as ``name=value``; what was given as ``extra``; and
    ``error`` and ``traceback`` of an exception.
    """

    def __init__(self, always: Mapping[str, object] | None = None) -> None:
        """*always* are fields of every line."""
        super().__init__()
        self._always = dict(always or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
        }
        noted = vars(record)
        line |= {name: noted[name] for name in ("jid", "worker") if noted.get(name)}
        if record.name.partition(".")[0] == "exq_anyio":
            line |= dict(fields(record))
        line |= {name: value for name, value in noted.items() if name not in _PLAIN}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line |= {"error": repr(error), "traceback": "".join(traceback.format_exception(error))}
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (
            UnicodeEncodeError,
            TypeError,
        ):  # half a character, as in a path that is no UTF-8; a key that is no text
            return json.dumps(line, default=str, skipkeys=True)


def fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """The values that the record's message has as ``name=%s``, as they were given."""
    if not isinstance(record.args, tuple):
        return
    values = iter(record.args)
    for name, _, kind in _DIRECTIVE.findall(str(record.msg)):
        if kind == "%":
            continue
        value = next(values, None)
        if name:
            yield name, value
