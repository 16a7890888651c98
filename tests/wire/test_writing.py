"""Every state that we write, beside the recorded one of each real program: keys, types, fields, expiries.

What is not compared, and why, stands at the end of ``docs/wire.md``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene, until
from .golden import Record, State, read, records, shape

SIDEKIQ = ["sidekiq-6.4.1", "sidekiq-7.3.10", "sidekiq-8.1.7"]


@exq.worker(name="FailWorker")
async def fail(message: str) -> None:
    raise RuntimeError(message)


@exq.worker(name="SleepWorker")
async def sleep(seconds: float, note: str = "") -> None:
    await anyio.sleep(seconds)


@exq.worker(name="NoopWorker")
async def noop(*args: object) -> None: ...


@pytest.fixture
def bare(valkey: EmbeddedServer, redis: coredis.Redis[bytes]) -> Scene:
    """A scene without a namespace, as Sidekiq's."""
    return Scene(valkey.url, redis, "")


def unit(program: str) -> str:
    return "milliseconds" if program.startswith("sidekiq-8") else "seconds"


def jobs(state: State, key: str) -> list[Record]:
    """The JSON objects of a queue or a sorted set."""
    held = state[key]
    members = held.value if held.kind == "list" else [member for member, _ in held.value]
    return [json.loads(member) for member in members if member != "{not json"]


def agree(ours: list[Record], theirs: list[Record], *, extra: Collection[str] = ()) -> None:
    """Each field that all of theirs have, ours have, in a type that theirs has; and no field but *extra* is new."""
    mine, wanted = shape(ours), shape(theirs)
    assert {field for field, types in wanted.items() if "absent" not in types} <= {
        field for field, types in mine.items() if "absent" not in types
    }
    assert mine.keys() - wanted.keys() == set(extra)
    for field in mine.keys() & wanted.keys():
        assert mine[field] <= wanted[field] | {"absent"}, field


@pytest.mark.parametrize("program", SIDEKIQ)
async def test_a_pushed_job_is_sidekiqs(bare: Scene, program: str) -> None:
    state = read(f"{program}/01-push.json")
    theirs = [job for job in jobs(state, "queue:default") if "retry_for" not in job]
    async with bare.enqueuer(timestamps=unit(program)) as q:
        await q.enqueue("default", "NoopWorker", [1, "two"])
        await q.enqueue(
            "low", "OptWorker", ["x"], max_retries=5, tags=["billing"], extra={"backtrace": 10, "dead": False}
        )
    agree(bare_records(await bare.queue()), theirs)
    agree(bare_records(await bare.queue("low")), jobs(state, "queue:low"))
    assert await bare.redis.smembers("queues") == {b"default", b"low"}
    assert [await bare.redis.ttl(key) for key in ("queues", "queue:low")] == [-1, -1]
    assert {(held.kind, held.seconds) for held in state.values()} == {("list", -1), ("set", -1)}


def bare_records(payloads: list[bytes]) -> list[Record]:
    return [json.loads(payload) for payload in payloads]


@pytest.mark.parametrize("program", SIDEKIQ)
async def test_a_scheduled_job_is_sidekiqs(bare: Scene, program: str) -> None:
    state = read(f"{program}/03-schedule.json")
    async with bare.enqueuer(timestamps=unit(program)) as q:
        before = time.time()
        await q.enqueue_in("default", 3600, "NoopWorker", ["in"])
        await q.enqueue_in("default", 0, "NoopWorker", ["now"])
    agree(await bare.entries("schedule"), jobs(state, "schedule"))
    agree(bare_records(await bare.queue()), jobs(state, "queue:default"))
    ((_, score),) = await bare.scored("schedule")
    assert before + 3600 <= score <= time.time() + 3600  # seconds, whatever the unit of the fields
    assert (state["schedule"].kind, await bare.redis.ttl("schedule")) == ("zset", -1)


@pytest.mark.parametrize("program", SIDEKIQ)
async def test_first_and_second_failures_and_dead_jobs_are_sidekiqs(bare: Scene, program: str) -> None:
    first, second = read(f"{program}/07-fails.json"), read(f"{program}/08-second_failure.json")
    async with bare.open(fail, timestamps=unit(program)) as q:
        await q.enqueue("default", "FailWorker", ["boom é <x>"])
        await q.enqueue("default", "FailWorker", ["bt"], extra={"backtrace": 20})
        await q.enqueue("default", "FailWorker", ["low"], extra={"retry_queue": "low"})
        await q.enqueue("default", "FailWorker", ["over"], max_retries=0)
        await until(lambda: failed(bare, 4))
        once = await bare.entries("retry")
        dead = await bare.entries("dead")
        for member, _ in await bare.scored("retry"):
            await bare.redis.zadd("retry", {member: 1.0})
        await q.subscribe("low")
        await until(lambda: failed(bare, 7))
        twice = await bare.entries("retry")
    agree(once, jobs(first, "retry"))
    agree(dead, jobs(first, "dead"))
    agree(twice, [job for job in jobs(second, "retry") if job["retry_count"] == 1])
    assert [{job["retry_count"] for job in some} for some in (once, dead, twice)] == [{0}, {0}, {1}]
    assert [await bare.redis.ttl(key) for key in ("retry", "dead")] == [first["retry"].seconds, first["dead"].seconds]
    for entries in (once, twice):
        (traced,) = [job for job in entries if "error_backtrace" in job]
        assert traced["args"] == ["bt"]


async def failed(scene: Scene, count: int) -> bool:
    return await scene.count("failed") == count


@pytest.mark.parametrize("program", SIDEKIQ)
async def test_the_counters_are_sidekiqs_with_its_expiries(bare: Scene, program: str) -> None:
    state = read(f"{program}/07-fails.json")
    days = {time.strftime("%Y-%m-%d", time.gmtime())}
    async with bare.open(fail) as q:
        await q.enqueue("default", "FailWorker", ["a"], max_retries=False)
        await until(lambda: failed(bare, 1))
    days.add(time.strftime("%Y-%m-%d", time.gmtime()))  # midnight may have come
    for name in ("stat:processed", "stat:failed"):
        assert await bare.redis.ttl(name) == state[name].seconds == -1
        (day,) = await bare.redis.keys(f"{name}:*")
        assert day.decode().removeprefix(f"{name}:") in days
        assert abs(await bare.redis.ttl(day) - state[f"{name}:2026-11-24"].seconds) < 60
        assert await bare.redis.get(day) == b"1"


@pytest.mark.parametrize("program", SIDEKIQ)
async def test_the_process_entry_has_all_that_sidekiqs_has_in_its_types(bare: Scene, program: str) -> None:
    state = read(f"{program}/04-in_progress.json")
    (process,) = state["processes"].value
    async with bare.open(sleep, heartbeat_interval=0.02, shutdown_timeout=0) as q:
        await q.enqueue("default", "SleepWorker", [25.0, "in progress é"])
        await until(lambda: bare.redis.exists([f"{q.node_id}:work"]))
        mine, ttl = await bare.hash(str(q.node_id)), await bare.redis.ttl(str(q.node_id))
        work = [json.loads(one) for one in (await bare.hash(f"{q.node_id}:work")).values()]
        workers = [json.loads(one) for one in (await bare.hash(f"{q.node_id}:workers")).values()]
        ttls = [await bare.redis.ttl(f"{q.node_id}:{name}") for name in ("work", "workers")]
    theirs = state[process]
    assert theirs.value.keys() <= mine.keys()
    assert mine.keys() - theirs.value.keys() <= {"concurrency"}  # a field of its own from 8 on
    for field in theirs.value:
        if field != "info":
            assert as_number(mine[field]) == as_number(theirs.value[field]), field
    info, wanted = json.loads(mine["info"]), json.loads(theirs.value["info"])
    assert wanted.keys() <= info.keys()
    assert {field: type(info[field]) for field in wanted} == {field: type(wanted[field]) for field in wanted}
    for capsule in [*wanted.get("capsules", {}).values()]:
        (ours,) = info["capsules"].values()
        assert {field: type(value) for field, value in capsule.items()} == {f: type(v) for f, v in ours.items()}
    assert (0 < ttl <= 60, theirs.kind, 0 < theirs.seconds <= 60) == (True, "hash", True)

    name = "workers" if f"{process}:workers" in state else "work"
    busy = [json.loads(one) for one in state[f"{process}:{name}"].value.values()]
    if name == "work":
        agree(work, busy)
    else:  # the hash that is Exq's too: it wants host and pid, and a time with its fraction
        agree([{**one, "run_at": int(one["run_at"])} for one in workers], busy, extra={"host", "pid"})
    assert [0 < ttl <= 60 for ttl in ttls] == [True, True]


def as_number(text: str) -> str:
    """What a field of text looks like: a number with a point, one without, or a word."""
    return "whole" if text.isdigit() else "decimal" if text.replace(".", "", 1).isdigit() else "word"


async def test_the_process_entry_and_the_running_jobs_are_exqs(scene: Scene) -> None:
    state = read("exq-0.23.0/04-in-progress.txt")
    async with scene.open(sleep, heartbeat_interval=0.02, shutdown_timeout=0) as q:
        await q.enqueue("default", "SleepWorker", [60], max_retries=25)
        await until(lambda: scene.redis.exists([scene.key(f"{q.node_id}:workers")]))
        mine = await scene.hash(str(q.node_id))
        workers = [json.loads(one) for one in (await scene.hash(f"{q.node_id}:workers")).values()]
        (beat,) = await scene.scored("heartbeats")
        (held,) = await scene.backup(str(q.node_id))
    assert state["exq:vm"].value.keys() <= mine.keys()
    info, wanted = json.loads(mine["info"]), json.loads(state["exq:vm"].value["info"])
    assert wanted.keys() <= info.keys()
    assert {field: type(info[field]) for field in wanted.keys() - {"pid"}} == {
        field: type(wanted[field])
        for field in wanted.keys() - {"pid"}  # text in Exq, a number in Sidekiq
    }
    assert (info["busy"], info["quiet"]) == (1, False)
    agree(workers, [json.loads(one) for one in state["exq:vm:workers"].value.values()])
    assert beat[0] == str(q.node_id).encode()
    assert abs(beat[1] - time.time()) < 60
    agree(bare_records([held]), records({"exq:queue:": state["exq:queue:backup::vm::default"]}), extra={"created_at"})


async def test_a_unique_job_and_its_lock_are_exqs(scene: Scene) -> None:
    state = read("exq-0.23.0/11-unique.txt")
    async with scene.enqueuer() as q:
        before = time.time()
        jid = await q.enqueue(
            "default", "NoopWorker", [3], unique_for=3600, unique_token="tok-expiry", unique_until="expiry"
        )
        late = await q.enqueue_in("default", 600, "NoopWorker", [4], unique_for=3600, unique_token="tok-sched")
    theirs = jobs(state, "exq:queue:default")
    ours = bare_records(await scene.queue())
    agree([as_exq(job) for job in ours], theirs, extra={"created_at"})
    assert before + 3600 <= ours[0]["unlocks_at"] <= time.time() + 3600
    for token, holder, seconds in (("tok-expiry", jid, 3600), ("tok-sched", late, 4200)):
        assert await scene.redis.get(scene.key(f"unique:{token}")) == holder.encode()
        assert abs(await scene.redis.ttl(scene.key(f"unique:{token}")) - seconds) < 30
        assert abs(state[f"exq:unique:{token}"].seconds - seconds) < 30
    # Exq writes the due time as `enqueued_at` of a scheduled job; we leave it out, as Sidekiq does.
    agree(
        [as_exq(job) for job in await scene.entries("schedule")],
        [{k: v for k, v in job.items() if k != "enqueued_at"} for job in jobs(state, "exq:schedule")],
        extra={"created_at"},
    )


def as_exq(job: Record) -> Record:
    """*job* as Exq would have written it: with the number of its retries, and whole seconds where it was given such."""
    assert (job["retry"], job["unique_for"]) == (True, 3600.0)
    return {**job, "retry": 25, "unique_for": 3600}


async def test_the_counters_by_second_are_exqs(scene: Scene) -> None:
    state = read("exq-0.23.0/07-success.txt")
    async with scene.open(noop) as q:
        await q.enqueue("default", "NoopWorker", [])
        await until(lambda: processed(scene, 1))
    (mine,) = [key for key in await scene.keys() if key.startswith("stat:processed_rt:")]
    theirs = next(key for key in state if "stat:processed_rt:" in key)
    assert len(mine) == len(theirs.removeprefix("exq:"))
    time.strptime(mine, "stat:processed_rt:%Y-%m-%d %H:%M:%SZ")
    time.strptime(theirs, "exq:stat:processed_rt:%Y-%m-%d %H:%M:%SZ")
    assert 0 < await scene.redis.ttl(scene.key(mine)) <= 120
    assert 0 < state[theirs].seconds <= 120


async def processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") == count
