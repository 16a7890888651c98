"""What Exq, Sidekiq and Resque really wrote, as the API shows it; and what it makes of their jobs, as Sidekiq's did."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import coredis
import pytest

import exq_anyio as exq
from exq_anyio.api import Api, Entry, NodeInfo

from ..exq.scene import Scene
from ..wire.golden import GOLDEN, load, read
from .conftest import decoded

SIDEKIQS = ["sidekiq-6.4.1", "sidekiq-7.3.10", "sidekiq-8.1.7"]


@asynccontextmanager
async def loaded(scene: Scene, file: str, namespace: str = "") -> AsyncIterator[Api]:
    await load(scene.redis, read(file))
    async with exq.open(url=scene.url, namespace=namespace, mode="api") as q:
        yield q.api


def at(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


@pytest.mark.parametrize("version", SIDEKIQS)
async def test_sidekiqs_nodes_and_running_jobs_are_what_its_own_api_said(scene: Scene, version: str) -> None:
    said = json.loads((GOLDEN / version / "04-inspect.json").read_text())
    async with loaded(scene, f"{version}/04-in_progress.json") as api:
        (theirs,) = said["processes"]["entries"]
        assert await api.nodes() == [
            NodeInfo(
                node_id=theirs["identity"], host="vm", pid=theirs["pid"], started=at(theirs["started_at"]),
                beat=at(theirs["beat"]), queues=("default", "low"), concurrency=3, busy=2, quiet=False,
                rss=theirs["rss"], rtt=theirs["rtt_us"] / 1e6, tag=theirs["tag"], version=theirs.get("version") or "",
                labels=(),
            )
        ]  # fmt: skip
        busy = await api.busy()
        # Sidekiq 6 nests what it says, and has decoded the payload.
        works = [(one, one.get("work", one)) for one in said["workers"]["entries"]]
        records = [one["payload"] if isinstance(one["payload"], dict) else decoded(one["payload"]) for _, one in works]
        assert sorted((one.node_id, one.thread, one.queue, one.jid, one.worker) for one in busy) == sorted(
            (one["process"], one["tid"], work["queue"], record["jid"], record["class"])
            for (one, work), record in zip(works, records, strict=True)
        )
        assert all(one.started is not None and one.started.timestamp() > 1.79e9 for one in busy)
        stats = await api.stats()
        assert (stats.nodes, stats.busy) == (1, 2)


async def test_exqs_node_and_running_jobs_are_shown(scene: Scene) -> None:
    async with loaded(scene, "exq-0.23.0/04-in-progress.txt", "exq") as api:
        (node,) = await api.nodes()
        assert node == NodeInfo(
            node_id="vm", host="vm", pid=15988, started=at(1795486360.785524), beat=at(1795486365.789776),
            queues=("default", "other"), concurrency=0, busy=3, quiet=False, rss=None, rtt=None, tag="", version="",
            labels=(),
        )  # fmt: skip
        assert [(one.thread, one.queue, one.jid) for one in await api.busy()] == [
            ("#PID<0.156.0>", "other", "b2dac3dc-cb13-42e9-b208-b5c9f5cff92a"),
            ("#PID<0.157.0>", "default", "10483215-d10c-4158-90f0-f979c83e8641"),
            ("#PID<0.158.0>", "default", "6cf79b88-93ad-48d2-b33b-cf1195f9fedd"),
        ]
        assert [(queue.name, queue.size) for queue in await api.queues()] == [("default", 1), ("other", 0)]


@pytest.mark.parametrize("version", SIDEKIQS)
async def test_sidekiqs_sets_are_read_whole(scene: Scene, version: str) -> None:
    said = json.loads((GOLDEN / version / "07-inspect.json").read_text())
    async with loaded(scene, f"{version}/07-fails.json") as api:
        for jobs, theirs in ((api.retries(), said["retry"]), (api.dead(), said["dead"])):
            ours = [entry async for entry in jobs]
            assert len(ours) == theirs["size"]
            assert sorted(entry.score or 0 for entry in ours) == sorted(one["score"] for one in theirs["entries"])
        stats = await api.stats()
        assert (stats.processed, stats.failed) == (said["stats"]["processed"], said["stats"]["failed"])


@pytest.mark.parametrize("version", SIDEKIQS)
async def test_a_retry_makes_of_sidekiqs_job_what_its_own_button_made(scene: Scene, version: str) -> None:
    after = {
        decoded(payload.encode())["jid"]: decoded(payload.encode())
        for key in ("09-api", "10-api2")
        for name, held in read(f"{version}/{key}.json").items()
        if name.startswith("queue:")
        for payload in held.value
    }
    unit = "milliseconds" if version == "sidekiq-8.1.7" else "seconds"
    await load(scene.redis, read(f"{version}/08-second_failure.json"))
    async with exq.open(url=scene.url, namespace="", mode="api", timestamps=unit) as q:
        entries = [entry async for entry in q.api.retries() if entry.jid in after]
        assert entries
        for entry in entries:
            assert await q.api.retries().retry(entry) is True
            made = await _enqueued(q.api, entry)
            assert type(made["enqueued_at"]) is type(after[entry.jid]["enqueued_at"])
            assert {**made, "enqueued_at": 0} == {**after[entry.jid], "enqueued_at": 0}


async def _enqueued(api: Api, entry: Entry) -> dict[str, object]:
    found = (await api.jobs(entry.queue).find(entry.jid)).entry
    assert found is not None
    return decoded(found.payload)


async def test_exqs_dead_jobs_are_shown_with_what_it_wrote(scene: Scene) -> None:
    async with loaded(scene, "exq-0.23.0/10-dead.txt", "exq") as api:
        newest, oldest = [entry async for entry in api.dead()]
        assert (newest.at, oldest.at) == (at(1795486382.2021799), at(1795486380.9873891))
        assert newest.job is not None
        assert newest.job.error_class == "ExqGenericError"
        found = await api.dead().find(newest.jid, score=1795486382.2021799)
        assert found.entry is not None
        assert await api.dead().delete(found.entry) is True


@pytest.mark.parametrize("step", ["01-pushed", "02-working"])
async def test_resques_jobs_have_no_jid_and_are_shown_and_deleted_by_their_bytes(scene: Scene, step: str) -> None:
    async with loaded(scene, f"resque-2.7.0/{step}.json", "resque") as api:
        assert await api.nodes() == []
        for queue in await api.queues():
            assert queue.latency == 0.0
            entries = [entry async for entry in api.jobs(queue.name)]
            assert len(entries) == queue.size
            for entry in entries:
                assert (entry.jid, entry.problem) == ("", "")
                assert await api.jobs(queue.name).delete(entry) is True
            assert await api.jobs(queue.name).size() == 0


@pytest.mark.parametrize("version", SIDEKIQS)
@pytest.mark.parametrize(("step", "act"), [("05-quiet-signal", "quiet"), ("06-stop-signal", "stop")])
async def test_signals_are_byte_for_byte_those_of_sidekiq(
    scene: Scene, redis: coredis.Redis[bytes], version: str, step: str, act: str
) -> None:
    ((key, held),) = read(f"{version}/{step}.json").items()
    async with loaded(scene, f"{version}/04-in_progress.json") as api:
        assert await getattr(api, act)(key.removesuffix("-signals")) == [key.removesuffix("-signals")]
    assert [signal.decode() for signal in await redis.lrange(key, 0, -1)] == held.value
    assert held.seconds - 5 < await redis.ttl(key) <= held.seconds


@pytest.mark.parametrize(
    ("written", "jid"),
    [
        ({"queue": "q", "payload": {"class": "W", "args": [1], "jid": "old"}, "run_at": 1.79e9}, "old"),  # Sidekiq 5
        ({"queue": "q", "payload": "{not json", "run_at": 1.79e9}, ""),
        ({"queue": "q"}, ""),
        ([1], ""),
    ],
)
async def test_a_running_job_that_is_written_otherwise_hides_no_other(
    scene: Scene, redis: coredis.Redis[bytes], written: object, jid: str
) -> None:
    async with loaded(scene, "sidekiq-8.1.7/04-in_progress.json") as api:
        await redis.hset("vm:28795:000d11a0dd6f:work", {"odd": json.dumps(written), "worse": b"\xff"})
        await redis.set("vm:28795:000d11a0dd6f:workers", "text")
        busy = {one.thread: one for one in await api.busy()}
        assert busy.keys() == {"n3b", "n2j", "odd", "worse"}
        assert (busy["odd"].jid, busy["odd"].job is None, busy["n3b"].worker) == (jid, not jid, "SleepWorker")
        assert (busy["worse"].job, busy["worse"].payload, busy["worse"].started) == (None, b"\xff", None)
