"""Whatever lies in a queue, the schedule or the retries: what is no job goes to dead, and everything else goes on."""

from __future__ import annotations

import json

import msgspec
import pytest

import exq_anyio as exq

from .scene import Scene, payload, until

DEEP = 100_000

NOT_JSON = {
    "no bytes at all": b"",
    "text": b"hello",
    "half an object": b'{"class":"Good","args":[1',
    "two objects": b'{"class":"Good","args":[]} {"class":"Good","args":[]}',
    "bytes that are no UTF-8": b'{"class":"Good","args":["\xff\xfe"]}',
    "half a character": b'{"class":"Good","args":["\\ud800"]}',
    "bare NUL bytes": b'{"class":"Good\x00","args":[]}',
    "only NUL bytes": b"\x00" * 9,
    "a byte order mark": b'\xef\xbb\xbf{"class":"Good","args":[]}',
    "Marshal of Ruby": b'\x04\b{\x06I"\nclass\x06:\x06ET',
    "a number of 5,000 digits": b'{"class":"Good","args":[' + b"7" * 5000 + b"]}",
    "a number of -5,000 digits": b'{"class":"Good","args":[-' + b"7" * 5000 + b"]}",
    "a float that is none": b'{"class":"Good","args":[1e400]}',
    "not a number": b'{"class":"Good","args":[NaN]}',
    "an array as deep as a well": b'{"class":"Good","args":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "an object as deep as a well": b'{"class":"Good","args":[],"x":' + b'{"x":' * DEEP + b"1" + b"}" * (DEEP + 1),
    "a deep array that never ends": b"[" * DEEP,
}
NO_JOB = {
    "an array": b"[1]",
    "a string": b'"text"',
    "a number": b"42",
    "null": b"null",
    "true": b"true",
    "an object without anything": b"{}",
    "no class": b'{"args":[1],"jid":"x"}',
    "an empty class": b'{"class":"","args":[1]}',
    "a class that is a number": b'{"class":7,"args":[1]}',
    "a class that is an object": b'{"class":{"a":1},"args":[1]}',
    "no args": b'{"class":"Good","jid":"x"}',
    "args that are an object": b'{"class":"Good","args":{"a":1}}',
    "args that are a string": b'{"class":"Good","args":"[1]"}',
    "args that are null": b'{"class":"Good","args":null}',
}
GARBAGE = {**NOT_JSON, **NO_JOB}


class Good:
    def __init__(self) -> None:
        self.ran: list[object] = []

        @exq.worker(name="Good")
        async def good(number: object) -> None:
            self.ran.append(number)

        self.worker = good


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "exq_anyio" and record.levelname != "INFO"
    ]


def check_wrapped(entry: bytes, garbage: bytes, queue: str) -> None:
    job = msgspec.json.decode(entry)
    assert (job["class"], job["args"], job["queue"]) == ("MalformedPayload", [garbage.decode()], queue)
    assert (job["retry"], job["retry_count"], job["error_class"]) == (False, 0, "MalformedPayload")
    assert job["jid"]
    assert job["error_message"]
    # Sidekiq's page of a dead job needs them.
    assert job["failed_at"] == job["created_at"] == job["enqueued_at"]


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_in_a_queue_is_dead_logged_once_and_the_queue_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    garbage, good = GARBAGE[kind], Good()
    await scene.push("default", payload("Good", 1), garbage, payload("Good", 2))
    async with scene.open(good.worker, concurrency=1) as q:
        await until(lambda: good.ran == [1, 2])
        await until(lambda: settled(scene, str(q.node_id)))
        ((entry, _),) = await scene.scored("dead")
    if kind in NOT_JSON:
        assert entry == garbage
    else:
        check_wrapped(entry, garbage, "default")
    assert await scene.queue() == []
    assert (await scene.count("processed"), await scene.count("failed")) == (2, 0)
    (line,) = errors(caplog)
    assert "no job, moved to dead" in line
    assert "queue=default" in line
    assert len(line) < 500


async def settled(scene: Scene, node_id: str) -> bool:
    return not await scene.backup(node_id)


@pytest.mark.parametrize("where", ["schedule", "retry"])
@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_among_the_jobs_for_later_is_dead_logged_once_and_the_others_are_moved(
    scene: Scene, caplog: pytest.LogCaptureFixture, kind: str, where: str
) -> None:
    garbage, good = GARBAGE[kind], Good()
    await scene.redis.zadd(scene.key(where), {payload("Good", 1): 1.0, garbage: 2.0, payload("Good", 2): 3.0})
    async with scene.open(good.worker, concurrency=1):
        await until(lambda: good.ran == [1, 2])
        ((entry, _),) = await until(lambda: scene.scored("dead"))
    if kind in NOT_JSON:
        assert entry == garbage
    else:
        check_wrapped(entry, garbage, "default")
    assert await scene.scored(where) == []
    (line,) = errors(caplog)
    assert "moved to dead" in line
    assert where in line


async def test_a_job_that_is_larger_than_may_be_read_is_dead_as_it_is(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    good = Good()
    large = payload("Good", "x" * 2000)
    await scene.push("default", large, payload("Good", 1))
    await scene.redis.zadd(scene.key("schedule"), {payload("Good", "y" * 2000): 1.0})
    async with scene.open(good.worker, max_read_bytes=1500, max_payload_bytes=1000):
        await until(lambda: good.ran == [1])
        dead = await until(lambda: both(scene))
    assert large in dead
    dead.remove(large)
    assert msgspec.json.decode(dead[0])["args"] == ["y" * 2000]
    lines = errors(caplog)
    assert len(lines) == 2
    assert all("max_read_bytes" in line and "xx" not in line and "yy" not in line for line in lines)


async def both(scene: Scene) -> list[bytes]:
    dead = [member for member, _ in await scene.scored("dead")]
    return dead if len(dead) == 2 else []


ODD: dict[str, dict[str, object]] = {
    "a jid that is a number": {"jid": 7},
    "a jid that is null": {"jid": None},
    "no jid to speak of": {"jid": ""},
    "a retry that is text": {"retry": "yes"},
    "a negative retry": {"retry": -3},
    "a retry that is enormous": {"retry": 10**30},
    "counts that are text": {"retry_count": "one", "rescue_count": [], "snooze_count": {}},
    "counts that are enormous": {"retry_count": 10**30, "rescue_count": 10**30, "snooze_count": 10**30},
    "counts that are negative": {"retry_count": -1, "rescue_count": -1},
    "times that are text": {"created_at": "now", "enqueued_at": "2026-01-01", "failed_at": [], "rescued_at": {}},
    "times of no calendar": {"created_at": 1e308, "enqueued_at": -1, "rescued_at": 10**30},
    "a queue that is a number": {"queue": 7},
    "a queue of control characters": {"queue": "\n\x00"},
    "a retry_queue that is none": {"retry_queue": ["x"]},
    "a timeout that is text": {"timeout": "soon"},
    "a timeout of no time": {"timeout": 0},
    "a timeout of all time": {"timeout": 1e308},
    "tags that are a number": {"tags": 7, "meta": [1]},
    "a lock that is none": {"unique_token": 7, "unique_until": 8, "unique_for": "x"},
    "a lock without an end": {"unique_token": "t", "unique_until": "never"},
    "a backtrace that is text": {"backtrace": "all", "error_backtrace": 7},
    "a dead that is text": {"dead": "no"},
    "the same field twice": {},
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_job_with_odd_fields_is_performed_like_any_other_and_keeps_them(
    scene: Scene, kind: str, fails: bool
) -> None:
    ran: list[exq.Job] = []

    @exq.worker(name="Good")
    async def good(number: int) -> None:
        ran.append(exq.worker_job())
        if fails:
            raise ValueError("boom")

    record = {"class": "Good", "args": [1], "jid": "jid", "retry": True, **ODD[kind]}
    text = json.dumps(record)
    if kind == "the same field twice":
        text = text.replace('"jid": "jid"', '"jid": "first", "jid": "jid"')
    await scene.push("default", text.encode(), payload("Good", 2))
    async with scene.open(good, concurrency=1, scheduler_enable=False) as q:
        await until(lambda: len(ran) == 2)
        await until(lambda: settled(scene, str(q.node_id)))
    assert [job.args for job in ran] == [[1], [2]]
    # Nothing that a job can be asked fails.
    job = ran[0]
    names = [name for name in dir(exq.Job) if isinstance(getattr(exq.Job, name), property)]
    assert len([getattr(job, name) for name in names]) > 15
    assert await scene.count("processed") == 2
    if not fails:
        return
    ends = [*await scene.entries("retry"), *await scene.entries("dead")]
    (end,) = [end for end in ends if end["args"] == [1]]
    ours = {"jid", "queue", "error_class", "error_message", "error_backtrace", "retry_count", "failed_at", "retried_at"}
    theirs = {name: value for name, value in record.items() if name not in ours}
    assert {name: end[name] for name in theirs} == theirs
