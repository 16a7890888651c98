"""Putting jobs in: what lies in Redis afterwards, and what never gets there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

import exq_anyio as exq

from .scene import Scene, records, until


@exq.worker
async def add(left: int, right: int = 0) -> None: ...


@exq.worker(name="Reports::Monthly", queue="reports", max_retries=4, tags=["slow"])
async def report(month: str) -> None: ...


class Sum(exq.Worker):
    worker_name = "A::B"

    async def perform(self, left: int, right: int) -> None: ...


async def test_a_job_lies_in_its_queue_as_sidekiq_would_write_it(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        before = time.time()
        jid = await q.enqueue("mail", add, [1, 2], max_retries=10)
        after = time.time()
    (job,) = records(await scene.queue("mail"))
    created = job.pop("created_at")
    assert before <= created == job.pop("enqueued_at") <= after
    assert len(jid) == 24
    assert job == {"class": "add", "args": [1, 2], "jid": jid, "queue": "mail", "retry": 10}
    assert await scene.redis.smembers(scene.key("queues")) == {b"mail"}


async def test_worker_may_be_a_function_a_class_or_a_name_with_colons(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        await q.enqueue("default", report, ["May"])
        await q.enqueue("default", Sum, [1, 2])
        await q.enqueue("default", "C::D", [{"any": ["thing"]}])
        await q.push(report.job("June"))
    assert [(job["class"], job["args"]) for job in records(await scene.queue())] == [
        ("Reports::Monthly", ["May"]),
        ("A::B", [1, 2]),
        ("C::D", [{"any": ["thing"]}]),
    ]
    (pushed,) = records(await scene.queue("reports"))
    assert (pushed["class"], pushed["retry"], pushed["tags"]) == ("Reports::Monthly", 4, ["slow"])


async def test_a_job_in_no_seconds_or_at_this_instant_is_enqueued_at_once(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        jids = [
            await q.enqueue_in("default", 0, add, [1]),
            await q.enqueue_in("default", timedelta(0), add, [1]),
            await q.enqueue_in("default", -5, add, [1]),
            await q.enqueue_at("default", datetime.now(UTC), add, [1]),
        ]
    jobs = records(await scene.queue())
    assert [job["jid"] for job in jobs] == jids
    assert all(job["enqueued_at"] == job["created_at"] for job in jobs)
    assert await scene.scored("schedule") == []


async def test_a_job_for_later_waits_in_the_schedule_at_its_instant(scene: Scene) -> None:
    when = datetime(2040, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    async with scene.enqueuer() as q:
        before = time.time()
        soon = await q.enqueue_in("default", 90, add, [1])
        later = await q.enqueue_in("default", timedelta(hours=1), add, [2])
        at = await q.enqueue_at("low", when, add, [3])
        after = time.time()
    entries = await scene.scored("schedule")
    jobs = records([member for member, _ in entries])
    scores = [score for _, score in entries]
    assert [job["jid"] for job in jobs] == [soon, later, at]
    assert before + 90 <= scores[0] <= after + 90
    assert before + 3600 <= scores[1] <= after + 3600
    assert scores[2] == when.timestamp()
    assert [job["queue"] for job in jobs] == ["default", "default", "low"]
    assert ["enqueued_at" in job for job in jobs] == [False] * 3
    assert await scene.keys() == {"schedule"}


async def test_the_jobs_of_one_call_go_in_with_one_command(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        await q.enqueue("warm", add, [0])
        await scene.redis.config_resetstat()
        jids = await q.enqueue_all(
            [
                *(add.job(number).on(queue=f"q{number % 3}") for number in range(2000)),
                add.job(1).on(after=300, max_retries=3, queue="late"),
                add.job(2).on(unique_for=60),
                add.job(2).on(unique_for=60),
            ]
        )
        calls = await scene.calls()
    # What a script calls is counted too: 2,000 pushes in runs of one, as each one goes to another queue.
    assert (calls["evalsha"], calls.get("eval", 0), calls["lpush"], calls["zadd"]) == (1, 0, 2001, 1)
    conflict = jids.pop()
    assert isinstance(conflict, exq.Conflict)
    assert conflict.jid == jids[-1]
    queued = [job["jid"] for name in ("q0", "q1", "q2", "default") for job in records(await scene.queue(name))]
    (late,) = await scene.entries("schedule")
    assert (late["queue"], late["retry"]) == ("late", 3)
    assert sorted([*queued, late["jid"]]) == sorted(jid for jid in jids if isinstance(jid, str))
    assert [job["args"] for job in records(await scene.queue("q1"))] == [[number] for number in range(1, 2000, 3)]


async def test_no_jobs_are_no_command_and_too_many_are_refused_whole(scene: Scene) -> None:
    async with scene.enqueuer() as q:
        await scene.redis.config_resetstat()
        assert await q.enqueue_all([]) == []
        with pytest.raises(exq.TooManyJobs) as refused:
            await q.enqueue_all(add.job(number) for number in range(10_001))
        assert (refused.value.count, refused.value.limit) == (10_001, 10_000)
        assert "evalsha" not in await scene.calls()
        assert len(await q.enqueue_all(add.job(number) for number in range(10_000))) == 10_000
    assert [job["args"][0] for job in records(await scene.queue())] == list(range(10_000))


@pytest.mark.parametrize(
    "queue", ["", "  ", "a\nb", "a\x00b", "a\x7f", "a\u2028b", "\ud800", "backup::x::y", "x" * 256, 7]
)
async def test_a_queue_name_that_cannot_be_is_refused_and_nothing_is_written(scene: Scene, queue: str) -> None:
    async with scene.enqueuer() as q:
        with pytest.raises(exq.InvalidQueue) as refused:
            await q.enqueue(queue, add, [1])
        assert refused.value.queue == queue
        with pytest.raises(exq.InvalidQueue):
            await q.enqueue_all([add.job(1), add.job(2).on(queue=queue)])
    assert await scene.keys() == set()


@pytest.mark.parametrize("queue", ["a b", "ünï", "a:b", "{tag}", "#1", "*", "\u202e", "queue:x"])
async def test_a_queue_with_an_odd_name_is_worked_off_like_any_other(scene: Scene, queue: str) -> None:
    ran: list[int] = []

    @exq.worker
    async def note(number: int) -> None:
        ran.append(number)

    async with scene.open(note, queues=[queue]) as q:
        await q.enqueue(queue, note, [1])
        await until(lambda: ran == [1])
    assert await scene.queue(queue) == []


class Unsayable: ...


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ([Unsayable()], "args[0]"),
        ([{"a": [1, {"b": Unsayable()}]}], "args[0].a[1].b"),
        ([math.nan], "args[0]"),
        ([1, [math.inf]], "args[1][0]"),
        ([{(1, 2): 3}], "args[0]"),
    ],
)
async def test_an_argument_that_json_cannot_say_is_refused_with_its_path(
    scene: Scene, args: list[object], path: str
) -> None:
    async with scene.enqueuer() as q:
        with pytest.raises(exq.ArgumentError) as refused:
            await q.enqueue("default", "Untyped", args)
    assert refused.value.path.startswith(path)
    assert refused.value.worker == "Untyped"
    assert await scene.keys() == set()


@pytest.mark.parametrize("call", [
    lambda: add.job(),  # type: ignore[call-arg]  # as untyped code calls it
    lambda: add.job(1, 2, 3),  # type: ignore[call-arg]  # as untyped code calls it
    lambda: add.job(1, wrong=2),  # type: ignore[call-arg]  # as untyped code calls it
    lambda: Sum.job(1),  # type: ignore[call-arg]  # as untyped code calls it
])  # fmt: skip
def test_a_job_that_does_not_fit_its_worker_cannot_be_made(call: Callable[[], object]) -> None:
    with pytest.raises(exq.ArgumentError):
        call()


@pytest.mark.parametrize("args", [[], [1, 2, 3], "text", {"left": 1}])
async def test_wrong_arguments_for_a_known_worker_are_refused_by_name_too(scene: Scene, args: list[object]) -> None:
    async with scene.open(add, queues=[]) as q:
        with pytest.raises(exq.ArgumentError) as refused:
            await q.enqueue("default", "add", args)
        assert refused.value.worker == "add"
        assert await scene.queue() == []


async def test_a_job_larger_than_allowed_is_refused(scene: Scene) -> None:
    async with scene.enqueuer(max_payload_bytes=1000) as q:
        with pytest.raises(exq.PayloadTooLarge) as refused:
            await q.enqueue("default", "Big", ["x" * 1000])
        assert refused.value.limit == 1000 < refused.value.size
    assert await scene.keys() == set()


@pytest.mark.parametrize(
    ("key", "problem"), [("queues", "set"), ("schedule", "zset"), ("queue:default", "list"), ("unique:t", "string")]
)
async def test_a_key_of_another_type_refuses_the_whole_call_and_is_named(scene: Scene, key: str, problem: str) -> None:
    await scene.redis.hset(scene.key(key), {"not": "ours"})
    async with scene.enqueuer() as q:
        with pytest.raises(exq.WrongType) as refused:
            await q.enqueue_all(
                [
                    add.job(1).on(queue="fine"),
                    add.job(1).on(after=60),
                    add.job(1).on(queue="default", unique_for=60, unique_token="t"),
                ]
            )
    error = refused.value
    assert (error.key, error.found, error.expected) == (scene.key(key), "hash", problem)
    assert await scene.keys() == {key}


async def test_a_misspelt_setting_is_an_error_that_names_it(scene: Scene) -> None:
    with pytest.raises(exq.ConfigError, match="concurency: is no setting; did you mean 'concurrency'") as refused:
        async with scene.open(add, concurency=3):
            pass
    assert refused.value.key == "concurency"


async def test_a_server_that_is_not_there_is_one_message_with_its_address() -> None:
    with pytest.raises(exq.RedisUnavailable) as away:
        async with exq.open(url="redis://:secret@127.0.0.1:1/3", workers=[add]):
            pass
    assert str(away.value).startswith("Redis at redis://127.0.0.1:1/3: ")
    assert "check the address" in str(away.value)
    assert not away.value.maybe_done
