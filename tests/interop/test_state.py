"""Everything that we write, read through Sidekiq's own API."""

from __future__ import annotations

import os
import time
from typing import Any

import anyio
import pytest

import exq_anyio as exq

from ..exq.scene import but_counters
from .both import Both, until

STATS = """s = Sidekiq::Stats.new
{processed: s.processed, failed: s.failed, scheduled: s.scheduled_size, retry: s.retry_size, dead: s.dead_size,
 enqueued: s.enqueued, processes: s.processes_size, busy: s.workers_size, latency: s.default_queue_latency,
 queues: s.queues, lengths: Sidekiq::Stats::Queues.new.lengths,
 today: [Sidekiq::Stats::History.new(1).processed.values, Sidekiq::Stats::History.new(1).failed.values]}"""

PROCESSES = """Sidekiq::ProcessSet.new.map do |p|
  {identity: p.identity, queues: p.queues, labels: p.labels, tag: p.tag, stopping: p.stopping?,
   concurrency: p["concurrency"], busy: p["busy"], pid: p["pid"], hostname: p["hostname"],
   started_at: p["started_at"], beat: p["beat"], rss: p["rss"], rtt_us: p["rtt_us"], quiet: p["quiet"]}
end"""

WORK = """Sidekiq::Workers.new.map do |process, thread, work|
  job = Sidekiq::JobRecord.new(work["payload"])
  {process: process, thread: thread, queue: work["queue"], run_at: work["run_at"], jid: job.jid, class: job.klass,
   args: job.display_args, created_at: job.created_at.to_f}
end"""

ENTRIES = """{Sidekiq::RetrySet => :retry, Sidekiq::DeadSet => :dead, Sidekiq::ScheduledSet => :scheduled}.to_h do
  |set, name|
  [name, set.new.map { |e|
    {jid: e.jid, class: e.display_class, args: e.args, at: e.at.to_f, score: e.score, error: e["error_class"],
     message: e["error_message"], count: e["retry_count"], failed_at: e["failed_at"], retried_at: e["retried_at"],
     queue: e.queue, tags: e.tags, created: e.created_at.to_f, found: set.new.find_job(e.jid)&.jid,
     fetched: set.new.fetch(e.score, e.jid).map(&:jid)} }]
end"""


async def test_sidekiq_counts_what_we_count(both: Both) -> None:
    async with both.python() as q:
        await q.enqueue_all([exq.JobSpec(worker="EchoWorker", args=(n,)) for n in range(3)])
        await q.enqueue("default", "FailWorker", ["again"])
        await q.enqueue("default", "FailWorker", ["over"], max_retries=0)
        await q.enqueue_in("default", 3600, "EchoWorker")
        await q.enqueue("elsewhere", "EchoWorker", [1])
        await q.enqueue("elsewhere", "EchoWorker", [2])
        await q.enqueue("default", "SleepWorker", [60])
        await until(lambda: busy(both))
        stats = await both.ruby.say(STATS)
    assert {**stats, "latency": 0.0} == {
        "processed": 5,
        "failed": 2,
        "scheduled": 1,
        "retry": 1,
        "dead": 1,
        "enqueued": 2,
        "processes": 1,
        "busy": 1,
        "latency": 0.0,
        "queues": {"elsewhere": 2, "default": 0},
        "lengths": {"elsewhere": 2, "default": 0},
        "today": [[5], [2]],
    }


async def busy(both: Both) -> bool:
    """Whether the last beat said that one job runs, and five have ended."""
    names = await both.redis.smembers("processes")
    said = [await both.redis.hget(name.decode(), "busy") for name in names]
    return said == [b"1"] and await both.counter("processed") == 5


async def test_the_latency_of_a_queue_is_the_age_of_its_oldest_job(both: Both) -> None:
    async with both.enqueuer() as q:
        await q.enqueue("default", "EchoWorker", [1])
        await anyio.sleep(0.5)  # longer than Sidekiq takes to look
        await q.enqueue("default", "EchoWorker", [2])
    oldest = (await both.queue())[0]["enqueued_at"]
    before, latency, after, size, found, args = await both.ruby.say(
        "q = Sidekiq::Queue.new; before = Time.now.to_f; latency = q.latency; after = Time.now.to_f; j = q.to_a.last;"
        "[before, latency, after, q.size, q.find_job(j.jid).jid == j.jid, q.map(&:args)]"
    )
    assert before - oldest <= latency + 0.001
    assert latency - 0.001 <= after - oldest
    assert (size, found, args) == (2, True, [[2], [1]])


async def test_sidekiq_lists_our_process_with_its_queues_memory_and_running_jobs(both: Both) -> None:
    before = time.time()
    async with both.python(queues={"default": 7, "mail": 3}, name="billing", node_identifier="a-host") as q:
        jid = await q.enqueue("mail", "SleepWorker", [60])
        work = await until(lambda: both.ruby.say(WORK))
        (process,) = await both.ruby.say(PROCESSES)
    assert process.pop("rss") > 10_000
    assert 0 < process.pop("rtt_us") < 10_000_000
    assert before <= process.pop("started_at") <= process.pop("beat") <= time.time()
    assert process == {
        "identity": "a-host#1",
        "queues": ["default", "mail"],
        "labels": ["exq_anyio"],
        "tag": "billing",
        "stopping": False,
        "concurrency": 10,
        "busy": 1,
        "pid": os.getpid(),
        "hostname": "a-host",
        "quiet": "false",
    }
    (job,) = work
    assert before - 1 <= job.pop("run_at") <= time.time()
    assert before <= job.pop("created_at") <= time.time()
    assert job.pop("thread")
    assert job == {"process": "a-host#1", "queue": "mail", "jid": jid, "class": "SleepWorker", "args": [60]}


async def test_after_a_graceful_stop_sidekiq_sees_nothing_of_us(both: Both) -> None:
    async with both.python(shutdown_timeout=5) as q:
        await q.enqueue("default", "SleepWorker", [0.1])
        await both.told(1)
        await until(lambda: both.redis.exists([str(q.node_id)]))
    assert await both.ruby.say("[Sidekiq::ProcessSet.new.size, Sidekiq::Workers.new.size]") == [0, 0]
    assert but_counters(key.decode() for key in await both.redis.keys("*")) == {"queues", "ran"}


async def test_sidekiq_reads_and_finds_our_retries_our_dead_and_our_scheduled_jobs(both: Both) -> None:
    before = time.time()
    async with both.python() as q:
        again = await q.enqueue("default", "FailWorker", ["again é <x>"], tags=["a", "b"])
        over = await q.enqueue("default", "FailWorker", ["over"], max_retries=0)
        later = await q.enqueue_in("default", 3600, "EchoWorker", [1])
        await both.entries("retry")
        await both.entries("dead")
    found = await both.ruby.say(ENTRIES)
    after = time.time()
    retry, dead, scheduled = (only(found[name]) for name in ("retry", "dead", "scheduled"))
    for entry in (retry, dead, scheduled):
        assert before <= entry.pop("created") <= after
        assert abs(entry.pop("score") - entry["at"]) < 0.001
    assert before + 15 <= retry.pop("at") <= after + 25
    assert before <= dead["failed_at"] <= dead.pop("at") + 0.001
    assert before + 3600 <= scheduled.pop("at") <= after + 3600
    for entry in (retry, dead):
        assert before <= entry.pop("failed_at") <= after
    failed = {"class": "FailWorker", "error": "ValueError", "count": 0, "retried_at": None, "queue": "default"}
    assert retry == {
        "jid": again,
        "args": ["again é <x>"],
        "message": "again é <x>",
        "tags": ["a", "b"],
        "found": again,
        "fetched": [again],
        **failed,
    }
    assert dead == {
        "jid": over,
        "args": ["over"],
        "message": "over",
        "tags": [],
        "found": over,
        "fetched": [over],
        **failed,
    }
    assert (scheduled["jid"], scheduled["class"], scheduled["args"], scheduled["error"]) == (
        later,
        "EchoWorker",
        [1],
        None,
    )
    assert (scheduled["found"], scheduled["fetched"]) == (later, [later])


def only(found: list[dict[str, Any]]) -> dict[str, Any]:
    (entry,) = found
    return entry


async def test_garbage_that_we_buried_does_not_break_sidekiqs_api(both: Both) -> None:
    await both.redis.sadd("queues", ["default"])
    await both.redis.lpush("queue:default", [*GARBAGE])
    async with both.python():
        await until(lambda: buried(both, len(GARBAGE)))
    read = await both.ruby.say(
        "Sidekiq::DeadSet.new.map { |e| [e.klass, e.jid, e.display_args, e.queue, e.tags, e.error_backtrace].inspect }"
    )
    assert len(read) == len(GARBAGE)


GARBAGE = (
    b"{not json",
    b"",
    b"\xff\xfe",
    b"[1]",
    b"null",
    b"3",
    b'"text"',
    b"{}",
    b'{"class": 1, "args": []}',
    b'{"class": "EchoWorker"}',
    b'{"class": "EchoWorker", "args": {"a": 1}}',
)


async def buried(both: Both, count: int) -> bool:
    return await both.redis.zcard("dead") == count


async def test_what_sidekiqs_api_does_to_our_jobs_happens(both: Both) -> None:
    async with both.python() as q:
        jids = [await q.enqueue("default", "FailWorker", [str(n)], max_retries=5) for n in range(4)]
        await both.entries("retry", 4)
    await both.ruby.say(f"Sidekiq::RetrySet.new.find_job('{jids[0]}').kill; 0")
    await both.ruby.say(f"Sidekiq::RetrySet.new.find_job('{jids[1]}').delete; 0")
    ((dead, _),) = await both.scored("dead")
    assert dead["jid"] == jids[0]
    await both.ruby.say("Sidekiq::DeadSet.new.first.retry; 0")
    await both.ruby.say(f"Sidekiq::RetrySet.new.find_job('{jids[2]}').add_to_queue; 0")
    assert [job["jid"] for job in await both.queue()] == [jids[0], jids[2]]
    await both.ruby.say("Sidekiq::RetrySet.new.clear; 0")
    async with both.python():
        counts = {job["jid"]: job["retry_count"] for job in await both.entries("retry", 2)}
    # `retry` takes one off the count, so that a try by hand costs none; `add_to_queue` does not.
    assert counts == {jids[0]: 0, jids[2]: 1}
    await both.ruby.say("Sidekiq::Queue.new.clear; Sidekiq::Stats.new.reset; 0")
    assert (await both.counter("processed"), await both.counter("failed")) == (0, 0)


async def test_a_try_by_hand_does_not_move_the_time_of_the_first_failure(both: Both) -> None:
    async with both.python() as q:
        await q.enqueue("default", "FailWorker", ["first"])
        (first,) = await both.entries("retry")
    await both.ruby.say("Sidekiq::RetrySet.new.first.retry; 0")
    assert [job["retry_count"] for job in await both.queue()] == [-1]
    async with both.python():
        (second,) = await both.entries("retry")
    assert (second["retry_count"], second["failed_at"]) == (0, first["failed_at"])
    assert second["retried_at"] > first["failed_at"]


async def test_quiet_and_stop_through_the_api_work_on_us(both: Both) -> None:
    async with both.python() as q:
        await until(lambda: both.redis.exists([str(q.node_id)]))
        await both.ruby.say("Sidekiq::ProcessSet.new.each(&:quiet!); 0")
        await both.said(q, "quiet", "true")
        assert q.subscriptions() == {}
        assert await both.ruby.say("Sidekiq::ProcessSet.new.map(&:stopping?)") == [True]
        await both.ruby.say("Sidekiq::ProcessSet.new.each(&:stop!); 0")
        await until(lambda: gone(both))
    assert await both.ruby.say("Sidekiq::ProcessSet.new.size") == 0


async def test_ttin_through_the_api_logs_our_stacks(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    async with both.python() as q:
        jid = await q.enqueue("default", "SleepWorker", [60])
        await both.told(1)
        await until(lambda: both.redis.exists([str(q.node_id)]))
        await both.ruby.say("Sidekiq::ProcessSet.new.each(&:dump_threads); 0")
        await until(lambda: logged(caplog, jid))


async def logged(caplog: pytest.LogCaptureFixture, jid: str) -> bool:
    return any("every task and thread" in line and jid in line for line in caplog.messages)


async def gone(both: Both) -> bool:
    return not await both.redis.smembers("processes")
