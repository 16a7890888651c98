"""One reader however many look: what several streams want at the same time is read once, and only while they look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager

import anyio
import attrs


@attrs.define(eq=False)
class _Slot:
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)
    watchers: int = 0
    read_at: float = -1.0
    value: object = None


class Watch:
    """A hold on one thing that is read; made by :meth:`Shared.watch`."""

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    async def get(self, read: Callable[[], Awaitable[object]], age: float) -> object:
        """What was read at most *age* seconds ago, by whomever; read now if need be.

        Who asks while another reads waits for that, and takes it.  A failure is that of the one who reads.
        """
        slot = self._slot
        async with slot.lock:
            if slot.read_at < 0 or anyio.current_time() - slot.read_at >= age:
                slot.value = await read()
                slot.read_at = anyio.current_time()
            return slot.value


class Shared:
    """What is being watched now, by key; nothing is kept once nobody watches it."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, _Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def watch(self, key: Hashable) -> Iterator[Watch]:
        """Hold what is read under *key*."""
        slot = self._slots.setdefault(key, _Slot())
        slot.watchers += 1
        try:
            yield Watch(slot)
        finally:
            slot.watchers -= 1
            if not slot.watchers:
                del self._slots[key]
