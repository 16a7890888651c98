"""Those to whom it happens: the server, the worker processes and the producers, and how each is started again."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import valkey

from exq_anyio.redis.embedded import ServerProcess, start_server

from ..server import free_port
from .ledger import Ledger
from .proxy import Network, Proxy

HOSTS = ("ash", "ash", "birch", "cedar")
"""The host that each worker says it is on: two of them can see that the other's process has ended."""

PRODUCERS = 2

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
"""What the server answers to is on disk."""

PATIENCE = 20.0
"""Seconds within which a process ends that was told to."""


@attrs.define
class Node:
    """A Valkey, on a socket for us and on a port for the other one."""

    directory: str
    port: int
    process: ServerProcess


class Server:
    """The Valkey behind the proxies, and a replica that follows it, which may take its place."""

    def __init__(self, directory: Path) -> None:
        first = self._node(directory / "first")
        self._nodes = [first, self._node(directory / "second", first.port)]

    @property
    def socket(self) -> str:
        """Path of the socket of the one that is the primary."""
        return self._nodes[0].process.socket

    def kill(self) -> None:
        """As a crash does, to the primary."""
        self._nodes[0].process.kill()

    def start(self) -> None:
        """Come back with what is on disk."""
        primary = self._nodes[0]
        primary.process = start_server(primary.directory, args=(*DURABLE, "--port", str(primary.port)))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the primary."""
        subprocess.run(["/bin/kill", f"-{number.name[3:]}", str(self._nodes[0].process.pid)], check=True)

    def fail_over(self) -> bool:
        """Have the replica take the place of the primary, with all that it has; false when it was not ready for that.

        The old primary follows it then, and refuses to write for whoever is still connected.
        """
        primary, replica = self._nodes
        with valkey.Valkey(unix_socket_path=replica.process.socket, decode_responses=True) as follower:
            following: Any = follower
            if not _within(10, lambda: following.info("replication")["master_link_status"] == "up"):
                return False
            with valkey.Valkey(unix_socket_path=primary.process.socket, decode_responses=True) as client:
                client.execute_command("FAILOVER")
            if not _within(10, lambda: following.info("replication")["role"] == "master"):
                raise RuntimeError("the replica does not take over")
        self._nodes = [replica, primary]
        return True

    def end(self) -> None:
        """Leave neither of them."""
        for node in self._nodes:
            node.process.kill()

    def _node(self, directory: Path, follows: int = 0) -> Node:
        directory.mkdir(parents=True)
        port = free_port()
        more = ("--replicaof", "127.0.0.1", str(follows)) if follows else ()
        args = (*DURABLE, "--port", str(port), *more)
        return Node(str(directory), port, start_server(str(directory), args=args))


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether *condition* holds within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Worker:
    """A place for one worker process after the other, which all go through one proxy."""

    def __init__(self, number: int, directory: Path, backend: str, proxy: Proxy, told: Ledger) -> None:
        self.name = f"w{number}"
        self.proxy = proxy
        self._host = HOSTS[number]
        self._directory = directory
        self._backend = backend
        self._told = told
        self._lives = 0
        self._process: subprocess.Popen[bytes]
        self._ledger = ""
        self._expected: set[int] = set()
        self.ended_badly: list[str] = []
        """What no worker should have done."""
        self.refused_starts = 0
        """Starts that found no Redis."""
        self.lock = threading.Lock()
        """Held by the fault that it has."""
        self.start()

    def start(self) -> None:
        """Start the next process."""
        self._lives += 1
        self._ledger = f"{self.name}-{self._lives}"
        command = [sys.executable, "-m", "benchmarks.chaos.worker", "--url", f"redis://127.0.0.1:{self.proxy.port}"]
        command += ["--ledger", str(self._directory / self._ledger), "--host", self._host, "--backend", self._backend]
        with (self._directory / f"{self._ledger}.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """As a crash does."""
        self._process.kill()
        self._process.wait()
        self._told.write("killed", self._ledger)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)
        self._told.write(number.name, self._ledger)

    def end(self) -> float:
        """Stop it as an operator does; the seconds that it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.ended_badly.append(f"{self._ledger} did not end {PATIENCE:g} s after SIGTERM")
            self.kill()
            status = 0
        if status not in (0, -signal.SIGTERM, 3):
            self.ended_badly.append(f"{self._ledger} ended with status {status} after SIGTERM")
        self._told.write("ended", self._ledger)
        return time.monotonic() - started

    def revive(self) -> None:
        """Start a process in place of one that ended by itself: it may have, if it found no Redis at its start."""
        status = self._process.poll()
        if status is None:
            return
        if status == 3:
            self.refused_starts += 1
        else:
            self.ended_badly.append(f"{self._ledger} ended by itself with status {status}")
        self.start()


class Cast:
    """All of them."""

    def __init__(self, directory: Path, network: Network, backend: str, seed: str, rate: float) -> None:
        self.directory = directory
        self.told = Ledger(directory / "faults")
        self.server = Server(directory / "server")
        self.entrance = network.proxy(self.server.socket)
        """The proxy of the producers."""
        self.common = threading.Lock()
        """Held by the fault that everybody feels."""
        self.workers = [
            Worker(number, directory, backend, network.proxy(self.server.socket), self.told)
            for number in range(len(HOSTS))
        ]
        self._producers = [self._producer(number, backend, seed, rate) for number in range(PRODUCERS)]

    @property
    def proxies(self) -> list[Proxy]:
        """Every way to the server."""
        return [self.entrance, *(worker.proxy for worker in self.workers)]

    def stop_producers(self) -> list[str]:
        """Have no more jobs made; what went wrong."""
        for producer in self._producers:
            producer.terminate()
        return [f"producer ended with status {status}" for p in self._producers if (status := p.wait(PATIENCE)) != 0]

    def kill(self) -> None:
        """Leave no process behind."""
        for process in [*self._producers, *(worker._process for worker in self.workers)]:
            process.kill()
            process.wait()
        self.server.end()

    def _producer(self, number: int, backend: str, seed: str, rate: float) -> subprocess.Popen[bytes]:
        name = f"p{number}"
        command = [
            sys.executable,
            "-m",
            "benchmarks.chaos.producer",
            "--url",
            f"redis://127.0.0.1:{self.entrance.port}",
        ]
        command += ["--ledger", str(self.directory / name), "--name", name, "--seed", f"{seed}-{name}"]
        command += ["--backend", backend, "--rate", str(rate / PRODUCERS)]
        with (self.directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
