"""Queues that are worked on together: an order among them, and a limit that they share.  Sidekiq calls it a capsule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import attrs

from .setting import (
    as_concurrency,
    as_integer,
    as_listed,
    as_name,
    check_subscription,
    keyed,
    name_and_number,
    one_of,
    structured,
    type_name,
)

GroupOrder: TypeAlias = Literal["strict", "weighted"]
"""``"strict"``: the first queue that is not empty.  ``"weighted"``: each as often as it weighs."""

HEAVIEST = 1_000
"""The largest weight of a queue."""


def _weights(value: str | Iterable[str] | Mapping[str, int | str]) -> dict[str, int]:
    """The queues in their order, each with its weight: a list (all weigh 1), text ``a:3,b``, or a mapping."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, str):
        parts = [name_and_number(str(part)) for part in as_listed(value)]
        pairs = [(name, weight or "1") for name, weight in parts]
    else:
        pairs = [(name, 1) if isinstance(name, str) else _pair(name) for name in as_listed(value)]
    weights: dict[str, int] = {}
    for name, weight in pairs:
        if check_subscription(name) in weights:
            raise ValueError(f"{name!r} is named twice")
        weights[name] = as_integer(weight)
        if not 1 <= weights[name] <= HEAVIEST:
            raise ValueError(f"the weight of {name!r} must be from 1 to {HEAVIEST:,}, not {weight}")
    if not weights:
        raise ValueError("must name at least one queue")
    return weights


def _pair(entry: object) -> tuple[str, int]:
    match entry:
        case [str(name), int(weight)]:
            return name, weight
        case _:
            raise ValueError(f"must be a list of names or of (name, weight), not of {type_name(entry)}")


@attrs.frozen(kw_only=True, field_transformer=keyed("groups."))
class QueueGroup:
    """Queues that share a limit: ``groups``, a mapping from the name of a group to these keys.

    In TOML::

        [groups.web]
        queues = ["critical", "default", "low"]
        concurrency = 10

        [groups.bulk]
        queues = { import = 3, export = 1 }
        concurrency = 4
        order = "weighted"
    """

    name: str = attrs.field(converter=as_name)
    """Its name, in process entries."""

    queues: Mapping[str, int] = attrs.field(converter=_weights)
    """The queues in their order, a list of names; or a mapping from name to weight (1 to 1,000), for ``"weighted"``.
    ``exports:*`` stands for all queues that begin so; they have one place in the order, and take turns in it."""

    concurrency: float = attrs.field(default=100, converter=as_concurrency)
    """Jobs at a time of all of them together: 1 or more, or ``math.inf``."""

    order: GroupOrder = attrs.field(default="strict", metadata=one_of("strict", "weighted"))
    """Which queue a free slot goes to: ``"strict"`` to the first that is not empty, ``"weighted"`` to each as often as
    it weighs."""


_GroupsInput: TypeAlias = "Mapping[str, object] | Iterable[QueueGroup] | str"


def as_groups(value: _GroupsInput) -> tuple[QueueGroup, ...]:
    """Groups, by their names; no queue is in two of them.  As text, a JSON object."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("as text must be a JSON object") from None
    if isinstance(value, Mapping):
        groups = [_group(name, given) for name, given in value.items()]
    else:
        groups = [_as_group(part) for part in as_listed(value)]
    names = [group.name for group in groups]
    queues = [queue for group in groups for queue in group.queues]
    for kind, each in (("group", names), ("queue", queues)):
        for name in each:
            if each.count(name) > 1:
                raise ValueError(f"{kind} {name!r} is named twice")
    return tuple(groups)


def _group(name: str, given: object) -> QueueGroup:
    if isinstance(given, QueueGroup):
        return attrs.evolve(given, name=name)
    if not isinstance(given, Mapping):
        raise ValueError(f"group {name!r} must be a mapping, not {type_name(given)}")
    if "queues" not in given:
        raise ValueError(f"group {name!r} must say its queues")
    return structured(QueueGroup, f"groups.{name}", {**given, "name": name})


def _as_group(part: object) -> QueueGroup:
    if not isinstance(part, QueueGroup):
        raise ValueError(f"must be a mapping, or a list of QueueGroup, not of {type_name(part)}")
    return part
