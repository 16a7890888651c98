"""A worker process is killed while it performs jobs; the next one of its host has them back at once.

::

    pip install exq-anyio
    EXQ_URL=redis://localhost python examples/node_recovery.py

On another host it takes half a minute: as long as a heartbeat may be missed, 5 s * (5 + 1) unless set otherwise.
"""

import signal
import sys

import anyio

import exq_anyio as exq

performed: list[str] = []
all_performed = anyio.Event()


@exq.worker(queue="exports")
async def export(part: int) -> None:
    """Note it; in the process that is to die, never end."""
    if "doomed" in sys.argv:
        print(f"part {part} begins", flush=True)
        await anyio.sleep_forever()
    rescues = exq.worker_job().record.get("rescue_count", 0)
    performed.append(f"part {part} is performed, rescued {rescues} times")
    if len(performed) == 3:
        all_performed.set()


async def be_killed() -> None:
    """Start this program as another process, and kill it as soon as it performs two jobs."""
    async with await anyio.open_process([sys.executable, __file__, "doomed"], stderr=None) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"begins") < 2:
            said += await process.stdout.receive()
        process.send_signal(signal.SIGKILL)
    print(*sorted(said.decode().splitlines()), "its process is killed", sep="\n")


async def main() -> None:
    """Work on two jobs at a time, in one process after the other."""
    if "doomed" in sys.argv:
        async with exq.open(queues={"exports": 2}):
            await anyio.sleep_forever()
    async with exq.open(mode="enqueuer") as q:
        await q.enqueue_all(export.job(part) for part in range(3))
    with anyio.fail_after(20):
        await be_killed()
        async with exq.open(queues={"exports": 2}):
            await all_performed.wait()
    print(*performed, sep="\n")


if __name__ == "__main__":
    anyio.run(main)
