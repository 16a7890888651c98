"""The pair of programs in ``examples/sidekiq`` does what its README says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.abc

from .both import Both, until

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sidekiq"


async def test_python_resizes_what_ruby_pushes_and_ruby_greets(both: Both) -> None:
    env = {**os.environ, "REDIS_URL": both.url, "EXQ_URL": both.url, "PYTHONWARNINGS": "error"}

    async def start(*command: str) -> anyio.abc.Process:
        return await anyio.open_process(command, env=env, cwd=EXAMPLE, stderr=subprocess.DEVNULL)

    async with (
        await start("sidekiq", "-r", "./ruby_side.rb", "-q", "default", "-t", "3") as ruby,
        await start(sys.executable, "python_side.py") as python,
    ):
        await anyio.run_process(["ruby", "ruby_side.rb"], env=env, cwd=EXAMPLE)
        try:
            await until(lambda: counted(both, processed=3, failed=1))
        finally:
            for process in (python, ruby):
                process.send_signal(signal.SIGTERM)
        assert await text_of(python) == "python: cat.jpg is 640 wide\n"
        assert "ruby: hello cat.jpg, from python\n" in await text_of(ruby)
        assert (await python.wait(), await ruby.wait()) == (0, 0)
    assert await both.redis.exists(["retry", "dead"]) == 0


async def counted(both: Both, *, processed: int, failed: int) -> bool:
    # Sidekiq counts with its beat, every five seconds.
    return (await both.counter("processed"), await both.counter("failed")) == (processed, failed)


async def text_of(process: anyio.abc.Process) -> str:
    assert process.stdout is not None
    return b"".join([chunk async for chunk in process.stdout]).decode()
