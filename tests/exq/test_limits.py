"""Limits that all nodes share, at work: never exceeded, fully used, and free again when a node is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.node.limited import Limited

from .scene import PATIENT, Scene, until

PROGRAM = """
import sys, time
import anyio
import exq_anyio as exq
import valkey

redis = valkey.Valkey.from_url(sys.argv[1])
note = sys.argv[2] + ":note"

@exq.worker
async def work(seconds: float) -> None:
    # The server's own order and time: nobody's clock matters.
    redis.xadd(note, {"what": "begin", "pid": sys.argv[3]})
    await anyio.sleep(seconds)
    redis.xadd(note, {"what": "end", "pid": sys.argv[3]})

limits = eval(sys.argv[4], {"exq": exq})
# One that is killed is soon missed on its own host; one that the machine holds up is not taken for dead.
anyio.run(lambda: exq.serve(url=sys.argv[1], namespace=sys.argv[2], queues={"default": limits},
                            redis_options={"connect_timeout": 30, "timeout": 60},
                            heartbeat_interval=0.2, missed_heartbeats_allowed=100), backend=sys.argv[5])
"""


@pytest.fixture
def nodes(scene: Scene, tmp_path: Path, anyio_backend: str) -> Iterator[Any]:
    """Start processes that work under a limit."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
    with ExitStack() as stack:

        def start(limit: str, count: int) -> list[subprocess.Popen[bytes]]:
            started = []
            for number in range(count):
                command = [sys.executable, str(tmp_path / "program.py"), scene.url, scene.namespace, str(number)]
                process = subprocess.Popen([*command, limit, anyio_backend], env=environ, stderr=subprocess.DEVNULL)
                stack.callback(process.wait)
                stack.callback(process.kill)
                started.append(process)
            return started

        yield start


async def noted(scene: Scene) -> list[tuple[float, str, str]]:
    """Time (unix seconds of the server), what happened, and in which process."""
    found: Any = await scene.redis.xrange(scene.key("note"))
    notes = [(entry.identifier.partition(b"-")[0], entry.field_values) for entry in found]
    return [(int(at) / 1000, fields[b"what"].decode(), fields[b"pid"].decode()) for at, fields in notes]


async def ended(scene: Scene, count: int) -> bool:
    return len([what for _, what, _ in await noted(scene) if what == "end"]) >= count


@pytest.mark.slow
@pytest.mark.long
async def test_a_limit_of_the_fleet_is_kept_and_used_by_four_processes_one_of_which_is_killed(
    scene: Scene, nodes: Any
) -> None:
    limit, jobs, more = 5, 200, 150
    job = exq.JobSpec(worker="work", args=(0.1,))
    async with scene.enqueuer() as q:
        await q.enqueue_all([job] * jobs)
        processes = nodes(f"exq.Limit(fleet={limit})", 4)
        await until(lambda: ended(scene, 60), 60)
        killed = next(pid for _, what, pid in reversed(await noted(scene)) if what == "begin")
        killed_at = time.time()
        processes[int(killed)].kill()
        await until(lambda: nodes_up(scene, 3))
        missed_at = time.time()
        await q.enqueue_all([job] * more)
        await until(lambda: ended(scene, jobs + more), 60)

    spans = list(busy(await noted(scene), killed, killed_at))
    assert max(count for _, _, count in spans) == limit
    # Its places are free again when it is taken for dead, as its jobs are, and somebody looks, as each does once a
    # second who has none; and then all are used until the end.
    for begin, end in ((spans[0][0], killed_at), (missed_at + 1, spans[-40][0])):
        within = [(min(after, end) - max(at, begin), count) for at, after, count in spans if at < end and after > begin]
        assert max(count for _, count in within) == limit
        used = sum(length * count for length, count in within) / (limit * (end - begin))
        assert used > 0.6  # on a machine that has nothing else to do it is 0.9


async def nodes_up(scene: Scene, count: int) -> bool:
    return await scene.redis.scard(scene.key("leases")) == count


def busy(events: list[tuple[float, str, str]], killed: str, killed_at: float) -> Iterator[tuple[float, float, int]]:
    """How many jobs ran from when to when; of the process *killed* only until it was."""
    running = dict.fromkeys("0123", 0)
    for (at, what, pid), (after, _, _) in pairwise(events):
        running[pid] += 1 if what == "begin" else -1
        if at >= killed_at:
            running[killed] = 0
        yield at, after, sum(running.values())


async def test_a_limit_of_the_fleet_holds_for_nodes_of_one_process_too(scene: Scene) -> None:
    running, most, done = 0, 0, 0

    @exq.worker
    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1
        done += 1

    async with AsyncExitStack() as stack:
        for _ in range(3):
            q = await stack.enter_async_context(scene.open(work, queues={"default": exq.Limit(fleet=4)}))
        await q.enqueue_all(work.job() for _ in range(200))
        # 0.5 s if all four places are always used; to look again each time would take fifty.
        await until(lambda: done == 200, 20)

    assert most == 4


async def test_who_waits_for_jobs_holds_no_place(scene: Scene) -> None:
    async with scene.open(queues={"default": exq.Limit(fleet=1), "other": exq.Limit(fleet=1, name="default")}) as q:
        await until(lambda: _waits(scene))
        assert await scene.hash("limit:default") == {}
        assert q.subscriptions() == {"default": 100, "other": 100}


async def _waits(scene: Scene) -> bool:
    clients = await scene.redis.client_list()
    return len([client for client in clients if client["cmd"] == "blmove"]) >= 2


async def test_queues_of_one_name_share_a_limit(scene: Scene) -> None:
    running, most, done = 0, 0, 0

    @exq.worker
    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1
        done += 1

    shared = exq.Limit(fleet=2, name="database")
    async with scene.open(work, queues={"a": shared, "b": shared}) as q:
        await q.enqueue_all(work.job().on(queue=queue) for queue in "ab" * 20)
        await until(lambda: done == 40)

    assert most == 2


@pytest.mark.parametrize(
    ("rate", "most"),
    [
        (exq.Rate(10, 0.5), 10),
        (exq.Rate(10, 0.5, kind="fixed"), 20),
        (exq.Rate(10, 0.5, kind="bucket", burst=3), 13),
    ],
)
async def test_a_rate_is_kept_and_used(
    rate: exq.Rate, most: int, scene: Scene, counted_since: dict[str, float]
) -> None:
    begun: list[tuple[float, float]] = []

    @exq.worker
    async def work() -> None:
        begun.append((counted_since[exq.worker_job().jid], time.time()))

    async with AsyncExitStack() as stack:
        for _ in range(2):
            q = await stack.enter_async_context(scene.open(work, queues={"default": exq.Limit(rates=rate)}))
        await q.enqueue_all(work.job() for _ in range(45))
        await until(lambda: len(begun) == 45, 20)  # 2.2 s if it is fully used

    assert begun[-1][1] - min(since for since, _ in begun) >= (45 - most) / 20
    for first in range(45 - most):
        within = begun[first : first + most + 1]
        assert within[-1][1] - min(since for since, _ in within) > 0.499, within


@pytest.fixture
def counted_since(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """By jid, a time (unix seconds) just before the job was counted under its limit: it may begin long after that."""
    since: dict[str, float] = {}
    asked: dict[Limited, float] = {}

    def asks(method: Any) -> Any:
        async def noting(self: Limited) -> object:
            asked[self] = time.time()
            return await method(self)

        return noting

    def dispatched(self: Limited, job: exq.Job, then: Any = Limited.dispatched) -> None:
        since[job.jid] = asked[self]
        then(self, job)

    monkeypatch.setattr(Limited, "available", asks(Limited.available))
    monkeypatch.setattr(Limited, "admit", asks(Limited.admit))
    monkeypatch.setattr(Limited, "dispatched", dispatched)
    return since


async def test_a_job_that_comes_while_the_rate_is_used_up_waits_in_its_queue(scene: Scene) -> None:
    begun: list[int] = []

    @exq.worker
    async def work(number: int) -> None:
        begun.append(number)

    limit = exq.Limit(rates=exq.Rate(2, 3600))
    async with scene.open(work, queues={"default": limit}) as q:
        for number in range(4):
            await q.push(work.job(number))
        await until(lambda: len(begun) == 2)
        await until(lambda: _lies(scene, 2))

    assert begun == [0, 1]
    assert [exq.Job.decode(payload).args for payload in await scene.queue()] == [[2], [3]]


async def _nothing_is_held(scene: Scene) -> bool:
    return await scene.hash("limit:default") == {}


async def _lies(scene: Scene, count: int) -> bool:
    return len(await scene.queue()) == count


async def test_rates_and_places_hold_together(scene: Scene) -> None:
    running, most, begun = 0, 0, 0

    @exq.worker
    async def work() -> None:
        nonlocal running, most, begun
        running, begun = running + 1, begun + 1
        most = max(most, running)
        await anyio.sleep(0.02)
        running -= 1

    limit = exq.Limit(fleet=3, rates=[exq.Rate(8, 3600), exq.Rate(5, 0.2)])
    async with scene.open(work, queues={"default": limit}) as q:
        await q.enqueue_all(work.job() for _ in range(20))
        await until(lambda: begun == 8 and running == 0)
        await until(lambda: _lies(scene, 12))
        await until(lambda: _nothing_is_held(scene))  # a look may hold places until it finds the rate used up

    assert most == 3


async def test_a_stop_frees_all_places(scene: Scene) -> None:
    forever: list[int] = []

    @exq.worker
    async def work() -> None:
        forever.append(1)
        await anyio.sleep_forever()

    async with scene.open(work, queues={"default": exq.Limit(fleet=2)}, shutdown_timeout=0) as q:
        await q.enqueue_all(work.job() for _ in range(3))
        await until(lambda: len(forever) == 2)
        await q.unsubscribe("default")
        assert list((await scene.hash("limit:default")).values()) == ["2"]

    begun: list[int] = []

    @exq.worker(name="work")
    async def ends() -> None:
        begun.append(1)

    async with scene.open(ends, queues={"default": exq.Limit(fleet=2)}):
        await until(lambda: len(begun) == 3)


async def test_each_tenant_has_its_limit_and_its_turn_where_each_has_a_queue(scene: Scene) -> None:
    running: dict[str, int] = dict.fromkeys("abc", 0)
    order: list[str] = []
    most = 0

    @exq.worker
    async def work(tenant: str) -> None:
        nonlocal most
        running[tenant] += 1
        most = max(most, *running.values())
        order.append(tenant)
        await anyio.sleep(0.01)
        running[tenant] -= 1

    async with scene.open(work, queues=[], total_concurrency=3) as q:
        # One has much to do, before the others come.
        await q.enqueue_all(work.job("a").on(queue="tenant:a") for _ in range(60))
        for tenant in "abc":
            await q.subscribe(f"tenant:{tenant}", dequeuer=exq.Limit(fleet=2, name=f"tenant:{tenant}"))
        await until(lambda: len(order) > 5)
        await q.enqueue_all(work.job(tenant).on(queue=f"tenant:{tenant}") for tenant in "bc" * 5)
        before = len(order)
        await until(lambda: order.count("b") == order.count("c") == 5)
        served = order[before:]
        await until(lambda: len(order) == 70)

    assert most == 2
    assert served.count("a") < 30  # its backlog did not come first


async def test_while_redis_is_away_nothing_is_logged_of_the_limit_but_that(
    private_valkey: Any, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, done = private_valkey("--appendonly", "yes"), 0

    @exq.worker
    async def work() -> None:
        nonlocal done
        done += 1

    limit = exq.Limit(fleet=2, rates=exq.Rate(1000, 1))
    settings: dict[str, Any] = {"url": server.url, "namespace": namespace, "redis_options": PATIENT}
    async with exq.open(settings, workers=[work], queues={"default": limit}) as q:
        await q.push(work.job())
        await until(lambda: done == 1)
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.start)
        await until(lambda: _pushed(q, work))
        await until(lambda: done >= 2)

    assert not [record for record in caplog.records if "dequeuer failed" in record.message]


async def _pushed(q: exq.Exq, work: Any) -> bool:
    try:
        await q.push(work.job())
    except exq.RedisUnavailable:
        return False
    return True


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: exq.Limit(), "fleet: a Limit needs fleet or rates"),
        (lambda: exq.Limit(fleet=0), "fleet: must be a number from 1"),
        (lambda: exq.Limit(rates=[5]), "rates: must be exq.Rate"),  # type: ignore[list-item]
        (lambda: exq.Limit(rates=[exq.Rate(1, 5), exq.Rate(2, 5)]), "rates: has two of the same kind"),
        (lambda: exq.Limit(fleet=1, concurrency=0), "concurrency: must be a number from 1"),
        (lambda: exq.Rate(0, 5), "count: must be a number from 1"),
        (lambda: exq.Rate(5, 0), "per: must be a number of seconds"),
        (lambda: exq.Rate(5, 5, kind="leaky"), "kind: must be 'sliding', 'fixed' or 'bucket'"),  # type: ignore[arg-type]
        (lambda: exq.Rate(5, 5, burst=5), "burst: is for a rate of the kind 'bucket'"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(make: Any, problem: str) -> None:
    with pytest.raises(exq.ConfigError, match=problem):
        make()
