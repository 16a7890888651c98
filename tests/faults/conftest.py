"""Worker processes that can be killed, frozen and stopped, and a network between them and the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
import valkey as server_client

from benchmarks.chaos.ledger import Entry, read
from benchmarks.chaos.proxy import Network
from exq_anyio.job import encode
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import but_counters

ROOT = Path(__file__).parent.parent.parent

PATIENCE = 30.0
"""Seconds after which something that should happen soon has not happened."""

Client: TypeAlias = Any
"""A synchronous client of the server; its own types are those of the asynchronous one as well."""


def until(condition: Callable[[], object], what: str) -> float:
    """The monotonic time at which *condition* held."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.005)
    return time.monotonic()


@attrs.define
class Process:
    """An ``exq run`` that is up or coming up."""

    popen: subprocess.Popen[bytes]
    stderr: Path

    def log(self) -> str:
        return self.stderr.read_text()

    def lines(self, start: str) -> list[str]:
        """What was logged that begins so."""
        return [line.partition("exq_anyio: ")[2] for line in self.log().splitlines() if f"exq_anyio: {start}" in line]

    def until_up(self) -> float:
        at = until(lambda: self.lines("node is up") or self.popen.poll() is not None, "node is up")
        assert self.popen.poll() is None, self.log()
        return at

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> float:
        """SIGTERM; the seconds until its last word. Then only Python's own end is left, and it has ended well."""
        began = datetime.now()
        self.signal(signal.SIGTERM)
        assert self.popen.wait(PATIENCE) == 0, self.log()
        assert "Traceback" not in self.log()
        last = self.log().splitlines()[-1]
        assert last.endswith(("exq_anyio: stopped", "exq_anyio: leaving what does not end in time"))
        return (datetime.fromisoformat(last[:23]) - began).total_seconds()


@attrs.define
class Crew:
    """The processes of one test, their common ledger, and what is in Redis."""

    directory: Path
    backend: str
    url: str
    namespace: str
    client: Client
    processes: list[Process] = attrs.field(factory=list)

    def start(self, *options: str, wait: bool = True, **settings: object) -> Process:
        """A worker process with *settings*; it is up when this returns, unless *wait* is false."""
        stderr = self.directory / f"stderr-{len(self.processes)}"
        patient = {"redis_options": '{"connect_timeout": 10}'}  # a busy server may be slow
        given = {"url": self.url, "namespace": self.namespace, **patient, **settings}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
        ours = {f"EXQ_{name.upper()}": str(value) for name, value in given.items()}
        with stderr.open("wb") as file:
            popen = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "exq_anyio.cli",
                    "run",
                    "tests.faults.jobs",
                    "--backend",
                    self.backend,
                    *options,
                ],
                cwd=ROOT,
                env={**inherited, **ours, "LEDGER": str(self.ledger)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        process = Process(popen, stderr)
        self.processes.append(process)
        if wait:
            process.until_up()
        return process

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def release(self) -> None:
        """Let all that `hold` end, now and later."""
        self.ledger.with_name("ledger.released").touch()

    def push(self, worker: str, *jobs: Sequence[object], queue: str = "default") -> None:
        """Put jobs in, the first argument of each being its name and its jid."""
        payloads = [
            encode({"class": worker, "args": list(job), "jid": job[0], "queue": queue, "retry": True})  # type: ignore[arg-type,dict-item]  # JSON of mixed values
            for job in jobs
        ]
        self.client.sadd(f"{self.namespace}:queues", queue)
        self.client.lpush(f"{self.namespace}:queue:{queue}", *payloads)

    def entries(self, event: str) -> list[Entry]:
        """What the jobs wrote down."""
        return [entry for entry in (read(self.ledger) if self.ledger.exists() else ()) if entry.event == event]

    def counted(self, event: str) -> Counter[str]:
        """How often each job wrote *event*."""
        return Counter(entry.words[0] for entry in self.entries(event))

    def count(self, name: str) -> int:
        """A counter, 0 when it is not there."""
        return int(self.client.get(f"{self.namespace}:stat:{name}") or 0)

    def keys(self) -> set[str]:
        """Every key, without its prefix, and without the counters by time and worker."""
        prefix = f"{self.namespace}:"
        keys = {key.removeprefix(prefix) for key in self.client.scan_iter(f"{prefix}*")}
        return but_counters(keys) | {key for key in keys if key in ("stat:processed", "stat:failed")}


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def crew(tmp_path: Path, backend: str, valkey: EmbeddedServer, namespace: str) -> Iterator[Crew]:
    with server_client.Valkey(unix_socket_path=valkey.socket, decode_responses=True) as client:
        crew = Crew(tmp_path, backend, valkey.url, namespace, client)
        try:
            yield crew
        finally:
            for process in crew.processes:
                process.popen.send_signal(signal.SIGCONT)
                process.kill()


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as network:
        yield network
