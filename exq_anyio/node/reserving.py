"""What a poller asks of a dequeuer, and of one that reserves what it says is available."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from ..job import Job


class Dequeuer(Protocol):
    """Decides whether a queue may be polled now, and how many jobs may be taken from it (Exq's Dequeue behaviour)."""

    async def available(self) -> int:
        """How many jobs may be taken now; 0 when none, and it is asked again after a job ends or a second passes."""

    def dispatched(self, job: Job) -> None:
        """*job* has been taken and starts."""

    def processed(self, job: Job) -> None:
        """*job* has ended well, or has gone back to its queue."""

    def failed(self, job: Job) -> None:
        """*job* has failed."""

    async def stop(self) -> None:
        """It is not asked any more: the queue is given up, or has another dequeuer.

        Jobs that still run tell their end all the same.
        """


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
