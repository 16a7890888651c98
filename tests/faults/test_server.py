"""Whatever a server does, the node goes on with what it has, tries seldom, and works again as soon as it can."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
import valkey as server_client

import exq_anyio as exq
from benchmarks.chaos.proxy import Network, Proxy

from ..conftest import PrivateValkey
from .conftest import Client

DOWN = float(os.environ.get("EXQ_DOWN", "2.5"))
"""Seconds that the server is away where nothing else is said; 30 for the long run."""

AT_ONCE = 20
"""Jobs in progress at full speed."""

BACK_WITHIN = 10.0
"""Seconds from the end of the trouble to full speed, of which a busy machine takes most: attempts are a second apart.
If their pauses grew for ever, the next one would come after as long as the server was away."""

LENIENT, STRICT = 10.0, 1.5
"""Seconds after which a server that does not answer is away, where that is no part of the test, and where it is."""

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

Start = Callable[..., PrivateValkey]


@attrs.define
class Load:
    """Jobs of a twentieth of a second, more than can be done in the time of a test, and what became of them."""

    running: int = 0
    done: Counter[str] = attrs.field(factory=Counter)
    jids: list[str] = attrs.field(factory=list)

    @property
    def worker(self) -> object:
        @exq.worker(name="nap")
        async def nap() -> None:
            self.running += 1
            try:
                await anyio.sleep(0.05)
            finally:
                self.running -= 1
            self.done[exq.worker_job().jid] += 1

        return nap

    async def until_full_speed(self, seconds: float) -> None:
        """Return when as many jobs are in progress as may be, all of them new ones."""
        before = sum(self.done.values())
        with anyio.fail_after(seconds):
            while self.running < AT_ONCE or sum(self.done.values()) < before + AT_ONCE:
                await anyio.sleep(0.005)


@attrs.define
class Scene:
    server: PrivateValkey
    proxy: Proxy
    client: Client
    load: Load
    q: exq.Exq

    @property
    def outages(self) -> int:
        assert self.q._node is not None
        return self.q._node._store.outages()

    @property
    def attempts(self) -> int:
        """Connections that were tried; the thread of the heartbeat, which tries as often, has its own."""
        assert self.q._node is not None
        store: Any = self.q._node._store
        attempts: int = store._connections.attempts
        return attempts

    async def until_noticed(self) -> None:
        with anyio.fail_after(10):
            while not self.outages:
                await anyio.sleep(0.005)


@pytest.fixture
def start(private_valkey: Start) -> Start:
    return private_valkey


@asynccontextmanager
async def under_load(server: PrivateValkey, network: Network, patience: float = LENIENT) -> AsyncIterator[Scene]:
    """A node at full speed behind a proxy; at the end, every job must have been done once, and be counted once."""
    proxy, load = network.proxy(server.socket), Load()
    settings: dict[str, Any] = {
        "url": f"redis://127.0.0.1:{proxy.port}",
        "redis_options": {"timeout": LENIENT, "connect_timeout": LENIENT},
        "concurrency": AT_ONCE,
    }
    with server_client.Valkey(unix_socket_path=server.socket, decode_responses=True) as client:
        async with exq.open(settings, workers=[load.worker], mode="enqueuer") as q:
            jobs = [exq.JobSpec(worker="nap").on(jid=f"job-{number}") for number in range(int(AT_ONCE * 20 * 8))]
            load.jids = [str(jid) for jid in await q.enqueue_all(jobs)]
        settings["redis_options"] = {"timeout": patience, "connect_timeout": patience}
        async with exq.open(settings, workers=[load.worker]) as q:
            await load.until_full_speed(20)
            yield Scene(server, proxy, client, load, q)
            await q.unsubscribe_all()
            with anyio.fail_after(20):
                while load.running or await q_backup(client):
                    await anyio.sleep(0.01)
        counted = int(client.get("exq:stat:processed"))
        waiting = client.llen("exq:queue:default")
        assert set(load.done.values()) == {1}
        assert (counted, waiting) == (len(load.done), len(load.jids) - len(load.done))
        assert client.keys("exq:queue:backup*") == []
    proxy.refuse()


async def q_backup(client: Client) -> list[str]:
    found: list[str] = client.keys("exq:queue:backup*")
    return found


# Away


@pytest.mark.slow
async def test_a_server_that_is_killed_and_comes_back(start: Start, network: Network) -> None:
    async with under_load(start(*DURABLE), network) as scene:
        before = scene.proxy.accepted
        scene.server.kill()
        await anyio.sleep(DOWN)
        tried = scene.proxy.accepted - before
        in_progress = scene.load.running
        scene.server.start()
        await scene.load.until_full_speed(BACK_WITHIN)
    assert in_progress == 0, "what was in progress went on"
    assert 2 < tried < 100


@pytest.mark.slow
async def test_a_port_that_refuses(start: Start, network: Network) -> None:
    async with under_load(start(), network) as scene:
        before = scene.attempts
        scene.proxy.refuse()
        await anyio.sleep(DOWN)
        tried = scene.attempts - before
        scene.proxy.accept()
        await scene.load.until_full_speed(BACK_WITHIN)
    assert 2 < tried < 50


@pytest.mark.slow
@pytest.mark.parametrize("then", ["goes on", "resets"])
async def test_a_network_that_swallows_everything(start: Start, network: Network, then: str) -> None:
    async with under_load(start(), network, STRICT) as scene:
        scene.proxy.swallow()
        await scene.until_noticed()
        await anyio.sleep(DOWN)
        if then == "resets":
            scene.proxy.cut()
        scene.proxy.release()
        await scene.load.until_full_speed(BACK_WITHIN)


@pytest.mark.slow
async def test_a_server_that_hangs(start: Start, network: Network) -> None:
    async with under_load(start(), network, STRICT) as scene:
        os.kill(scene.server.pid, signal.SIGSTOP)
        await scene.until_noticed()
        await anyio.sleep(DOWN)
        os.kill(scene.server.pid, signal.SIGCONT)
        await scene.load.until_full_speed(BACK_WITHIN)


async def test_connections_that_break_again_and_again_in_the_midst_of_a_message(start: Start, network: Network) -> None:
    async with under_load(start(), network) as scene:
        for count in (1, 17, 100, 1_000, 3_333, 10_000):
            scene.proxy.cut_after(count)
            before = scene.proxy.accepted
            with anyio.fail_after(10):
                while scene.proxy.accepted == before:
                    await anyio.sleep(0.005)
            await scene.load.until_full_speed(BACK_WITHIN)


@pytest.mark.parametrize(("delay", "drip"), [(0.2, 65_536), (0.001, 64)], ids=["late", "by the drop"])
async def test_a_network_that_is_slow_is_no_outage(start: Start, network: Network, delay: float, drip: int) -> None:
    async with under_load(start(), network) as scene:
        scene.proxy.delay, scene.proxy.drip = delay, drip
        before = sum(scene.load.done.values())
        with anyio.fail_after(20):
            while sum(scene.load.done.values()) < before + 2 * AT_ONCE:
                await anyio.sleep(0.005)
        scene.proxy.heal()
        await scene.load.until_full_speed(BACK_WITHIN)
        assert scene.outages == 0


# There, but not for us


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """As after a failover that made it a replica."""
    scene.client.replicaof("127.0.0.1", "1")
    yield
    scene.client.replicaof("NO", "ONE")


@contextmanager
def busy(scene: Scene) -> Iterator[None]:
    """A script of somebody else runs and runs."""
    scene.client.config_set("busy-reply-threshold", 50)

    def run() -> None:
        with (
            server_client.Valkey(unix_socket_path=scene.server.socket) as other,
            pytest.raises(Exception, match="kill"),
        ):
            other.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        scene.client.script_kill()
        thread.join()


@contextmanager
def too_many_clients(scene: Scene) -> Iterator[None]:
    scene.client.ping()
    scene.client.config_set("maxclients", 1)
    scene.proxy.cut()
    yield
    scene.client.config_set("maxclients", 1000)


@contextmanager
def cannot_save(scene: Scene) -> Iterator[None]:
    """A disk that takes nothing (MISCONF)."""
    lost = Path(scene.server.directory, "lost")
    lost.mkdir()
    scene.client.config_set("dir", str(lost))
    shutil.rmtree(lost)
    scene.client.config_set("save", "3600 1")
    _save(scene.client, "err")
    yield
    scene.client.config_set("dir", scene.server.directory)
    _save(scene.client, "ok")


def _save(client: Client, wanted: str) -> None:
    client.bgsave()
    deadline = time.monotonic() + 10
    while client.info("persistence")["rdb_last_bgsave_status"] != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def no_replicas(scene: Scene) -> Iterator[None]:
    """It takes writes only with a replica (NOREPLICAS)."""
    scene.client.config_set("min-replicas-to-write", 1)
    yield
    scene.client.config_set("min-replicas-to-write", 0)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [read_only, busy, too_many_clients, cannot_save, no_replicas])
async def test_a_server_that_cannot_serve_now(
    start: Start, network: Network, trouble: Callable[[Scene], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with under_load(start("--enable-protected-configs", "yes"), network, STRICT) as scene:
        with trouble(scene):
            await scene.until_noticed()
            before = scene.proxy.accepted
            await anyio.sleep(1)
            assert scene.proxy.accepted - before < 30
            with pytest.raises(exq.RedisUnavailable) as refused:
                await scene.q.enqueue("other", "nap")
            assert not refused.value.maybe_done
        await scene.load.until_full_speed(BACK_WITHIN)
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.slow
async def test_a_server_that_is_still_loading(start: Start, network: Network) -> None:
    server = start(*DURABLE)
    with server_client.Valkey(unix_socket_path=server.socket) as client, client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.set(f"other:{number}", number)
        pipe.execute()
    async with under_load(server, network) as scene:
        scene.server.kill()
        server.args = (*DURABLE, "--key-load-delay", "100")
        await anyio.to_thread.run_sync(scene.server.start)  # returns when all is loaded
        await scene.load.until_full_speed(BACK_WITHIN)
        assert scene.outages == 1  # it answers to ROLE while it loads, and is not taken for back


async def test_a_server_that_forgets_all_scripts(start: Start, network: Network) -> None:
    async with under_load(start(), network) as scene:
        for _ in range(20):
            scene.client.script_flush()
            await scene.load.until_full_speed(BACK_WITHIN)
        assert scene.outages == 0


async def test_a_full_server_takes_no_jobs_and_is_worked_off(start: Start, network: Network) -> None:
    async with under_load(start(), network) as scene:
        scene.client.config_set("maxmemory", 1)
        with pytest.raises(exq.RedisFull):
            await scene.q.enqueue("default", "nap")
        for _ in range(3):
            await scene.load.until_full_speed(BACK_WITHIN)
        assert scene.outages == 0


@pytest.mark.parametrize("how", ["says nothing", "refuses"])
async def test_an_instance_that_ends_while_it_connects_anew_logs_no_error_of_anybody(
    start: Start, network: Network, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = network.proxy(start().socket)
    settings: dict[str, Any] = {
        "url": f"redis://127.0.0.1:{proxy.port}",
        "redis_options": {"timeout": STRICT, "connect_timeout": STRICT},
        "heartbeat_interval": 0.05,
        "missed_heartbeats_allowed": 1000,
        "shutdown_timeout": 0.1,
    }
    async with exq.open(settings, queues=["q"]) as q:
        assert q._node is not None
        with anyio.fail_after(10):
            while not q._node._pulse.round_trip:
                await anyio.sleep(0.005)
        accepted = proxy.accepted
        if how == "says nothing":
            proxy.swallow()
        proxy.cut()
        if how == "refuses":
            proxy.refuse()
        else:
            with anyio.fail_after(10):
                while proxy.accepted < accepted + 2:  # both try, the node and the thread of its heartbeat
                    await anyio.sleep(0.005)
    proxy.refuse()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
