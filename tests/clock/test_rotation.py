"""Many queues that wait, and one look at all of them: to the second."""

from __future__ import annotations

import anyio
import trio

from exq_anyio.redis.rotation import INTERVAL, Rotation


async def test_all_waits_share_one_look() -> None:
    looks: list[tuple[float, set[str]]] = []
    full: set[str] = set()
    begun = anyio.current_time()

    async def lengths(queues: list[str]) -> list[int]:
        looks.append((anyio.current_time() - begun, set(queues)))
        return [int(queue in full) for queue in queues]

    rotation = Rotation(lengths)
    ended: dict[str, float] = {}

    async def wait(queue: str) -> None:
        await rotation.wait(queue, 4 * INTERVAL)
        ended[queue] = anyio.current_time() - begun

    names = {f"q{number}" for number in range(50)}
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(wait, name)
        await anyio.sleep(1.5 * INTERVAL)
        full.add("q7")
        rotation.end("q8")

    assert ended == dict.fromkeys(names, 4 * INTERVAL) | {"q7": 2 * INTERVAL, "q8": 1.5 * INTERVAL}
    # Whoever came first looked before the others were there.
    assert [(at, len(queues)) for at, queues in looks] == [
        (0, 1),
        (INTERVAL, 50),
        (2 * INTERVAL, 49),
        (3 * INTERVAL, 48),
    ]


async def test_who_looked_is_as_soon_ready_as_the_others() -> None:
    begun = anyio.current_time()

    async def lengths(queues: list[str]) -> list[int]:
        return [int(queue == "full") for queue in queues]

    rotation = Rotation(lengths)
    await rotation.wait("full", 10)
    assert anyio.current_time() == begun
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rotation.wait, "empty", 10)
        await anyio.sleep(2.5 * INTERVAL)
        rotation.end("empty")
    assert anyio.current_time() - begun == 2.5 * INTERVAL


async def test_when_the_one_who_looked_leaves_another_looks() -> None:
    looks: list[float] = []
    begun = anyio.current_time()

    async def lengths(queues: list[str]) -> list[int]:
        looks.append(anyio.current_time() - begun)
        return [int(queue == "b" and len(looks) == 3) for queue in queues]

    rotation = Rotation(lengths)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rotation.wait, "a", 0.1)
        await anyio.sleep(0.01)
        await rotation.wait("b", 10)
    assert looks == [0, INTERVAL, 2 * INTERVAL]


async def test_who_does_not_look_sleeps() -> None:
    class Steps(trio.abc.Instrument):
        counted = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.counted += 1

    async def lengths(queues: list[str]) -> list[int]:
        return [0] * len(queues)

    rotation, steps = Rotation(lengths), Steps()
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(rotation.wait, f"q{number}", 100)
        await anyio.sleep(INTERVAL / 2)
        trio.lowlevel.add_instrument(steps)
        await anyio.sleep(10 * INTERVAL)
        trio.lowlevel.remove_instrument(steps)
        tasks.cancel_scope.cancel()
    assert 10 <= steps.counted < 50
