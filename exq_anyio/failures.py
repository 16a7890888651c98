"""What becomes of a job that failed, by the class of its error: a rule that is kept with the worker's code.

Nothing of a rule is in a job, so that a change of it applies to the jobs that wait already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar, cast

import attrs

from .errors import WorkerError
from .job import Job

T = TypeVar("T")

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
"""One class of errors, or several; each stands for its subclasses too."""

Wait: TypeAlias = float | timedelta | Callable[[Job, BaseException], float | None]
"""Seconds until the next retry, a timedelta, or what says it of the job as it now fails and its error."""

Fate: TypeAlias = Literal["retry", "discard", "dead"]
"""What becomes of the job: another try while it has any left, nothing, or a place in the dead set at once."""

Exhausted: TypeAlias = Callable[[Job, BaseException], object]
"""Told of a job, as it now fails, that is given up, and of its error; an ``async def``, or a ``def`` in a thread."""


@attrs.frozen(kw_only=True)
class FailureRule:
    """What ``retry_on``, ``discard_on``, ``dead_on`` and ``backoff_on`` of a worker say.

    Among all classes that are named, the one that is nearest to the error's own decides: the class itself, else the
    first of its bases, in the order in which Python looks for attributes.  What no class fits is dead if there is a
    ``retry_on``, and otherwise retried.
    """

    fates: Mapping[type[BaseException], Fate] = attrs.field(factory=dict[type[BaseException], Fate])
    """What becomes of a job, by the class of its error."""
    otherwise: Fate = "retry"
    """What becomes of the others."""
    waits: Mapping[type[BaseException], Wait] = attrs.field(factory=dict[type[BaseException], Wait])
    """Seconds until the next retry, by the class of the error."""

    def fate(self, error: BaseException) -> Fate:
        """What becomes of a job that failed with *error*.

        A group of errors that no class fits but ``Exception`` and ``BaseException``, as task groups raise it, has the
        fate of what is in it: it is dead if one of its errors is, else retried if one is, else discarded.
        """
        own = [_nearest(self.fates, one) or self.otherwise for one in _told(self.fates, error)]
        return next(fate for fate in ("dead", "retry", "discard") if fate in own)

    def wait(self, job: Job, error: BaseException) -> float | None:
        """Seconds until the next retry of *job*, for a group the most that any of its errors asks; None: not said."""
        own = [_seconds(_nearest(self.waits, one), job, one) for one in _told(self.waits, error)]
        return max((seconds for seconds in own if seconds is not None), default=None)


def failure_rule(
    worker: str,
    *,
    retry_on: Errors = (),
    discard_on: Errors = (),
    dead_on: Errors = (),
    backoff_on: Mapping[type[BaseException], Wait] | None = None,
) -> FailureRule | None:
    """The rule of the worker with the name *worker*; None when it says nothing.

    Raises:
        WorkerError: something is no class of errors, is named twice, or has a wait that is none.
    """
    fates: dict[type[BaseException], Fate] = {}
    said: tuple[tuple[str, Errors, Fate], ...] = (
        ("retry_on", retry_on, "retry"),
        ("discard_on", discard_on, "discard"),
        ("dead_on", dead_on, "dead"),
    )
    for option, errors, fate in said:
        for one in _classes(worker, option, errors if isinstance(errors, Iterable) else (errors,)):
            if one in fates:
                raise WorkerError(f"{worker}: {option} names {one.__name__}, which is named already; leave one of them")
            fates[one] = fate
    waits = dict(backoff_on or {})
    for one in _classes(worker, "backoff_on", waits):
        if not _is_wait(waits[one]):
            raise WorkerError(
                f"{worker}: backoff_on[{one.__name__}] must be seconds (0 or more), a timedelta, or a function of "
                f"(job, error), not {waits[one]!r}"
            )
    if not fates and not waits:
        return None
    otherwise: Fate = "dead" if "retry" in fates.values() else "retry"
    return FailureRule(fates=fates, otherwise=otherwise, waits=waits)


def _classes(worker: str, option: str, named: Iterable[object]) -> Iterator[type[BaseException]]:
    for one in named:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise WorkerError(f"{worker}: {option} must name classes of errors, such as ConnectionError, not {one!r}")
        yield one


def _is_wait(wait: object) -> bool:
    if isinstance(wait, timedelta):
        return wait >= timedelta(0)
    return callable(wait) or (isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait < 1e11)


def _nearest(named: Mapping[type[BaseException], T], error: BaseException) -> T | None:
    """What is said of the first class of *error* that is *named*."""
    return next((named[kind] for kind in type(error).__mro__ if kind in named), None)


def _told(named: Mapping[type[BaseException], object], error: BaseException) -> Iterator[BaseException]:
    """*error*, or what is in it if it is a group that is not *named* as such."""
    general = {Exception, BaseException, object}
    if not isinstance(error, BaseExceptionGroup) or any(kind in named for kind in {*type(error).__mro__} - general):
        yield error
        return
    for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
        yield from _told(named, inner)


def _seconds(wait: Wait | None, job: Job, error: BaseException) -> float | None:
    if wait is None or isinstance(wait, int | float):
        return wait
    return wait.total_seconds() if isinstance(wait, timedelta) else wait(job, error)
