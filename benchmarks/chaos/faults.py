"""What is done to them, drawn from a seed: each kind of fault as often as any other."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import valkey

from .cast import Cast, Worker
from .proxy import CHUNK, Proxy
from .worker import GRACE, HEARTBEAT

LIMIT = HEARTBEAT * 6
"""Seconds of silence after which the others take a worker for dead."""

LONGEST_STOP = GRACE + 5
"""Seconds from SIGTERM to the end: two more than the grace, and three for a machine that has this much to do."""

PAUSE = 1.5
"""Seconds between two faults, on average; several may be under way at a time."""

CALM = 3.0
"""Seconds after a fault that everybody feels until the next one of that kind: else nothing would ever run."""


class Faults:
    """Makes one fault after the other."""

    def __init__(self, cast: Cast, rng: random.Random) -> None:
        self._cast = cast
        self._rng = rng
        self._bag: list[str] = []
        self._under_way: list[Future[None]] = []
        self._end = 0.0
        self.made: Counter[str] = Counter()
        """How often each fault was made."""
        self.stop_times: list[float] = []
        """Seconds that workers took to end after SIGTERM."""
        self.late: list[float] = []
        """Those that are too long for what the machine had to do meanwhile."""

    def make(self, seconds: float) -> None:
        """Make faults for *seconds*, and return when the last one is over."""
        self._end = time.monotonic() + seconds
        with ThreadPoolExecutor(16) as threads:
            while not self._over:
                next_at = time.monotonic() + self._rng.expovariate(1 / PAUSE)
                while time.monotonic() < next_at:
                    time.sleep(0.1)
                    self._revive()
                kind = self._draw()
                self._under_way.append(threads.submit(self._one, kind, random.Random(self._rng.random())))
        for fault in self._under_way:
            fault.result()

    @property
    def _over(self) -> bool:
        """Whether no fault is to begin any more, not even one that had to wait for another to end."""
        return time.monotonic() > self._end

    def _revive(self) -> None:
        for worker in self._cast.workers:
            if worker.lock.acquire(blocking=False):
                worker.revive()
                worker.lock.release()

    def _draw(self) -> str:
        if not self._bag:
            self._bag = sorted(self._kinds())
            self._rng.shuffle(self._bag)
        return self._bag.pop()

    def _kinds(self) -> dict[str, Callable[[random.Random], bool]]:
        return {
            "worker: kill -9": partial(self._worker, self._kill),
            "worker: frozen": partial(self._worker, self._freeze),
            "worker: frozen past its limit": partial(self._worker, self._freeze_long),
            "worker: SIGTERM": partial(self._worker, self._terminate),
            "worker: SIGTERM, kill -9 meanwhile": partial(self._worker, self._terminate_and_kill),
            "worker: cut off past its limit": partial(self._worker, self._cut_off),
            "network: cut": partial(self._network, self._cut),
            "network: cut at any byte": partial(self._network, self._cut_inside),
            "network: slow": partial(self._network, self._slow),
            "network: drops everything": partial(self._network, self._swallow),
            "network: refuses": partial(self._network, self._refuse),
            "server: kill -9": partial(self._server, self._server_kill),
            "server: frozen": partial(self._server, self._server_freeze),
            "server: SCRIPT FLUSH": partial(self._server, self._flush),
            "server: failover": self._failover,
        }

    def _one(self, kind: str, rng: random.Random) -> None:
        if self._kinds()[kind](rng):
            self.made[kind] += 1

    # -- workers

    def _worker(self, fault: Callable[[Worker, random.Random], None], rng: random.Random) -> bool:
        worker = rng.choice(self._cast.workers)
        with worker.lock:
            if self._over:
                return False
            worker.revive()
            fault(worker, rng)
        return True

    def _kill(self, worker: Worker, rng: random.Random) -> None:
        worker.kill()
        time.sleep(rng.choice([0, rng.uniform(0, 6)]))
        worker.start()

    def _freeze(self, worker: Worker, rng: random.Random, seconds: float | None = None) -> None:
        worker.signal(signal.SIGSTOP)
        time.sleep(seconds or rng.uniform(0.1, LIMIT / 2))
        worker.signal(signal.SIGCONT)

    def _freeze_long(self, worker: Worker, rng: random.Random) -> None:
        self._freeze(worker, rng, LIMIT + rng.uniform(0.5, 3))

    def _terminate(self, worker: Worker, rng: random.Random) -> None:
        self.stop(worker)
        time.sleep(rng.choice([0, rng.uniform(0, 2)]))
        worker.start()

    def stop(self, worker: Worker) -> None:
        """Stop *worker*, and note how long that took."""
        took = worker.end()
        self.stop_times.append(took)
        # Where each process gets a part of a core, everything takes as many times as long.
        if took > LONGEST_STOP * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            self.late.append(took)

    def _terminate_and_kill(self, worker: Worker, rng: random.Random) -> None:
        worker.signal(signal.SIGTERM)
        time.sleep(rng.uniform(0, 1.5))
        worker.kill()
        worker.start()

    def _cut_off(self, worker: Worker, rng: random.Random) -> None:
        worker.proxy.swallow()
        time.sleep(LIMIT + rng.uniform(0.5, 4))
        if rng.random() < 0.5:
            worker.proxy.cut()
        worker.proxy.release()

    # -- the network

    def _network(self, fault: Callable[[list[Proxy], random.Random], None], rng: random.Random) -> bool:
        """Make *fault* on the way of one of them, or of all."""
        if rng.random() < 0.6:
            fault([rng.choice(self._cast.proxies)], rng)
            return True
        with self._cast.common:
            if self._over:
                return False
            fault(self._cast.proxies, rng)
            time.sleep(CALM)
        return True

    def _cut(self, proxies: list[Proxy], rng: random.Random) -> None:
        for proxy in proxies:
            proxy.cut()

    def _cut_inside(self, proxies: list[Proxy], rng: random.Random) -> None:
        for proxy in proxies:
            proxy.cut_after(rng.randrange(20_000))

    def _slow(self, proxies: list[Proxy], rng: random.Random) -> None:
        for proxy in proxies:
            proxy.delay, proxy.drip = rng.choice([(rng.uniform(0.01, 0.4), CHUNK), (0.001, 64)])
        time.sleep(rng.uniform(0.5, 3))
        for proxy in proxies:
            proxy.delay, proxy.drip = 0.0, CHUNK

    def _swallow(self, proxies: list[Proxy], rng: random.Random) -> None:
        for proxy in proxies:
            proxy.swallow()
        time.sleep(rng.uniform(0.1, 3.5))
        for proxy in proxies:
            if rng.random() < 0.5:
                proxy.cut()
            proxy.release()

    def _refuse(self, proxies: list[Proxy], rng: random.Random) -> None:
        for proxy in proxies:
            proxy.refuse()
        time.sleep(rng.uniform(0.1, 3.5))
        for proxy in proxies:
            proxy.accept()

    # -- the server

    def _server(self, fault: Callable[[random.Random], None], rng: random.Random) -> bool:
        with self._cast.common:
            if self._over:
                return False
            fault(rng)
            time.sleep(CALM)
        return True

    def _failover(self, rng: random.Random) -> bool:
        with self._cast.common:
            if self._over or not self._cast.server.fail_over():
                return False
            time.sleep(rng.choice([0, rng.uniform(0, 2)]))  # until they are told, they meet one that writes nothing
            for proxy in self._cast.proxies:
                proxy.lead_to(self._cast.server.socket)
            time.sleep(CALM)
        return True

    def _server_kill(self, rng: random.Random) -> None:
        self._cast.server.kill()
        time.sleep(rng.choice([0, rng.uniform(0, 3)]))
        self._cast.server.start()

    def _server_freeze(self, rng: random.Random) -> None:
        self._cast.server.signal(signal.SIGSTOP)
        time.sleep(rng.uniform(0.1, 5))
        self._cast.server.signal(signal.SIGCONT)

    def _flush(self, rng: random.Random) -> None:
        with valkey.Valkey(unix_socket_path=self._cast.server.socket) as client:
            client.script_flush()
            if rng.random() < 0.5:
                client.client_kill_filter(_type="normal", skipme=True)
