from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import EXQ, Shell, until

LOSE = """
from exq_anyio.cli import demo, main

push = demo.push

async def push_and_lose(connections, keys, jobs):
    await push(connections, keys, jobs)
    request = connections.commands.request
    for job in [job for job in jobs if job.kind.worker == {worker!r}][:{count}]:
        print("LOST", job.jid)
        removed = await request(b"LREM", keys.queue(job.kind.queue), 1, job.payload)
        removed += await request(b"ZREM", keys.schedule, job.payload)
        assert removed == 1

demo.push = push_and_lose
main.main()
"""


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose temporary directory is empty again in the end: nothing of a server is left."""
    # Under /tmp, for the path of a Unix socket is short.
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as directory:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
        yield {**environment, "TMPDIR": directory}
        until(lambda: list(Path(directory).iterdir()) == [], "the directory of the server is gone")


def figures(text: str) -> dict[str, tuple[int, int]]:
    """What the second table says: expected and found."""
    table = text.partition("What Redis says")[2]
    rows = re.findall(r"^(.+?) +([\d,]+) +([\d,]+) +\S+ *$", table, re.MULTILINE)
    return {name: (int(expected.replace(",", "")), int(found.replace(",", ""))) for name, expected, found in rows}


@pytest.mark.slow
def test_it_shows_a_thousand_jobs_whose_figures_add_up(backend: str, temporary: dict[str, str]) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [EXQ, "demo", "--backend", backend], env=temporary, capture_output=True, text=True, timeout=60
    )
    took = time.monotonic() - began
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 30  # it takes three on an idle machine; retries as people have them would take half a minute
    # 978 quick, 10 slow and 5 sync jobs and a scheduled one run once; 5 run three times, and so does the one that dies.
    assert figures(done.stdout) == {
        "processed (runs, failed ones too)": (1012, 1012),
        "failed (runs)": (13, 13),
        "dead": (1, 1),
        "retry": (0, 0),
        "schedule": (0, 0),
        "queue critical": (0, 0),
        "queue default": (0, 0),
        "queue low": (0, 0),
        "backup queues of the worker": (0, 0),
    }
    assert "It adds up.  1,000 jobs: 999 done, 1 dead as it should be, none lost" in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in done.stdout
    assert re.search(r"^ +[\d.]+ s  processed \d+  waiting ", done.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worker", "count", "wrong"),
    [
        ("QuickJob", 1, {"processed (runs, failed ones too)": (62, 61)}),
        ("LaterJob", 1, {"processed (runs, failed ones too)": (62, 61)}),
        ("FlakyJob", 2, {"processed (runs, failed ones too)": (62, 56), "failed (runs)": (13, 9)}),
        ("DoomedJob", 1, {"processed (runs, failed ones too)": (62, 59), "failed (runs)": (13, 10), "dead": (1, 0)}),
    ],
)
def test_jobs_that_get_lost_are_named_and_the_status_is_1(
    worker: str, count: int, wrong: dict[str, tuple[int, int]], temporary: dict[str, str]
) -> None:
    script = LOSE.format(worker=worker, count=count)
    done = subprocess.run(
        [sys.executable, "-c", script, "demo", "--jobs", "50"],
        env=temporary, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert {name: pair for name, pair in figures(done.stdout).items() if pair[0] != pair[1]} == wrong
    lost = re.findall(r"^LOST (\w+)$", done.stdout, re.MULTILINE)
    named = re.findall(rf"^  not at its end: {worker} in \w+, jid=(\w+)$", done.stdout, re.MULTILINE)
    assert len(lost) == count
    assert sorted(named) == sorted(lost)
    assert "It does not add up." in done.stdout
    assert "It adds up" not in done.stdout


@pytest.mark.slow
def test_where_only_ascii_can_be_shown_it_shows_that(temporary: dict[str, str]) -> None:
    done = subprocess.run(
        [EXQ, "demo", "--jobs", "30"], env={**temporary, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"It adds up." in done.stdout


@pytest.mark.slow
def test_in_a_terminal_of_80_columns_it_shows_bars_and_then_the_tables(backend: str, temporary: dict[str, str]) -> None:
    shown, status = in_terminal([EXQ, "demo", "--backend", backend, "--jobs", "200"], temporary)
    assert status == 0
    assert "━" in shown
    assert re.search(r"critical.* waiting.* running", shown)
    assert "It adds up." in shown


def in_terminal(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """What *command* shows in a terminal of 80 columns, and its exit status."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command, env={**environment, "TERM": "xterm", "COLUMNS": "80"}, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    return shown.decode(), process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_clears_everything_away(backend: str, number: signal.Signals, temporary: dict[str, str]) -> None:
    command = [EXQ, "demo", "--backend", backend, "--jobs", "20000"]  # so that it is at work for some seconds
    with subprocess.Popen(command, env=temporary, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("processed" in line for line in process.stdout)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert "It adds up" not in out
    assert err.strip() == "exq: interrupted"
    assert process.returncode == 130


def test_fewer_jobs_than_there_are_kinds_is_a_wrong_usage(shell: Shell) -> None:
    done = shell.run("demo", "--jobs", "29")
    assert done.returncode == 2
    assert "29 is not in the range 30<=x<=1000000" in done.stderr
