"""What the periodic jobs of a test's instances are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..client import declared_periodic
from ..periodic import Definition
from .box import Crew


def ticks(crews: Iterable[Crew], begin: float, end: float) -> list[tuple[float, Definition, Crew]]:
    """All ticks later than *begin*, and not than *end*, in order: each with what is due, and who declares it."""
    declared = {(crew.config.namespace, one.name): (one, crew) for crew, one in _declared(crews)}
    found = [
        (tick, definition, crew) for definition, crew in declared.values() for tick in _between(definition, begin, end)
    ]
    return sorted(found, key=lambda one: (one[0], one[1].name))


def _declared(crews: Iterable[Crew]) -> Iterator[tuple[Crew, Definition]]:
    for crew in crews:
        for definition in declared_periodic(crew.config, crew.workers):
            yield crew, definition


def _between(definition: Definition, begin: float, end: float) -> Iterator[float]:
    tick = definition.schedule.after(begin)
    while tick is not None and tick <= end:
        yield tick
        tick = definition.schedule.after(tick)
