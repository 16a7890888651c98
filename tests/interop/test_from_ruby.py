"""Sidekiq's client pushes, and Python works with Sidekiq's meaning."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from exq_anyio.job import Job, encode

from .both import Both, Record, until

ARGS: list[Any] = [1, "two", 3.5, None, True, {"h": [1, {"é": "ünï \u2028"}]}, "<b>&'\"/\\</b>", 2**70, -0.25, []]


async def test_what_perform_async_pushes_is_performed_with_its_arguments_and_its_jid(both: Both) -> None:
    pushed = await both.ruby.say(f"EchoWorker.perform_async(*JSON.parse({encode({'a': ARGS}).decode()!r})['a'])")
    async with both.python():
        assert await both.told(1) == [{"by": "python", "class": "EchoWorker", "jid": pushed, "args": ARGS}]


async def test_what_perform_bulk_pushes_is_performed_each_once_in_its_order(both: Both) -> None:
    pushed = await both.ruby.say("EchoWorker.perform_bulk((1..300).map { |n| [n] })")
    async with both.python(concurrency=1):
        ran = await both.told(300)
    assert [job["args"] for job in ran] == [[number] for number in range(1, 301)]
    assert [job["jid"] for job in ran] == pushed


async def test_what_perform_in_and_perform_at_push_waits_until_it_is_due(both: Both) -> None:
    before = time.time()
    later, soon = await both.ruby.say("[EchoWorker.perform_at(Time.now + 3600, 1), EchoWorker.perform_in(0.5, 2)]")
    async with both.python():
        assert await both.told(1) == [{"by": "python", "class": "EchoWorker", "jid": soon, "args": [2]}]
        assert time.time() >= before + 0.5
    ((waiting, score),) = await both.scored("schedule")
    assert waiting["jid"] == later
    assert before + 3600 <= score <= time.time() + 3600


async def test_the_options_of_a_ruby_class_and_of_set_arrive(both: Both) -> None:
    await both.ruby.say("""[
      Reports::Monthly.perform_async(1),
      Reports::Monthly.set(queue: "critical", tags: ["once"], retry: false, custom: {"k" => 1}).perform_async(2)]""")
    jobs = [Job.decode(encode(record)) for name in ("reports", "critical") for record in await both.queue(name)]
    assert [(job.queue, job.retry, job.tags, job.record.get("custom")) for job in jobs] == [
        ("reports", 5, ["billing", "monthly"], None),
        ("critical", False, ["once"], {"k": 1}),
    ]
    async with both.python(queues=["reports", "critical"]):
        assert sorted(job["args"] for job in await both.told(2)) == [[1], [2]]


async def test_retry_false_vanishes_at_its_first_failure(both: Both) -> None:
    await both.ruby.say("FailWorker.set(retry: false).perform_async('gone')")
    async with both.python():
        await until(lambda: both.counter("failed"))
    assert (await both.scored("retry"), await both.scored("dead"), await both.queue()) == ([], [], [])
    assert await both.counter("processed") == 1


async def test_retry_0_is_dead_at_its_first_failure(both: Both) -> None:
    pushed = await both.ruby.say("FailWorker.set(retry: 0).perform_async('over')")
    async with both.python():
        (dead,) = await both.entries("dead")
    said = (dead["jid"], dead["retry_count"], dead["error_class"], dead["error_message"], "retried_at" in dead)
    assert said == (pushed, 0, "ValueError", "over", False)
    assert (await both.scored("retry"), await both.counter("failed")) == ([], 1)


async def test_retry_n_is_tried_n_times_more_and_then_dead(both: Both) -> None:
    await both.ruby.say("FailWorker.set(retry: 2).perform_async('thrice')")
    counts = []
    async with both.python():
        for _ in range(2):
            (retry,) = await both.entries("retry")
            counts.append(retry["retry_count"])
            await both.redis.zadd("retry", {encode(retry): 1.0})
            await until(partial(gone, both, retry))
        (dead,) = await both.entries("dead")
    assert (counts, dead["retry_count"]) == ([0, 1], 2)
    assert dead["failed_at"] < dead["retried_at"]
    assert (await both.counter("processed"), await both.counter("failed")) == (3, 3)


async def gone(both: Both, retry: Record) -> bool:
    return retry not in [job for job, _ in await both.scored("retry")]


async def test_dead_false_vanishes_when_its_retries_are_exhausted(both: Both) -> None:
    await both.ruby.say("FailWorker.set(retry: 0, dead: false).perform_async('gone')")
    async with both.python():
        await until(lambda: both.counter("failed"))
    assert (await both.scored("retry"), await both.scored("dead"), await both.queue()) == ([], [], [])


async def test_a_retry_goes_to_its_retry_queue(both: Both) -> None:
    await both.ruby.say("FailWorker.set(retry: 3, retry_queue: 'low', custom: [1]).perform_async('down')")
    async with both.python():
        (retry,) = await both.entries("retry")
        assert (retry["queue"], retry["custom"]) == ("low", [1])
        await both.make_due("retry")
        (back,) = await until(lambda: both.queue("low"))
    assert (back["jid"], back["retry_count"]) == (retry["jid"], 0)
    assert back["enqueued_at"] > retry["failed_at"]


@pytest.mark.parametrize(("wanted", "lines"), [("1", 1), ("true", 2)])
async def test_sidekiq_reads_the_backtrace_of_a_python_error(both: Both, wanted: str, lines: int) -> None:
    await both.ruby.say(f"FailWorker.set(backtrace: {wanted}).perform_async('here')")
    async with both.python():
        await both.entries("retry")
    read = await both.ruby.say("Sidekiq::RetrySet.new.first.error_backtrace")
    assert len(read) >= lines if wanted == "true" else len(read) == lines
    assert read[0].endswith("in 'fail'")
    assert __package__.replace(".", "/") + "/both.py:" in read[0]
