"""What a node says of itself and counts: as Sidekiq's and Exq's own pages read it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import anyio
import msgspec

import exq_anyio as exq

from .scene import Scene, until


async def test_a_running_job_appears_in_the_process_entry_and_disappears(scene: Scene) -> None:
    go_on = anyio.Event()

    @exq.worker(name="Slow")
    async def slow(number: int) -> None:
        await go_on.wait()

    async with scene.open(slow, heartbeat_interval=0.05) as q:
        node = str(q.node_id)
        entry = await until(lambda: scene.hash(node))
        assert (entry["busy"], await scene.hash(f"{node}:work")) == ("0", {})
        before = time.time()
        jid = await q.enqueue("default", slow, [1])
        work = await until(lambda: scene.hash(f"{node}:work"))
        workers = await scene.hash(f"{node}:workers")
        ((thread, job),) = ((thread, msgspec.json.decode(entry)) for thread, entry in work.items())
        assert (job["queue"], msgspec.json.decode(job["payload"])["jid"]) == ("default", jid)
        assert int(before) <= job["run_at"] <= time.time()
        assert [msgspec.json.decode(entry)["payload"] for entry in workers.values()] == [job["payload"]]
        assert set(workers) == {thread}
        assert (await scene.hash(node))["busy"] == "1"
        assert 0 < await scene.redis.ttl(scene.key(node)) <= 60
        go_on.set()
        await until(lambda: gone(scene, node))
        assert (await scene.hash(node))["busy"] == "0"
        assert await scene.redis.smembers(scene.key("processes")) == {node.encode()}


async def gone(scene: Scene, node: str) -> bool:
    return not await scene.hash(f"{node}:work") and not await scene.hash(f"{node}:workers")


async def test_runs_are_counted_in_total_by_day_for_five_years_and_by_second_for_two_minutes(scene: Scene) -> None:
    @exq.worker(name="Fair")
    async def fair() -> None: ...

    @exq.worker(name="Foul")
    async def foul() -> None:
        raise ValueError

    began = datetime.now(UTC)
    async with scene.open(fair, foul) as q:
        await q.enqueue_all([*(fair.job() for _ in range(3)), *(foul.job() for _ in range(2))])
        await until(lambda: counted(scene, "processed", 5))
    ended = datetime.now(UTC)
    days = {f"{began:%Y-%m-%d}", f"{ended:%Y-%m-%d}"}
    for name, total in (("processed", 5), ("failed", 2)):
        assert await scene.count(name) == total
        assert await scene.redis.ttl(scene.key(f"stat:{name}")) == -1
        by_day = [key for key in await scene.keys() if key.startswith(f"stat:{name}:")]
        assert {key.removeprefix(f"stat:{name}:") for key in by_day} <= days
        assert sum([await scene.count(key.removeprefix("stat:")) for key in by_day]) == total
        for key in by_day:
            assert 157_679_900 <= await scene.redis.ttl(scene.key(key)) <= 157_680_000
        by_second = [key for key in await scene.keys() if key.startswith(f"stat:{name}_rt:")]
        assert sum([await scene.count(key.removeprefix("stat:")) for key in by_second]) == total
        for key in by_second:
            at = datetime.strptime(key, f"stat:{name}_rt:%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
            assert began.replace(microsecond=0) <= at <= ended
            left = await scene.redis.ttl(scene.key(key))
            passed = (datetime.now(UTC) - began).total_seconds()
            assert 120 - passed - 1 <= left <= 120


async def counted(scene: Scene, name: str, total: int) -> bool:
    return await scene.count(name) == total


async def test_a_node_that_is_told_to_be_quiet_takes_no_more_jobs_and_says_so(scene: Scene) -> None:
    ran: list[int] = []

    @exq.worker(name="Job")
    async def job(number: int) -> None:
        ran.append(number)

    async with scene.open(job, heartbeat_interval=0.05) as q:
        node = str(q.node_id)
        await q.enqueue("default", job, [1])
        await until(lambda: ran == [1])
        await scene.redis.lpush(scene.key(f"{node}-signals"), ["TSTP"])
        await until(lambda: says_quiet(scene, node))
        await q.enqueue("default", job, [2])
        assert q.subscriptions() == {}
    assert (ran, len(await scene.queue())) == ([1], 1)


async def says_quiet(scene: Scene, node: str) -> bool:
    return (await scene.hash(node)).get("quiet") == "true"
