"""Sidekiq, Resque, Exq and Python put jobs into one Redis, and each is done once; redis-namespace's prefix is ours."""

from __future__ import annotations

import json
from uuid import uuid4

import msgspec

import exq_anyio as exq

from .both import Both, until

RESQUE = """
Sidekiq.redis do |redis|
  # As Resque::DataStore does: the name of the queue, and the job at the tail of its list.
  (500...750).each do |number|
    redis.sadd("queues", "low")
    redis.rpush("queue:low", JSON.generate("class" => "EchoWorker", "args" => [number]))
  end
end
0
"""

PAGES = ("/", "/busy", "/queues", "/queues/default", "/retries", "/scheduled", "/morgue")


def by_exq(number: int) -> bytes:
    """As Exq 0.23 was seen to write a job."""
    record = {
        "args": [number], "class": "EchoWorker", "enqueued_at": 1795486358.750839, "jid": str(uuid4()),
        "queue": "default", "retry": 25,
    }  # fmt: skip
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


async def test_a_thousand_jobs_of_all_sides_are_done_each_once(both: Both) -> None:
    async with both.enqueuer() as q:
        await q.enqueue_all([exq.JobSpec(worker="EchoWorker", args=(number,)) for number in range(200)])
        for number in range(200, 250):
            await q.enqueue("default", "EchoWorker", [number])
    await both.ruby.say("EchoWorker.perform_bulk((250...450).map { |n| [n] }); 0")
    await both.ruby.say("(450...500).each { |n| EchoWorker.perform_in(0.01, n) }; 0")
    await both.ruby.say(RESQUE)
    for number in range(750, 1000):
        await both.redis.lpush("queue:default", [by_exq(number)])
    # Resque's jobs have no jid, which Sidekiq needs: they are Python's.
    working = both.both_working(6, queues={"default": 3, "low": 3}, resque_queues=["low"])
    async with both.ruby.web() as browser, working as q:
        for page in PAGES:
            assert (await browser.get(page)).status == 200
        ran = await both.told(1000)
        await until(lambda: all_counted(both))
        shown = [await browser.get(page) for page in PAGES]
        stats = await q.api.stats()
        nodes = await q.api.nodes()
    assert [page.status for page in shown] == [200] * len(PAGES)
    assert sorted(job["args"] for job in ran) == [[number] for number in range(1000)]
    assert len({job["jid"] for job in ran}) == 1000
    assert {job["by"] for job in ran} == {"python", "ruby"}
    assert [job["args"][0] for job in ran if 500 <= job["args"][0] < 750 and job["by"] == "ruby"] == []
    assert (stats.processed, stats.failed, stats.enqueued, stats.retry, stats.dead) == (1000, 0, 0, 0, 0)
    assert len(nodes) == 2


async def all_counted(both: Both) -> bool:
    return await both.counter("processed") == 1000


NAMESPACED = """
require "redis-namespace"
pool = ConnectionPool.new(size: 2) { Redis::Namespace.new("shop", redis: Redis.new(url: ENV["REDIS_URL"])) }
Sidekiq.redis = pool
"""


async def test_redis_namespace_and_a_namespace_of_ours_are_the_same(both: Both) -> None:
    jid = await both.ruby.say(f"{NAMESPACED}\nEchoWorker.perform_async('from ruby')")
    async with both.python(namespace="shop") as q:
        (ran,) = await both.told(1)
        assert (ran["jid"], ran["args"], ran["by"]) == (jid, ["from ruby"], "python")
        await q.enqueue("default", "FailWorker", ["from python"], max_retries=0)

        async def dead() -> bool:
            return await both.redis.zcard("shop:dead") == 1

        await until(dead)
        seen = await both.ruby.say(
            NAMESPACED + "[Sidekiq::Stats.new.processed, Sidekiq::DeadSet.new.map(&:jid), Sidekiq::ProcessSet.new.size]"
        )
    (member,) = await both.redis.zrange("shop:dead", 0, -1)
    assert seen == [2, [msgspec.json.decode(member)["jid"]], 1]
