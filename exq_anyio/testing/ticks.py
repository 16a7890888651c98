"""What the periodic jobs of a test's instances are due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from ..client import declared_periodic
from ..config import Config
from ..exchange import Outgoing
from ..node.telling import TickTeller
from ..periodic import Definition, Seen, Tick
from .box import Crew
from .idle import NODE_ID


def ticks(crews: Iterable[Crew], begin: float, end: float) -> list[tuple[float, Definition, Crew]]:
    """All ticks later than *begin*, and not than *end*, in order: each with what is due, and who declares it."""
    declared = {(crew.config.namespace, one.name): (one, crew) for crew, one in _declared(crews)}
    found = [
        (tick, definition, crew) for definition, crew in declared.values() for tick in _between(definition, begin, end)
    ]
    return sorted(found, key=lambda one: (one[0], one[1].name))


async def enqueue(
    job: Outgoing,
    config: Config,
    clock: Callable[[], float],
    push: Callable[[Sequence[Outgoing]], Awaitable[Mapping[int, str]]],
) -> None:
    """Put in what is due by a tick, and tell of it as a node with *config* would."""
    tick = Tick(Seen("", b""), (job,), "")
    teller = TickTeller.build(config.listeners, config.client_middleware, clock)
    if teller is not None:
        (tick,) = teller.before([tick])
    holders = await push(tick.jobs)
    if teller is not None:
        teller.after(tick, 0 if holders else 1, NODE_ID)


def _declared(crews: Iterable[Crew]) -> Iterator[tuple[Crew, Definition]]:
    for crew in crews:
        for definition in declared_periodic(crew.config, crew.workers):
            yield crew, definition


def _between(definition: Definition, begin: float, end: float) -> Iterator[float]:
    tick = definition.schedule.after(begin)
    while tick is not None and tick <= end:
        yield tick
        tick = definition.schedule.after(tick)
