"""A job that is not enqueued yet: which worker, with what, where, and how it is to be treated."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from .arguments import args_to_json, to_json
from .errors import ArgumentError
from .job import JSON

Duration: TypeAlias = float | datetime.timedelta
"""Seconds, or a timedelta."""
UniqueUntil: TypeAlias = Literal["success", "start", "expiry"]


class Keep(enum.Enum):
    """The type of :data:`KEEP`."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""This option stays as it is."""

RESERVED = frozenset({"class", "args", "queue", "retry", "created_at", "enqueued_at"})
"""Fields of a job that extra fields may not overwrite, apart from the options themselves."""


def _seconds(value: Duration | None) -> float | None:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def _json(name: str, value: Mapping[str, object]) -> Mapping[str, JSON]:
    if not isinstance(value, Mapping):
        raise ArgumentError("job", name, "must be a mapping with strings as keys")
    return cast("dict[str, JSON]", to_json("job", name, value))


def _meta(value: Mapping[str, object] | None) -> Mapping[str, JSON] | None:
    return None if value is None else _json("meta", value)


def _extra(value: Mapping[str, object]) -> Mapping[str, JSON]:
    return _json("extra", value)


def _strings(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ArgumentError("job", "tags", "must be a sequence of strings, not one string")
    return tuple(value)


def _rule(problem: str, holds: Callable[[Any], bool]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """A validator; None, where it is the default, always passes."""

    def validate(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not (value is None and field.default is None) and not holds(value):
            raise ArgumentError("job", field.name, f"must be {problem}")

    return validate


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e11 < value < 1e11


_is_text = _rule("a string that is not empty", lambda value: isinstance(value, str) and value != "")
_is_wait = _rule("a number of seconds", _is_number)
_is_limit = _rule("a number of seconds above 0", lambda value: _is_number(value) and value > 0)
_is_retries = _rule(
    "True, False or a number of retries, 0 or more",
    lambda value: isinstance(value, int) and value >= 0,
)
_is_until = _rule("'success', 'start' or 'expiry'", lambda value: value in ("success", "start", "expiry"))
_is_instant = _rule(
    "a datetime with a time zone, such as datetime.now(timezone.utc)",
    lambda value: isinstance(value, datetime.datetime) and value.utcoffset() is not None,
)
_are_strings = _rule("a sequence of strings", lambda value: all(isinstance(tag, str) for tag in value))


@attrs.frozen(kw_only=True)
class JobOptions:
    """How a job is to be treated.  None stands for what the worker or the configuration says.

    Raises:
        ArgumentError: an option is out of range; ``path`` is its name.
    """

    max_retries: int | bool | None = attrs.field(default=None, validator=_is_retries)
    """Retries after the first failure; True is the configured number, False or 0 means none."""
    jid: str | None = attrs.field(default=None, validator=_is_text)
    """The job's id; one is made where there is none."""
    unique_for: float | None = attrs.field(default=None, converter=_seconds, validator=_is_limit)
    """Seconds for which no equal job is accepted."""
    unique_token: str | None = attrs.field(default=None, validator=_is_text)
    """What makes jobs equal; by default the worker and the arguments."""
    unique_until: UniqueUntil | None = attrs.field(default=None, validator=_is_until)
    """What ends the lock before its time."""
    timeout: float | None = attrs.field(default=None, converter=_seconds, validator=_is_limit)
    """Seconds that one run may take."""
    tags: tuple[str, ...] = attrs.field(default=(), converter=_strings, validator=_are_strings)
    """Labels for the web UI."""
    meta: Mapping[str, JSON] | None = attrs.field(default=None, converter=_meta)
    """Data about the job, for middleware."""
    after: float | None = attrs.field(default=None, converter=_seconds, validator=_is_wait)
    """Seconds to wait before the job is put in its queue."""
    at: datetime.datetime | None = attrs.field(default=None, validator=_is_instant)
    """The instant at which the job is put in its queue; aware."""
    extra: Mapping[str, JSON] = attrs.field(factory=dict, converter=_extra)
    """Further fields of the job, written as they are."""

    def __attrs_post_init__(self) -> None:
        if self.after is not None and self.at is not None:
            raise ArgumentError("job", "at", "cannot be given together with `after`")
        for name in self.extra:
            if name in RESERVED or hasattr(self, name):
                raise ArgumentError("job", name, "is no extra field: the job has an option or an argument of that name")


@attrs.frozen(kw_only=True)
class JobSpec:
    """A job as it is to be enqueued; immutable."""

    worker: str
    """The wire name."""
    args: tuple[object, ...] = ()
    """Python values, by position."""
    queue: str = "default"
    options: JobOptions = JobOptions()
    declared: object = attrs.field(default=None, eq=False, repr=False)
    """The declared worker, where it is known."""

    def on(
        self,
        *,
        queue: str | Keep = KEEP,
        after: Duration | Keep | None = KEEP,
        at: datetime.datetime | Keep | None = KEEP,
        max_retries: int | bool | Keep | None = KEEP,
        jid: str | Keep | None = KEEP,
        unique_for: Duration | Keep | None = KEEP,
        unique_token: str | Keep | None = KEEP,
        unique_until: UniqueUntil | Keep | None = KEEP,
        timeout: Duration | Keep | None = KEEP,
        tags: tuple[str, ...] | list[str] | Keep = KEEP,
        meta: Mapping[str, object] | Keep | None = KEEP,
        **extra: object,
    ) -> JobSpec:
        """The same job with other options; those not given stay.  ``after`` and ``at`` replace each other.

        Any other name becomes a field of the job, as it is.

        Raises:
            ArgumentError: an option is out of range; ``path`` is its name.
        """
        if after not in (KEEP, None) and at is KEEP:
            at = None
        elif at not in (KEEP, None) and after is KEEP:
            after = None
        changes: dict[str, Any] = {
            "after": after,
            "at": at,
            "max_retries": max_retries,
            "jid": jid,
            "unique_for": unique_for,
            "unique_token": unique_token,
            "unique_until": unique_until,
            "timeout": timeout,
            "tags": tags,
            "meta": meta,
            "extra": {**self.options.extra, **extra} if extra else KEEP,
        }
        changes = {name: value for name, value in changes.items() if value is not KEEP}
        options = named(self.worker, lambda: attrs.evolve(self.options, **changes)) if changes else self.options
        return attrs.evolve(self, queue=self.queue if queue is KEEP else queue, options=options)

    def with_fields(self, extra: Mapping[str, object]) -> JobSpec:
        """The same job with *extra* fields, whatever their names; those that it has stay.

        Raises:
            ArgumentError: an option or a field of ours has that name, or JSON cannot say a value.
        """
        fields = {**self.options.extra, **extra}
        options = named(self.worker, lambda: attrs.evolve(self.options, extra=fields))
        return attrs.evolve(self, options=options)


def named(worker: str, make: Callable[[], JobOptions]) -> JobOptions:
    """The options that *make* returns; an error in them names *worker*."""
    try:
        return make()
    except ArgumentError as error:
        raise ArgumentError(worker, error.path, error.problem) from None


def unstructure_args(spec: JobSpec) -> list[JSON]:
    """The arguments of *spec* as they go on the wire.

    Raises:
        ArgumentError: JSON cannot say one of them; ``path`` is its exact place.
    """
    return args_to_json(spec.worker, spec.args)
