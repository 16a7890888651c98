"""What is done in steps: an async iterator of what each step brought, which may be left at any time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Steps(AsyncIterator[T], Generic[T]):
    """One bounded step for each turn of ``async for``; nothing is done for a turn that is not taken.

    A class and not an async generator, which would have to be closed by whoever leaves its loop early.
    """

    def __init__(self, step: Callable[[], Awaitable[T | None]]) -> None:
        self._step = step

    async def __anext__(self) -> T:
        found = await self._step()
        if found is None:
            raise StopAsyncIteration
        return found


class Bulk(Steps[T]):
    """An action in steps: ``async for`` tells how far it is after each; ``await`` takes them all, to the last."""

    def __init__(self, step: Callable[[], Awaitable[T | None]], nothing: T) -> None:
        super().__init__(step)
        self._last = nothing

    def __await__(self) -> Generator[Any, Any, T]:
        return self._all().__await__()

    async def _all(self) -> T:
        async for step in self:
            self._last = step
        return self._last
