"""A queue that Resque pushes to, or works too: its jobs and ours are taken in the order in which they came."""

from __future__ import annotations

from typing import Any

import anyio
import coredis
import msgspec
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene, until

ran: list[object] = []


@pytest.fixture
def resque(valkey: EmbeddedServer, redis: coredis.Redis[bytes]) -> Scene:
    ran.clear()
    return Scene(valkey.url, redis, "resque")


@exq.worker(name="Note")
async def note(what: object) -> None:
    ran.append(what)


@exq.worker(name="Hold")
async def hold(what: object) -> None:
    ran.append(what)
    await anyio.sleep_forever()


@exq.worker(name="Again")
async def again(what: object) -> exq.Snooze | None:
    ran.append(what)
    return exq.Snooze(0.01) if exq.worker_job().snooze_count == 0 else None


OURS: dict[str, Any] = {"resque_queues": ["low"], "queues": {"low": 1}}


async def resque_enqueue(scene: Scene, *args: object, worker: str = "Note") -> None:
    """As ``Resque.enqueue``: Resque::DataStore pushes at the tail (``rpush``), and pops at the head (``lpop``)."""
    await scene.redis.sadd(scene.key("queues"), ["low"])
    await scene.redis.rpush(scene.key("queue:low"), [msgspec.json.encode({"class": worker, "args": args})])


async def resque_pop(scene: Scene) -> object:
    payload = await scene.redis.lpop(scene.key("queue:low"))
    return msgspec.json.decode(payload)["args"][0] if isinstance(payload, bytes) else None


async def test_jobs_of_resque_and_ours_run_in_the_order_in_which_they_came(resque: Scene) -> None:
    async with resque.enqueuer(**OURS) as q:
        await resque_enqueue(resque, 1)
        await q.enqueue("low", note, [2])
        await resque_enqueue(resque, 3)
        await q.enqueue_all([note.job(number).on(queue="low") for number in (4, 5)])
        await resque_enqueue(resque, 6)
    async with resque.open(note, **OURS) as q:
        await until(lambda: len(ran) == 6)
        # One that waits for the next job gets it likewise.
        await resque_enqueue(resque, 7)
        await until(lambda: len(ran) == 7)
        await q.enqueue("low", note, [8])
        await until(lambda: len(ran) == 8)
    assert ran == list(range(1, 9))


async def test_resque_takes_our_jobs_in_their_order_too(resque: Scene) -> None:
    async with resque.enqueuer(**OURS) as q:
        for number in (1, 2):
            await q.enqueue("low", note, [number])
        await resque_enqueue(resque, 3)
    assert [await resque_pop(resque) for _ in range(4)] == [1, 2, 3, None]


async def test_what_a_stop_sends_back_is_taken_next(resque: Scene) -> None:
    async with resque.open(hold, note, **{**OURS, "queues": {"low": 2}}, shutdown_timeout=0) as q:
        await resque_enqueue(resque, 1, worker="Hold")
        await resque_enqueue(resque, 2, worker="Hold")
        await until(lambda: len(ran) == 2)
        await q.enqueue("low", note, [3])
    assert {await resque_pop(resque), await resque_pop(resque)} == {1, 2}
    assert await resque_pop(resque) == 3


async def test_what_a_dead_node_had_taken_is_taken_next_in_its_order(resque: Scene) -> None:
    node = await resque.dead_node("host")
    await resque_enqueue(resque, 3)
    taken = [msgspec.json.encode({"class": "Note", "args": [number], "jid": str(number)}) for number in (1, 2)]
    await resque.leave_taken(node, "low", *taken)
    async with resque.open(note, **OURS, node_identifier="host"):
        await until(lambda: len(ran) == 3)
    assert ran == [1, 2, 3]


async def test_what_is_due_goes_behind_what_waits(resque: Scene) -> None:
    go_on = anyio.Event()

    @exq.worker(name="First")
    async def first() -> None:
        ran.append("first")
        await go_on.wait()

    async with resque.open(again, note, first, **OURS) as q:
        await q.enqueue("low", again, [1])
        await until(lambda: ran == [1, 1])
        await q.enqueue("low", first)
        await until(lambda: ran == [1, 1, "first"])
        await resque_enqueue(resque, 2)
        await q.enqueue_in("low", 0.01, note, [3])
        await until(lambda: two_wait(resque))  # behind the first: it was due
        go_on.set()
        await until(lambda: len(ran) == 5)
    assert ran == [1, 1, "first", 2, 3]


async def test_the_api_knows_which_job_is_next_and_puts_one_there(resque: Scene) -> None:
    async with resque.open(mode="api", **OURS) as api, resque.enqueuer(**OURS) as q:
        await q.enqueue("low", note, [1])
        await resque.redis.rpush(resque.key("queue:low"), [b'{"class":"Note","args":[2],"enqueued_at":1}'])
        assert (await api.api.queue("low")).latency < 60  # that of the second is years
        await q.enqueue("low", note, [3])
        (last,) = [entry for entry in (await api.api.jobs("low").page()).entries if entry.job and entry.job.args == [3]]
        assert await api.api.jobs("low").run_now(last)
    assert [await resque_pop(resque) for _ in range(3)] == [3, 1, 2]


async def test_a_queue_that_is_not_named_is_sidekiqs(resque: Scene) -> None:
    async with resque.enqueuer(resque_queues=["other"]) as q:
        for number in (1, 2):
            await q.enqueue("low", note, [number])
    assert await resque_pop(resque) == 2
    async with resque.enqueuer(resque_queues="*") as q:
        await q.enqueue("any", note, [1])
        await q.enqueue("any", note, [2])
    newest = (await resque.redis.lrange(resque.key("queue:any"), -1, -1))[0]
    assert msgspec.json.decode(newest)["args"] == [2]


def test_a_name_that_cannot_be_is_an_error_that_names_the_setting() -> None:
    assert exq.Config(resque_queues="low, high").resque_queues == {"low", "high"}
    with pytest.raises(exq.ConfigError, match="resque_queues"):
        exq.Config(resque_queues=["a\n"])


async def test_what_is_periodic_goes_behind_what_waits_too(resque: Scene) -> None:
    await resque_enqueue(resque, 1)
    often = exq.Periodic("often", note.job(2).on(queue="low"), exq.Every(1))
    async with resque.open(note, **{**OURS, "queues": []}, periodic=[often]):
        await until(lambda: two_wait(resque))
    assert [await resque_pop(resque) for _ in range(2)] == [1, 2]


async def two_wait(scene: Scene) -> bool:
    return await scene.redis.llen(scene.key("queue:low")) >= 2
