"""Python enqueues, and a real Sidekiq process works; a job that failed on one side goes on at the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import exq_anyio as exq

from .both import Both, until
from .test_from_ruby import ARGS


async def test_what_python_enqueues_is_performed_by_ruby_with_its_arguments_and_its_jid(both: Both) -> None:
    async with both.enqueuer() as q:
        jids = [
            await q.enqueue("default", "EchoWorker", ARGS),
            await q.enqueue("default", "EchoWorker", [2], jid="an-id-of-our-own", tags=["a"], meta={"k": [1]}),
            await q.enqueue_in("default", 0.2, "EchoWorker", [3]),
            await q.enqueue_at("default", datetime.now(UTC) - timedelta(days=1), "EchoWorker", [4]),
            await q.enqueue("reports", "Reports::Monthly", [5], max_retries=0, extra={"custom": {"x": None}}),
        ]
        jids += map(str, await q.enqueue_all([exq.JobSpec(worker="EchoWorker", args=(n,)) for n in range(6, 9)]))
    async with both.ruby.working("default", "reports"):
        # Sidekiq looks for due jobs after 5 to 15 seconds.
        ran = await both.told(8)
    assert {job["jid"]: (job["by"], job["args"]) for job in ran} == dict(
        zip(jids, [("ruby", args) for args in (ARGS, [2], [3], [4], [5], [6], [7], [8])], strict=True)
    )
    assert (await both.counter("processed"), await both.counter("failed")) == (8, 0)


async def test_a_job_that_failed_in_python_goes_on_in_ruby_with_its_count_and_back(both: Both) -> None:
    async with both.enqueuer() as q:
        jid = await q.enqueue("default", "RelayWorker", [["python", "ruby"], "over"], max_retries=3)
    counts = []
    async with both.python():
        counts.append((await both.entries("retry"))[0])
    await both.ruby.say(AGAIN)
    async with both.ruby.working():
        counts.append((await both.entries("retry"))[0])
    await both.ruby.say(AGAIN)
    async with both.python():
        counts.append((await both.entries("retry"))[0])
    await both.ruby.say(AGAIN)
    async with both.ruby.working():
        (dead,) = await both.entries("dead")
    assert [(job["jid"], job["retry_count"], job["error_message"]) for job in [*counts, dead]] == [
        (jid, 0, "python: over"),
        (jid, 1, "ruby: over"),
        (jid, 2, "python: over"),
        (jid, 3, "ruby: over"),
    ]
    assert len({job["failed_at"] for job in [*counts, dead]}) == 1
    assert counts[0].get("retried_at") is None
    assert counts[1]["retried_at"] < counts[2]["retried_at"] < dead["retried_at"]


async def test_a_job_that_failed_in_ruby_succeeds_in_python_and_back(both: Both) -> None:
    await both.ruby.say("RelayWorker.perform_async(['ruby'], 'to python')")
    async with both.ruby.working():
        await both.entries("retry")
    await both.ruby.say(AGAIN)
    async with both.python():
        await both.told(1)
        await until(lambda: both.counter("processed"))
    async with both.enqueuer() as q:
        await q.enqueue("default", "RelayWorker", [["python"], "to ruby"])
    async with both.python():
        await both.entries("retry")
    await both.ruby.say(AGAIN)
    async with both.ruby.working():
        ran = await both.told(2)
    assert [(job["by"], *job["args"]) for job in ran] == [
        ("python", ["ruby"], "to python"),
        ("ruby", ["python"], "to ruby"),
    ]
    assert (await both.scored("retry"), await both.counter("failed"), await both.counter("processed")) == ([], 2, 4)
    assert await both.queue() == []


AGAIN = "Sidekiq::RetrySet.new.first.add_to_queue; 0"


async def test_a_thousand_jobs_from_both_sides_are_done_by_both_each_once(both: Both) -> None:
    async with both.enqueuer() as q:
        mine = await q.enqueue_all([exq.JobSpec(worker="EchoWorker", args=(n,)) for n in range(500)])
    theirs = await both.ruby.say("EchoWorker.perform_bulk((500..999).map { |n| [n] })")
    async with both.both_working(5, concurrency=5):
        ran = await both.told(1000)
        await until(lambda: all_counted(both))
    assert sorted(job["args"] for job in ran) == [[number] for number in range(1000)]
    assert {job["jid"] for job in ran} == {*mine, *theirs}
    assert {job["by"] for job in ran} == {"python", "ruby"}


async def all_counted(both: Both) -> bool:
    return await both.counter("processed") == 1000


async def test_what_a_stop_cuts_off_in_one_is_done_by_the_other(both: Both) -> None:
    async with both.enqueuer() as q:
        jids = [await q.enqueue("default", "SleepWorker", [60]), await q.enqueue("default", "EchoWorker", [1])]
    # Longer than its idle threads wait for jobs, 2 s: one of them could take the job that is put back, and lose it.
    async with both.ruby.working(seconds=3):
        await both.told(1)
    (back,) = await both.queue()
    assert (back["jid"], "retry_count" in back) == (jids[0], False)
    counted = await both.counter("processed"), await both.counter("failed")
    assert counted == (2, 1)  # Sidekiq counts a job that it puts back
    async with both.python(shutdown_timeout=0):
        await both.told(3)
    assert await both.queue() == [back]
    assert (await both.counter("processed"), await both.counter("failed")) == counted  # and we do not
