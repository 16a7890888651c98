"""Several processes under one, which replaces, restarts and ends them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from .conftest import EXQ, PATIENCE, Client, Shell, Worker, until

Supervise = Callable[..., "Supervised"]


@attrs.define
class Supervised(Worker):
    """An ``exq run --processes`` that is up or coming up."""

    def pids(self) -> set[int]:
        """The processes below."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return set(map(int, found))

    def until_said(self, text: str, times: int = 1) -> None:
        until(lambda: self.log().count(text) >= times, f"{times} times {text!r} in {self.log()}")


@pytest.fixture
def supervise(shell: Shell, backend: str) -> Iterator[Supervise]:
    """Start ``exq run jobs --processes 2`` with more options, and return when it is up."""
    running: list[Supervised] = []

    def start(*options: str, count: int = 2, env: Mapping[str, str] = {}, wait: bool = True) -> Supervised:
        stderr = shell.path(f"stderr-{len(running)}")
        with stderr.open("wb") as file:
            process = subprocess.Popen(
                [EXQ, "run", "jobs", "--backend", backend, "--processes", str(count), *options],
                cwd=shell.directory,
                env={**shell.environment, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        running.append(supervised := Supervised(process, stderr))
        if wait:
            supervised.until_up(count)
        return supervised

    yield start
    for supervised in running:
        pids = supervised.pids() if supervised.process.poll() is None else set()
        supervised.process.kill()
        supervised.process.wait()
        for pid in pids:
            with suppress(ProcessLookupError):  # it ends by itself when the one above is gone
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def backend() -> str:
    """The one above is the same for both: what is below is tested on both in `test_run`."""
    return "asyncio"


def enqueue(client: Client, namespace: str, worker: str, *args: object, times: int = 1) -> None:
    for _ in range(times):
        job = {"class": worker, "args": args, "jid": os.urandom(12).hex(), "retry": True, "queue": "default"}
        client.lpush(f"{namespace}:queue:default", json.dumps(job))
    client.sadd(f"{namespace}:queues", "default")


def processed(client: Client, namespace: str) -> int:
    return int(client.get(f"{namespace}:stat:processed") or 0)


def test_they_work_and_all_end_with_status_0(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise()
    assert len(above.pids()) == 2
    enqueue(client, namespace, "nap", 0, str(shell.path("a")), times=20)
    until(lambda: processed(client, namespace) == 20, "all are done")
    above.signal(signal.SIGTERM)
    assert above.ends() == 0
    assert client.scard(f"{namespace}:leases") == client.scard(f"{namespace}:processes") == 0
    assert set(re.findall(r"\[(\d)\] exq_anyio: node is up", above.log())) == {"1", "2"}


def test_one_that_is_killed_is_started_again_and_its_job_is_done(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise(count=1)
    (pid,) = above.pids()
    enqueue(client, namespace, "hold", str(shell.path("a")))
    until(shell.path("a").exists, "the job has begun")
    os.kill(pid, signal.SIGKILL)
    shell.release("a")
    until(shell.path("a.done").exists, "the job is done by the next one")
    assert above.pids() & {pid} == set()
    assert f"died, started again: process=1 pid={pid} status=-9" in above.log()


def test_a_rolling_restart_leaves_no_moment_without_a_worker(
    supervise: Supervise, client: Client, namespace: str
) -> None:
    above = supervise()
    before = above.pids()
    above.signal(signal.SIGHUP)
    fewest = 99
    while above.log().count("ended:") < 2:
        fewest = min(fewest, client.scard(f"{namespace}:leases"))
        time.sleep(0.005)
    assert fewest == 2
    assert len(above.pids()) == 2
    assert above.pids() & before == set()


def test_new_code_that_does_not_start_leaves_the_old_at_work(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise()
    before = above.pids()
    shell.path("jobs.py").write_text("1 / 0\n")
    above.signal(signal.SIGHUP)
    above.until_said("the new one does not start, the old ones go on: process=1")
    assert above.pids() == before
    enqueue(client, namespace, "nap", 0, str(shell.path("a")))
    until(shell.path("a.done").exists, "the job is done")


def test_one_that_has_done_enough_is_replaced(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise("--max-jobs", "5", count=1)
    before = above.pids()
    enqueue(client, namespace, "nap", 0, str(shell.path("a")), times=7)
    above.until_said("ended:")
    assert "has done enough, to be replaced: process=1" in above.log()
    assert above.pids() & before == set()
    until(lambda: processed(client, namespace) == 7, "all are done, some perhaps by the next one")


def test_one_that_is_too_large_is_replaced(supervise: Supervise) -> None:
    above = supervise("--max-rss", "1", count=1)
    above.until_said("too large, to be replaced: process=1")
    above.until_said("ended:", 2)
    above.signal(signal.SIGTERM)
    assert above.ends() == 0


def test_a_first_int_waits_for_the_jobs_and_a_second_does_not(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise("--shutdown-timeout", "3600", count=1)
    enqueue(client, namespace, "nap", 3600, str(shell.path("a")))
    until(shell.path("a").exists, "the job has begun")
    above.signal(signal.SIGINT)
    above.until_said("node is stopping")
    with pytest.raises(subprocess.TimeoutExpired):
        above.process.wait(0.3)
    above.signal(signal.SIGINT)
    assert above.ends() == 0
    assert client.llen(f"{namespace}:queue:default") == 1


def test_signals_that_systemd_sends_to_all_of_them_count_once(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise("--shutdown-timeout", "60", count=1)
    enqueue(client, namespace, "hold", str(shell.path("a")))
    until(shell.path("a").exists, "the job has begun")
    (below,) = above.pids()
    above.signal(signal.SIGTERM)
    above.until_said("node is stopping")
    os.kill(below, signal.SIGTERM)
    shell.release("a")
    assert above.ends() == 0
    assert shell.path("a.done").exists()


def test_when_the_one_above_is_killed_the_others_end_and_lose_nothing(
    supervise: Supervise, shell: Shell, client: Client, namespace: str
) -> None:
    above = supervise("--shutdown-timeout", "0.2")
    enqueue(client, namespace, "nap", 3600, str(shell.path("a")))
    until(shell.path("a").exists, "the job has begun")
    above.process.kill()
    until(lambda: client.scard(f"{namespace}:leases") == 0, "both have left")
    assert client.llen(f"{namespace}:queue:default") == 1


def test_after_tstp_no_job_is_taken(supervise: Supervise, shell: Shell, client: Client, namespace: str) -> None:
    above = supervise()
    above.signal(signal.SIGTSTP)
    above.until_said("node is quiet", 2)
    enqueue(client, namespace, "nap", 0, str(shell.path("a")))
    above.signal(signal.SIGTERM)
    assert above.ends() == 0
    assert not shell.path("a").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["no_such_module"], 1, "exq: imports: cannot import 'no_such_module'"),
        (["empty"], 2, "there are no workers"),
        (["jobs", "--redis-url", "unix:///no/such.sock"], 1, "exq: Redis at unix:///no/such.sock"),
    ],
)
def test_what_cannot_start_is_not_tried_for_ever(shell: Shell, arguments: list[str], status: int, says: str) -> None:
    shell.path("empty.py").write_text("")
    done = shell.run("run", *arguments, "--processes", "2")
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_dead_of_others_are_taken_up(shell: Shell, client: Client, namespace: str) -> None:
    # As the first process of a container does; here PR_SET_CHILD_SUBREAPER (36) makes orphans its own.
    run = [EXQ, "run", "jobs", "--processes", "1"]
    code = f"import ctypes, os; ctypes.CDLL(None).prctl(36, 1); os.execv({EXQ!r}, {run!r})"
    with shell.path("stderr").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=shell.directory, env=shell.environment, stderr=file
        )
    above = Supervised(process, shell.path("stderr"))
    try:
        above.until_up()
        enqueue(client, namespace, "spawn", str(shell.path("a")))
        until(shell.path("a").exists, "the orphan has ended")
        until(lambda: len(above.pids()) == 1, "no zombie is left")
    finally:
        above.signal(signal.SIGTERM)
        assert above.ends() == 0


def test_systemd_is_told(supervise: Supervise, shell: Shell) -> None:
    path = str(shell.path("notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        above = supervise(count=1, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})

        def told() -> str:
            while (text := manager.recv(500).decode()) == "WATCHDOG=1":
                alive.append(text)
            return text

        alive: list[str] = []
        assert told() == "READY=1"
        above.signal(signal.SIGHUP)
        assert told().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert told() == "READY=1"
        above.signal(signal.SIGTERM)
        assert told() == "STOPPING=1"
        assert above.ends() == 0
        assert alive


def test_a_changed_file_is_seen(supervise: Supervise, shell: Shell) -> None:
    pytest.importorskip("watchfiles", reason="watchfiles is not installed")
    above = supervise("--reload", count=1)
    before = above.pids()
    until(lambda: watches(above.process.pid, shell.directory), "the system tells it of changes")
    shell.path("jobs.py").touch()
    above.until_said("ended:")
    assert above.pids() & before == set()


def watches(pid: int, directory: Path) -> bool:
    """Whether a process has an inotify watch on *directory*: the watcher itself does not say when it is up."""
    inode = f" ino:{directory.stat().st_ino:x} "
    return any(inode in text for text in _descriptors(pid))


def _descriptors(pid: int) -> Iterator[str]:
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield info.read_text()
