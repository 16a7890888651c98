"""How one web UI is set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from ..job import JSON, Job, Record
from .access import Authorize

Redact: TypeAlias = Callable[[Job], Mapping[str, JSON]]
"""From a job to the record to be shown in its place, ``job.record`` without what is nobody's business."""

HIDDEN = "[hidden]"
"""What is shown where something is not."""


@attrs.frozen(kw_only=True)
class Settings:
    """What :func:`~exq_anyio.ui.create_app` was given."""

    authorize: Authorize
    read_only: bool
    allow_enqueue: bool
    redact: Redact | None
    title: str
    prefix: str | None
    """Where it is mounted; None: what the server says (``root_path``)."""
    stream_seconds: float
    """How long one stream of live updates lasts before the browser asks anew."""


def hide_keys(*names: str) -> Redact:
    """A redaction that hides what stands under these keys, however deep in a job's arguments and ``meta``."""
    hidden = frozenset(names)

    def value(shown: JSON) -> JSON:
        if isinstance(shown, dict):
            return {key: HIDDEN if key in hidden else value(inner) for key, inner in shown.items()}
        return [value(inner) for inner in shown] if isinstance(shown, list) else shown

    def redact(job: Job) -> Record:
        record = dict(job.record)
        for field in ("args", "meta"):
            if field in record:
                record[field] = value(record[field])
        return record

    return redact
