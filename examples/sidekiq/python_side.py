"""The Python half of a pair that shares one Redis: see README.md for the two commands.

Its worker resizes what Ruby pushes for it, and tells Ruby's worker ``Greet`` about it.
"""

import anyio

import exq_anyio as exq

q: exq.Exq
"""Puts jobs in; open while the process serves."""


@exq.worker(name="Resize", queue="images")
async def resize(file: str, width: int) -> None:
    """Pretend to resize *file*."""
    if width <= 0:
        raise ValueError(f"cannot make {file} {width} wide")
    print(f"python: {file} is {width} wide", flush=True)
    await q.enqueue("default", "Greet", [file, "python"])


async def main() -> None:
    """Work until told to stop."""
    global q
    # Sidekiq 7 and newer know no namespace, and Sidekiq 6 has none by itself.
    async with exq.open(namespace="", mode="enqueuer") as q:
        await exq.serve(namespace="", queues=["images"])


if __name__ == "__main__":
    anyio.run(main)
