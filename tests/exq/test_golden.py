"""Jobs that the real Exq, Sidekiq and Resque enqueued, pushed byte for byte, are worked as they were meant."""

from __future__ import annotations

import ast
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import coredis
import msgspec
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from .scene import Record, Scene, but_counters, until

GOLDEN = Path(__file__).parent.parent / "golden"

NAMESPACES = {
    "exq-0.23.0/01-enqueued.txt": "exq",
    "resque-2.7.0/01-pushed.json": "resque",
    "sidekiq-6.4.1/01-push.json": "",
    "sidekiq-7.3.10/01-push.json": "",
    "sidekiq-8.1.7/01-push.json": "",
}

Queues = dict[str, list[bytes]]
Runs = list[tuple[str, tuple[object, ...], Record, str]]


def queues_of(file: str) -> Queues:
    """The payloads in *file* by the key of their list, the head first."""
    text = (GOLDEN / file).read_text(encoding="utf-8")
    if file.endswith(".json"):
        keys = json.loads(text).items()
        return {key: [value.encode() for value in held["value"]] for key, held in keys if held["type"] == "list"}
    queues: Queues = {}
    for line in text.split("\n"):  # splitlines() would take U+2028 in a job for the end of its line
        if found := re.match(r"KEY  (\S+) +TYPE (\w+)", line):
            key, kind = found.groups()
        elif (found := re.match(r"  \[\d+\] (.*)", line)) and kind == "list":
            queues.setdefault(key, []).append(found[1].encode())
    return queues


def names_of(queues: Queues) -> list[str]:
    return [key.rpartition("queue:")[2] for key in queues]


class Workers:
    """Workers of every name in the files; they note what they are given, and fail when they are told to."""

    def __init__(self) -> None:
        self.runs: Runs = []
        self.fail = False
        names = ["NoopWorker", "EchoWorker", "FailWorker", "SleepWorker", "OptWorker"]
        self.all = [self._made(name) for name in [*names, "Some::ExternalJob", "Foo.BarWorker"]]

    def _made(self, name: str) -> object:
        @exq.worker(name=name)
        async def note(*args: object) -> None:
            job = exq.worker_job()
            self.runs.append((name, args, job.record, job.queue))
            if self.fail:
                raise ValueError("as told")

        return note


@pytest.fixture(params=NAMESPACES)
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def golden(valkey: EmbeddedServer, redis: coredis.Redis[bytes], file: str) -> Scene:
    """A scene that holds what *file* says, under the keys that it says."""
    for key, payloads in queues_of(file).items():
        await redis.rpush(key, payloads)
    return Scene(valkey.url, redis, NAMESPACES[file])


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


def expected(queues: Queues) -> list[tuple[str, list[object], str]]:
    """Worker, arguments and queue of every job."""
    jobs = [(msgspec.json.decode(one), key.rpartition("queue:")[2]) for key, held in queues.items() for one in held]
    return [(job["class"], job["args"], queue) for job, queue in jobs]


def sorted_by_text(values: Sequence[object]) -> list[str]:
    return sorted(map(repr, values))


def test_the_files_are_read_to_the_last_job() -> None:
    counts = {file: sum(map(len, queues_of(file).values())) for file in NAMESPACES}
    assert list(counts.values()) == [3, 5, 5, 6, 6]
    texts = [one.decode() for one in queues_of("exq-0.23.0/01-enqueued.txt")["exq:queue:default"]]
    assert "é\u2028/<\\" in texts[1]
    assert ast.literal_eval(texts[0].replace("null", "None"))["args"] == [12345678901234567890, 1e30]


async def test_every_job_is_performed_with_its_arguments_and_all_its_fields(golden: Scene, file: str) -> None:
    queues, workers = queues_of(file), Workers()
    wanted = expected(queues)
    async with golden.open(*workers.all, queues=names_of(queues)):
        await until(partial(counted, golden, len(wanted)))
    assert sorted_by_text([(name, list(args), queue) for name, args, _, queue in workers.runs]) == sorted_by_text(
        list(wanted)
    )
    written = [msgspec.json.decode(one) for held in queues.values() for one in held]
    seen = [record for _, _, record, _ in workers.runs]
    assert all(record["jid"] for record in seen)
    if file.startswith("resque"):
        assert len({record["jid"] for record in seen}) == len(seen)
        seen = [{field: value for field, value in record.items() if field != "jid"} for record in seen]
    assert sorted_by_text(list(seen)) == sorted_by_text(written)
    assert await golden.count("failed") == 0
    assert but_counters(await golden.keys()) <= {"queues"}


def after_failure(job: Record, queue: str) -> Record | None:
    """The known part of what Sidekiq writes of *job* after its first failure; None when nothing is kept of it."""
    if job.get("retry") is False:
        return None
    return {**job, "queue": job.get("retry_queue", queue), "error_class": "ValueError", "error_message": "as told"}


async def test_a_failed_job_is_written_back_field_by_field_and_comes_again(golden: Scene, file: str) -> None:
    queues, workers = queues_of(file), Workers()
    workers.fail = True
    before = time.time()
    async with golden.open(*workers.all, queues=names_of(queues), scheduler_enable=False):
        await until(partial(counted, golden, len(expected(queues))))
    after = time.time()
    given = [(record, queue) for _, _, record, queue in workers.runs]
    wanted = [one for record, queue in given if (one := after_failure(record, queue)) is not None]
    kept = {"retry": await golden.entries("retry"), "dead": await golden.entries("dead")}
    # In Exq's file one job may not be retried at all.
    assert all(job["retry"] == 0 for job in kept["dead"])
    assert all(job.get("retry", True) for job in kept["retry"])
    found = kept["retry"] + kept["dead"]
    for job in found:
        assert before <= job.pop("failed_at") <= after
        assert job.pop("retry_count") == 0
        if backtrace := job.get("backtrace"):
            lines = exq.Job({"error_backtrace": job.pop("error_backtrace")}, b"", "").error_backtrace
            assert lines
            assert len(lines) <= backtrace
    by_jid = {job["jid"]: job for job in found}
    assert by_jid == {job["jid"]: job for job in wanted}
    assert len(found) == len(wanted)

    for member, _ in await golden.scored("retry"):
        await golden.redis.zadd(golden.key("retry"), {member: 1.0})
    workers.fail, again = False, len(workers.runs)
    async with golden.open(*workers.all, queues=[*{*names_of(queues), "low"}]):
        await until(lambda: len(workers.runs) == again + len(kept["retry"]))
    second = [(name, list(args), record["jid"]) for name, args, record, _ in workers.runs[again:]]
    assert sorted_by_text(second) == sorted_by_text([(job["class"], job["args"], job["jid"]) for job in kept["retry"]])
    for _, _, record, _ in workers.runs[again:]:
        assert record["retry_count"] == 0
        assert {field: record[field] for field in by_jid[record["jid"]] if field != "enqueued_at"} == {
            field: value for field, value in by_jid[record["jid"]].items() if field != "enqueued_at"
        }


async def test_jobs_of_resque_have_an_id_in_redis_before_they_run(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes]
) -> None:
    scene = Scene(valkey.url, redis, "resque")
    held: list[list[bytes]] = []

    @exq.worker(name="NoopWorker")
    async def look(*args: object) -> None:
        held.append(await scene.backup(node_id))

    queues = queues_of("resque-2.7.0/01-pushed.json")
    twins = queues["resque:queue:default"][:2]
    assert twins[0] == twins[1]
    await redis.rpush("resque:queue:default", twins)
    async with scene.open(look, queues=[], concurrency=2) as q:
        node_id = str(q.node_id)
        await q.subscribe("default")
        await until(partial(counted, scene, 2))
    jobs = [msgspec.json.decode(one) for one in held[0]]
    assert [(job["class"], job["args"]) for job in jobs] == [("NoopWorker", [1, "é"])] * len(jobs)
    assert Counter(len(job["jid"]) for job in jobs) == {24: len(jobs)}
