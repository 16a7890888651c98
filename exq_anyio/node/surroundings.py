"""What a node is given of the world: where jobs live, a clock, chance, and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from ..limits import Limits
from ..periodic import Definition
from ..resource import Stock
from ..timetable import Timetable
from .store import Store


@attrs.frozen(kw_only=True)
class Surroundings:
    """What a node is given of the world."""

    store: Store
    """Where jobs live."""
    open_store: Callable[[], AbstractAsyncContextManager[Store]] | None
    """Opens another store for the heartbeat's own thread; None: the heartbeat runs in the event loop."""
    clock: Callable[[], float]
    """Unix seconds."""
    chance: Callable[[], float]
    """A random number in [0, 1)."""
    stock: Stock = attrs.field(factory=Stock)
    """What jobs are given beside their arguments."""
    timetable: Timetable | None = None
    """Where periodic jobs are; None: nobody enqueues them here."""
    declared: Sequence[Definition] = ()
    """The periodic jobs that the program declares."""
    limits: Limits | None = None
    """Where the limits are that all nodes share."""
