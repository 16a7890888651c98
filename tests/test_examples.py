"""Every example runs as its header says, on both backends, and prints what it is there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

# The examples name no backend, as most programs; the other one is put under them.
ON_TRIO = """
import anyio, runpy, sys
run = anyio.run
anyio.run = lambda main, *args, backend="trio": run(main, *args, backend=backend)
runpy.run_path(sys.argv[1], run_name="__main__")
"""

PRINTED = {
    "dynamic_queues.py": [
        *("exports:acme: part 0", "exports:acme: part 1", "exports:acme: part 2"),
        *("exports:globex: part 0", "exports:globex: part 1", "exports:globex: part 2"),
    ],
    "middleware.py": ["halve[-1]: turned away", "halve[7]: failed, 7 is odd", "halve[8]: returned 4"],
    "quickstart.py": ["hello, user 9", "hi, user 7", "welcome back, user 8"],
    "retries.py": [
        *("order: being paid, put off 0 times", "order: being paid, put off 1 times"),
        *("order: cancelled, put off 0 times", "order: unknown, put off 0 times"),
        *("unsteady: retry_count 0", "unsteady: retry_count 1", "unsteady: retry_count None"),
    ],
    "scheduling.py": [
        "refused for the sake of the one that waits: True",
        *("after 0.2 s", "at an instant", "last", "now", "only once"),
    ],
}


async def run(backend: str, example: str) -> subprocess.CompletedProcess[bytes]:
    launcher = ["-c", ON_TRIO] if backend == "trio" else []
    command = [sys.executable, "-W", "error", *launcher, str(EXAMPLES / example)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
    with anyio.fail_after(60):
        return await anyio.run_process(command, env=environ, check=False)


def test_all_examples_are_run() -> None:
    assert sorted(PRINTED) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_an_example_can_be_read_at_a_glance() -> None:
    assert {path.name: lines for path in EXAMPLES.glob("*.py") if (lines := path.read_text().count("\n")) >= 80} == {}


@pytest.mark.parametrize("example", PRINTED)
async def test_an_example_shows_what_it_says(anyio_backend: str, example: str) -> None:
    ended = await run(anyio_backend, example)
    assert ended.stdout.decode().splitlines() == PRINTED[example], ended.stderr.decode()
    assert ended.returncode == 0, ended.stderr.decode()
