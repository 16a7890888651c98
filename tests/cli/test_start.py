"""What is imported, and how long it takes: every Python process that enqueues pays for it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from .conftest import EXQ

OTHERS = 0.05
"""Seconds that the machine takes, when it has nothing else to do, to import what every use of the package needs."""

HEAVY = {"coredis", "trio", "asyncio", "rich", "uvloop", "hypothesis", "exq_anyio.node.node", "exq_anyio.redis.store"}


def imported_by(statement: str) -> set[str]:
    code = f"import sys; sys.argv = ['exq', '--version']\n{statement}\nprint('\\n' + '\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "ours"),
    [
        ("import exq_anyio", "exq_anyio.app"),
        ("import exq_anyio.cli.main as cli\ntry: cli.main()\nexcept SystemExit: pass", "exq_anyio.cli.run"),
    ],
    ids=["package", "executable"],
)
def test_neither_coredis_nor_an_event_loop_is_imported(statement: str, ours: str) -> None:
    modules = imported_by(statement)
    assert ours in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize(
    ("command", "limit"),
    [([sys.executable, "-c", "import exq_anyio"], 0.15), ([EXQ, "--help"], 0.3)],
    ids=["import", "help"],
)
def test_it_starts_soon(command: list[str], limit: float) -> None:
    # Processor time, the best of some runs, and as much more of it as a busy machine takes for imports of others.
    best, others = float("inf"), float("inf")
    for _ in range(20):
        best = min(best, processor_seconds(command))
        others = min(others, processor_seconds([sys.executable, "-c", "import anyio, cattrs, msgspec"]))
        if best < limit * max(1, others / OTHERS):
            return
    pytest.fail(f"{command} takes {best:.3f} s, and imports of others {others:.3f}; {limit} and {OTHERS} are allowed")


def processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
