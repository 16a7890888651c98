"""Limits that all nodes share: how many jobs of a queue run at a time, and how many begin in a length of time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal, Protocol, TypeAlias

import attrs

from .errors import ConfigError
from .exchange import Claim

RateKind: TypeAlias = Literal["sliding", "fixed", "bucket"]
"""How a rate is counted: over any span of its length, by spans that begin at multiples of it, or by tokens."""


def _jobs(value: int) -> int:
    return _count("count", value)


def _fleet(value: int | None) -> int | None:
    return None if value is None else _count("fleet", value)


def _concurrency(value: int | None) -> int | None:
    return None if value is None else _count("concurrency", value)


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise ConfigError(name, f"must be a number from 1 to 1,000,000, not {value!r}")
    return value


def _span(value: float | timedelta) -> float:
    seconds: object = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.01 <= seconds <= 1e8:
        raise ConfigError("per", f"must be a number of seconds from 0.01 to 1e8, or a timedelta, not {value!r}")
    return float(seconds)


@attrs.frozen
class Rate:
    """So many jobs may begin in so much time, on all nodes together.

    Raises:
        ConfigError: a value is out of range.
    """

    count: int = attrs.field(converter=_jobs)
    """How many jobs."""
    per: float = attrs.field(converter=_span)
    """In how many seconds, or a timedelta."""
    kind: RateKind = attrs.field(default="sliding", kw_only=True)
    """``"sliding"``: in any span of that length.  ``"fixed"``: in each span that begins at a multiple of it since 1970,
    so that twice as many may begin around one of these instants.  ``"bucket"``: evenly, one each ``per / count``
    seconds, and up to ``burst`` at once after a time with fewer."""
    burst: int | None = attrs.field(default=None, kw_only=True)
    """For ``"bucket"``: how many may begin at once; by default 1."""

    def __attrs_post_init__(self) -> None:
        if self.kind not in ("sliding", "fixed", "bucket"):
            raise ConfigError("kind", f"must be 'sliding', 'fixed' or 'bucket', not {self.kind!r}")
        if self.burst is not None:
            if self.kind != "bucket":
                raise ConfigError("burst", "is for a rate of the kind 'bucket'")
            _count("burst", self.burst)


def _rates(value: Rate | Iterable[Rate]) -> tuple[Rate, ...]:
    rates = (value,) if isinstance(value, Rate) else tuple(value)
    if not all(isinstance(rate, Rate) for rate in rates):
        raise ConfigError("rates", f"must be exq.Rate(...), or a list of such, not {value!r}")
    if len({(rate.kind, rate.per) for rate in rates}) < len(rates):
        raise ConfigError("rates", "has two of the same kind and length; keep the lower one")
    return rates


@attrs.frozen(kw_only=True)
class Limit:
    """What a queue is limited to on all nodes together: ``queues={"mail": exq.Limit(fleet=5)}``.

    All nodes must say the same.  Raises ConfigError: a value is out of range.
    """

    fleet: int | None = attrs.field(default=None, converter=_fleet)
    """Jobs at a time on all nodes together; None: no limit."""
    rates: tuple[Rate, ...] = attrs.field(default=(), converter=_rates)
    """How many may begin in a length of time: a :class:`Rate`, or several that must all be kept."""
    concurrency: int | None = attrs.field(default=None, converter=_concurrency)
    """Jobs at a time on one node; None: ``Config.concurrency``."""
    name: str | None = None
    """Queues that say the same name share the limit; None: the name of the queue."""

    def __attrs_post_init__(self) -> None:
        if self.fleet is None and not self.rates:
            raise ConfigError("fleet", "a Limit needs fleet or rates; for one node alone give a number")


@attrs.frozen
class Taken:
    """What was had of a rate."""

    count: int
    """How many jobs may begin now."""
    wait: float = 0.0
    """Seconds until there may be one more; 0 unless none may."""
    window: str = ""
    """What a rate of the kind "fixed" was counted in."""


class Limits(Protocol):
    """What nodes ask, about limits, of the place where jobs live.

    Implemented on Redis in ``exq_anyio.redis.limits`` and in memory in ``exq_anyio.testing.limits``; both pass the same
    contract tests.  Each method is one isolated step, but for :meth:`sweep`, and may raise
    :class:`~exq_anyio.errors.RedisError`, which changes nothing.
    """

    async def hold(self, name: str, most: int, claim: Claim, holder: str, wanted: int, least: int) -> int:
        """Hold *wanted* places of *most* under the name *holder*, instead of those held so far; how many are.

        Fewer where others hold the rest, but never fewer than *least*: those are in use.  Raises LostClaim.
        """

    async def sweep(self, name: str) -> None:
        """Free the places that are held by nodes that have left, or were taken for dead."""

    async def take(self, name: str, rate: Rate, holder: str, first: int, wanted: int) -> Taken:
        """Count up to *wanted* jobs that begin now, under the numbers of *holder* from *first* on."""

    async def give(self, name: str, rate: Rate, holder: str, first: int, count: int, window: str) -> None:
        """Undo that of *count* jobs, from number *first* on: they did not begin."""
