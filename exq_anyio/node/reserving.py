"""What a poller asks of a dequeuer that reserves what it says is available."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from ..job import Job


class Reserving(ABC):
    """A dequeuer whose ``available`` reserves; its poller tells it when that was not needed."""

    again: float
    """Seconds until it is worth asking again, after it had nothing."""

    class Local(Protocol):
        """What counts the jobs of one node."""

        async def available(self) -> int:
            """Free slots."""

        def dispatched(self, job: Job) -> None:
            """Takes a slot."""

        def processed(self, job: Job) -> None:
            """Frees it."""

    @abstractmethod
    async def available(self) -> int:
        """How many jobs may be taken now; they are reserved."""

    @abstractmethod
    async def returned(self) -> None:
        """The fetch is over: what was reserved and has not begun is not needed."""

    @abstractmethod
    async def admit(self) -> bool:
        """Whether one job that has come may begin; it is reserved then."""

    @abstractmethod
    def dispatched(self, job: Job) -> None:
        """*job* begins."""

    @abstractmethod
    def processed(self, job: Job) -> None:
        """*job* has ended well, or has gone back to its queue."""

    @abstractmethod
    def failed(self, job: Job) -> None:
        """*job* has failed."""

    @abstractmethod
    async def stop(self) -> None:
        """It is not asked any more."""
