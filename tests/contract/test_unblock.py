"""A wait is ended, and only the one that is under way: a poller that goes on soon waits again."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from exq_anyio.exchange import Claim

from .places import Place

CLAIM = Claim("host#1", "token")


async def test_unblock_returns_although_the_queue_is_waited_for_again_at_once(place: Place) -> None:
    waits = 0

    async def poll() -> None:
        nonlocal waits
        while True:
            waits += 1
            assert await place.store.wait(CLAIM, "q", 30) is None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            for _ in range(3):
                seen = waits
                while waits == seen:  # one that comes before the server has begun to wait ends nothing
                    await place.store.unblock("q")
                    await anyio.lowlevel.checkpoint()
        assert waits >= 4
        tasks.cancel_scope.cancel()
