"""Logging of the command line: one readable line for each record, on stderr.

Only ``exq`` sets logging up; the library itself never does.
"""

from __future__ import annotations

import logging
import os
import re
import traceback

from ..logs import JobFilter, JSONFormatter

LEVELS = ("debug", "info", "warning", "error")

FORMATS = ("text", "json")

_NOT_THE_USERS = ("<", os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__))
"""How the names of files begin that are parts of Python or of this package."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(level: str, *, layout: str = "text", process: int = 0) -> None:
    """Write what is logged from *level* on to stderr; as text, with tracebacks at level ``"debug"`` only.

    *layout* is one of FORMATS.  *process* is the number of this process among several, 0 when it is alone.
    """
    handler = logging.StreamHandler()
    handler.addFilter(JobFilter())
    if layout == "json":
        handler.setFormatter(JSONFormatter({"process": process} if process else None))
    else:
        handler.setFormatter(OneLine(tracebacks=level == "debug", process=process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Where it logs an error, it also raises it, and we say it once, with the address and the remedy.
    logging.getLogger("coredis").setLevel(logging.CRITICAL)


class OneLine(logging.Formatter):
    """Time, level, logger and message on one line, with the error and where it was raised."""

    default_msec_format: str | None = "%s.%03d"

    def __init__(self, *, tracebacks: bool, process: int = 0) -> None:
        super().__init__()
        self._tracebacks = tracebacks
        self._process = f"[{process}] " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        """The line; at level debug the traceback follows it."""
        told = f"{self._process}{record.name}: {one_line(record.getMessage())}"
        line = f"{self.formatTime(record)} {record.levelname:<7} {told}"
        jid, worker = record.__dict__.get("jid", ""), record.__dict__.get("worker", "")
        if jid and record.name != "exq_anyio":  # whose own lines name the job themselves
            line += f" jid={one_line(jid)} worker={one_line(worker)}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        line += f" error={one_line(repr(error))}{origin(error)}"
        return f"{line}\n{''.join(traceback.format_exception(error)).rstrip()}" if self._tracebacks else line


def one_line(text: str) -> str:
    """*text* on one line, and without what a terminal would obey."""
    lines = (line.strip() for line in text.splitlines())
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), " | ".join(filter(None, lines)))


def origin(error: BaseException | None) -> str:
    """Where in the user's own code *error* was raised, as `` (file.py:3)``; empty when it was not."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    for frame in reversed(frames):
        if not frame.filename.startswith(_NOT_THE_USERS) and "site-packages" not in frame.filename:
            return f" ({frame.filename}:{frame.lineno})"
    return ""
