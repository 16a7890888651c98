"""The sketch with tasks that are kept: each performs one job after another, instead of one task a job.

To run it alone, on a private server (it prints one JSON object)::

    python -m benchmarks.kept --jobs 50000 --backend asyncio|uvloop|trio

The difference to ``sketch.py`` is what it costs to start and end a task: since AnyIO 4.14 each has a handle, a cancel
scope and an event of its own.  What it gives up: context variables that a job sets are seen by the next one, and a job
that has its task cancelled takes the slot with it.
"""

from collections import deque

import anyio
from anyio.abc import TaskGroup

from .sketch import CONCURRENCY, Worker, measure


class KeptTasks(Worker):
    """A task a slot rather than a task a job."""

    async def run(self) -> None:
        """Return when all are settled."""
        self._todo: deque[bytes] = deque()
        self._more = anyio.Event()
        async with anyio.create_task_group() as slots:
            for _ in range(CONCURRENCY):
                slots.start_soon(self._slot)
            await super().run()
            slots.cancel_scope.cancel()

    def _start(self, tasks: TaskGroup, payloads: list[bytes]) -> None:
        self._todo.extend(payloads)
        self._more.set()
        self._more = anyio.Event()

    async def _slot(self) -> None:
        while True:
            while not self._todo:
                await self._more.wait()
            await self._perform(self._todo.popleft())


if __name__ == "__main__":
    measure(__doc__, KeptTasks)
