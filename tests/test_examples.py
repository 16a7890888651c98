"""Every example runs as its header says, on both backends, and prints what it is there to show."""

from __future__ import annotations

import functools
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from exq_anyio.redis.embedded import EmbeddedServer

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parent.parent / "examples"

PRINTED = {
    "dynamic_queues.py": [
        *("exports:acme: part 0", "exports:acme: part 1", "exports:acme: part 2"),
        *("exports:globex: part 0", "exports:globex: part 1", "exports:globex: part 2"),
    ],
    "middleware.py": ["halve[-1]: turned away", "halve[7]: failed, 7 is odd", "halve[8]: returned 4"],
    "node_recovery.py": [
        *("part 0 begins", "part 1 begins", "its process is killed"),
        *("part 0 is performed, rescued 1 times", "part 1 is performed, rescued 1 times"),
        "part 2 is performed, rescued 0 times",
    ],
    "limits.py": ["queries at a time, at most: 3", "15 messages took long enough: True"],
    "periodic.py": [
        *("nightly: 0 3 * * * (Europe/Berlin), declared", "often: every 0.2 s, added", "sweep: every 0.2 s, declared"),
        *("reported: the moment for an instant", "reported: the day for an instant"),
    ],
    "policies.py": [
        *("given up: by bad card, CardRefused", "given up: cancelled, OrderGone"),
        *("paid: at noon, attempt 2", "paid: by bad line, attempt 2", "paid: easy, attempt 1"),
    ],
    "quickstart.py": ["hello, user 9", "hi, user 7", "welcome back, user 8"],
    "resources.py": ["3 orders paid with 1 pool"],
    "retries.py": [
        *("order: being paid, put off 0 times", "order: being paid, put off 1 times"),
        *("order: cancelled, put off 0 times", "order: unknown, put off 0 times"),
        *("unsteady: retry_count 0", "unsteady: retry_count 1", "unsteady: retry_count None"),
    ],
    "scheduling.py": [
        "refused for the sake of the one that waits: True",
        *("after 0.2 s", "at an instant", "last", "now"),
    ],
    "telemetry.py": [
        "ZeroDivisionError in divide, attempt 1: it will be retry",
        "ZeroDivisionError in divide, attempt 2: it will be dead",
        *("the node has stopped", "done: 2", "retry: 1", "dead: 1"),
    ],
    "tenants.py": [
        "taken from: exports:* exports:acme exports:globex",
        *("exports of acme at a time, at most: 2", "globex waited for acme's backlog: False"),
    ],
    "script.py": ["3 jobs are enqueued, one is scheduled"],
}


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], valkey: EmbeddedServer, namespace: str
) -> Callable[..., list[str]]:
    """Run an example as a program, with a server at hand; the lines that it prints."""
    monkeypatch.setenv("EXQ_URL", valkey.url)
    monkeypatch.setenv("EXQ_NAMESPACE", namespace)

    def run(example: str, *arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / example), *arguments])
        # Within this process: to start another one takes longer than most examples do.
        ended = runpy.run_path(str(EXAMPLES / example), run_name="__main__")
        if (q := ended.get("q")) is not None:
            q.close()
        return capsys.readouterr().out.splitlines()

    return run


def test_all_examples_are_run() -> None:
    assert sorted(PRINTED) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_an_example_can_be_read_at_a_glance() -> None:
    lines = {str(path): path.read_text(encoding="utf-8").count("\n") for path in EXAMPLES.rglob("*.py")}
    assert {path: count for path, count in lines.items() if count >= 80} == {}


@pytest.mark.parametrize("example", [name for name in PRINTED if name != "script.py"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_example_shows_what_it_says(
    example: str, backend: str, run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The examples name no backend, as most programs; the other one is put under them.
    begin: Any = anyio.run
    monkeypatch.setattr(anyio, "run", functools.partial(begin, backend=backend))
    assert run(example) == PRINTED[example]


def test_what_a_script_enqueues_is_performed_by_another_process(run: Callable[..., list[str]]) -> None:
    assert run("script.py", "7", "8", "9") == PRINTED["script.py"]
    command = [sys.executable, "-m", "exq_anyio.cli", "run", "script", "--queue", "invoices"]
    with subprocess.Popen(command, cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdout is not None
        printed = b"".join(worker.stdout.readline() for _ in range(3))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    # Of three threads, whose lines may get into each other.
    assert sorted(re.findall(rb"invoice of order \d", printed)) == [
        b"invoice of order %d" % order for order in (7, 8, 9)
    ]
