"""What a node counts by worker: under the keys, in the shapes and with the expiries that Sidekiq was seen to write."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Literal, get_args

import anyio
import coredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exq_anyio as exq
from exq_anyio.api import HISTOGRAM_LIMITS, Deploy
from exq_anyio.job import Timestamps
from exq_anyio.metrics import BUCKETS, Batch, Count, Meter, minute_key, parse_counts, parse_histogram
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.redis.keys import Keys

from ..exq.scene import Scene, until
from .golden import State, load, read

MINUTES = 8 * 3600

AT_219 = datetime(2026, 11, 24, 2, 19, 30, tzinfo=UTC).timestamp()
AT_221 = datetime(2026, 11, 24, 2, 21, 1, tzinfo=UTC).timestamp()
EARLY = datetime(2031, 1, 5, 0, 3, tzinfo=UTC).timestamp()


def metric_keys(state: State) -> set[str]:
    return {key for key in state if key.startswith(("j|", "h|", "SleepWorker-"))}


def test_the_keys_are_those_that_sidekiq_7_and_8_write() -> None:
    keys = Keys("")
    seven = read("sidekiq-7.3.10/06-stop.json")
    assert metric_keys(seven) == {keys.minute(AT_219, "seconds"), keys.histogram("SleepWorker", AT_219, "seconds")}
    eight = read("sidekiq-8.1.7/06-stop.json")
    assert metric_keys(eight) == {
        keys.minute(AT_221, "milliseconds"), keys.ten_minutes(AT_221),
        keys.histogram("SleepWorker", AT_221, "milliseconds"),
    }  # fmt: skip
    assert keys.marks(AT_221) in read("sidekiq-8.1.7/13-deploy.json")
    assert keys.deploy_lock("v1.2 deploy") in read("sidekiq-8.1.7/13-deploy.json")


def test_numbers_below_ten_are_written_as_sidekiq_writes_them() -> None:
    # Sidekiq 7: %Y%m%d|%-H:%-M and %d-%H:%-M; Sidekiq 8: %y%m%d|%-H:%M, without its last digit, and %-d-%-H:%-M.
    keys = Keys("exq")
    assert keys.minute(EARLY, "seconds") == "exq:j|20310105|0:3"
    assert keys.histogram("A::B", EARLY, "seconds") == "exq:A::B-05-00:3"
    assert keys.minute(EARLY, "milliseconds") == "exq:j|310105|0:03"
    assert keys.ten_minutes(EARLY) == "exq:j|310105|0:0"
    assert keys.histogram("A::B", EARLY, "milliseconds") == "exq:h|A::B-5-0:3"


def test_counts_that_sidekiq_wrote_are_read() -> None:
    state = read("sidekiq-8.1.7/07-fails.json")
    fields = {field: value.encode() for field, value in state["j|261124|2:21"].value.items()}
    counts = parse_counts(fields)
    assert counts["FailWorker"] == Count(processed=6, failed=6)
    assert counts["NoopWorker"].processed == 1
    assert parse_histogram(state["h|NoopWorker-24-2:21"].value.encode("latin-1"))[0] == 1
    slow = read("sidekiq-7.3.10/06-stop.json")
    held = parse_histogram(slow["SleepWorker-24-02:19"].value.encode("latin-1"))
    (bucket,) = (at for at, count in enumerate(held) if count)
    # Two runs of 25 seconds.
    assert (held[bucket], HISTOGRAM_LIMITS[bucket - 1], HISTOGRAM_LIMITS[bucket]) == (2, 20, 30)


def test_what_is_no_count_is_passed_over() -> None:
    assert parse_counts({"A|p": b"x", "A|ms": b"-4", "A|what": b"1", "odd": b"1", "B|C|p": b"2"}) == {
        "A": Count(), "B|C": Count(processed=2),
    }  # fmt: skip
    assert parse_histogram(b"\x00\x02\x01") == [2, 256] + [0] * (BUCKETS - 2)
    assert parse_histogram(b"\xff" * 100) == [0xFFFF] * BUCKETS


# The meter

Step = tuple[str, float, bool] | Literal["batch", "written"]
RUN = st.tuples(st.sampled_from("AB"), st.floats(0, 400), st.booleans())


@given(st.lists(st.one_of(RUN, st.sampled_from(["batch", "written"]))))
def test_every_run_is_in_one_batch_whatever_is_lost_on_the_way(steps: list[Step]) -> None:
    meter, runs, batches = Meter("seconds", lambda: 5.0), list[tuple[str, float, bool]](), dict[int, Batch]()
    for step in [*steps, "batch", "written", "batch"]:  # the last batch may be another, after one that was lost
        match step:
            case (str(worker), float(seconds), bool(failed)):
                runs.append((worker, seconds, failed))
                meter.count(worker, seconds, failed=failed)
            case "batch":
                batch = meter.batch()
                assert batches.setdefault(batch.number, batch) == batch  # a number is always the same
            case _ if batches:
                meter.written(batches[max(batches)])
    written = [one for number, batch in batches.items() if number for one in batch.workers]
    for worker in "AB":
        of_worker = [one for one in written if one.worker == worker]
        took = [seconds for name, seconds, failed in runs if name == worker and not failed]
        assert sum(one.count.processed for one in of_worker) == sum(name == worker for name, _, _ in runs)
        assert sum(one.count.failed for one in of_worker) == sum(name == worker and bad for name, _, bad in runs)
        assert sum(one.count.milliseconds for one in of_worker) == pytest.approx(sum(took) * 1000, abs=1)
        buckets: Counter[int] = Counter()
        for one in of_worker:
            buckets.update(one.buckets)
        assert sum(buckets.values()) == len(took)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (0.01999, 0), (0.02, 1), (0.28, 7), (334.9, 24), (335, 25), (1e9, 25)]
)
def test_a_run_is_in_the_first_bucket_whose_limit_it_is_below(seconds: float, bucket: int) -> None:
    meter = Meter("seconds", lambda: 5.0)
    meter.count("A", seconds, failed=False)
    (one,) = meter.batch().workers
    assert one.buckets == {bucket: 1}
    assert len(HISTOGRAM_LIMITS) == BUCKETS


def test_nothing_is_lost_between_the_loop_that_counts_and_the_thread_that_reads() -> None:
    meter, found, stop = Meter("seconds", lambda: 5.0), list[int](), threading.Event()

    def read() -> None:
        while not stop.is_set() or meter.batch().number:
            batch = meter.batch()
            found.extend(one.count.processed for one in batch.workers)
            meter.written(batch)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50_000):
        meter.count(f"worker {number % 50}", 0.001, failed=False)
    stop.set()
    reader.join()
    assert sum(found) == 50_000


# On a real server


def mixed(q: exq.Exq) -> list[exq.JobSpec]:
    names = ["Quick", "Quick", "Fails", "Snoozes", "Dies", "NoSuchWorker"]
    return [exq.JobSpec(worker=name, args=()).on(max_retries=0) for name in names]


@exq.worker(name="Quick")
async def quick() -> None: ...


@exq.worker(name="Fails")
async def fails() -> None:
    raise ValueError("no")


@exq.worker(name="Snoozes")
async def snoozes() -> exq.Snooze:
    return exq.Snooze(3600)


@exq.worker(name="Dies")
def dies() -> exq.Dead:
    return exq.Dead("hopeless")


WORKERS = (quick, fails, snoozes, dies)


@pytest.mark.parametrize("unit", get_args(Timestamps))
async def test_what_a_node_did_is_counted_by_worker_where_that_sidekiq_looks(scene: Scene, unit: Timestamps) -> None:
    async with scene.open(*WORKERS, timestamps=unit, heartbeat_interval=0.05) as q:
        before = datetime.now(UTC).timestamp()
        await q.enqueue_all(mixed(q))
        await until(lambda: all_counted(q, 5))
        after = datetime.now(UTC).timestamp()
        metrics = await q.api.metrics(minutes=5)
    counted = {of.worker: (of.processed, of.failed) for of in metrics.workers}
    assert counted == {"Quick": (2, 0), "Fails": (1, 1), "Snoozes": (1, 0), "Dies": (1, 1)}
    keys = await scene.keys()
    minutes = {minute_key(at, unit) for at in (before, after)} & keys
    assert {key for key in keys if key.startswith("j|")} - minutes <= {
        Keys("").ten_minutes(at) for at in (before, after)
    }
    for key in minutes:
        assert MINUTES - 60 < await scene.redis.ttl(scene.key(key)) <= MINUTES
    assert {Keys("").histogram("Quick", at, unit) for at in (before, after)} & keys


async def all_counted(q: exq.Exq, runs: int) -> bool:
    return sum(of.processed for of in (await q.api.metrics(minutes=5)).workers) == runs


async def all_processed(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


async def test_what_a_node_did_last_is_counted_when_it_leaves(scene: Scene) -> None:
    async with scene.open(*WORKERS, heartbeat_interval=30) as q:  # its first beat found nothing
        await until(lambda: scene.hash(str(q.node_id)))
        await q.enqueue_all(mixed(q))
        await until(lambda: all_processed(scene, 6))
        assert (await q.api.metrics()).workers == ()
    async with scene.open(mode="api") as q:
        assert await all_counted(q, 5)


async def test_a_run_that_was_not_counted_as_processed_is_not_counted_by_worker_either(scene: Scene) -> None:
    started = anyio.Event()

    @exq.worker(name="Endless")
    async def endless() -> None:
        started.set()
        await anyio.sleep_forever()

    async with scene.open(quick, endless, heartbeat_interval=0.05, shutdown_timeout=0) as q:
        await q.enqueue("default", endless)
        await started.wait()
    async with scene.open(mode="api") as q:
        assert (await q.api.metrics()).workers == ()


@pytest.mark.parametrize("file", ["sidekiq-7.3.10/06-stop.json", "sidekiq-8.1.7/06-stop.json"])
async def test_our_keys_have_the_types_fields_and_expiries_of_sidekiqs(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], file: str
) -> None:
    theirs = read(file)
    unit: Timestamps = "milliseconds" if "8.1" in file else "seconds"
    now = AT_221 if unit == "milliseconds" else AT_219
    ours = Scene(valkey.url, redis, "")

    @exq.worker(name="SleepWorker")
    async def sleeps() -> None: ...

    async with ours.open(sleeps, timestamps=unit) as q:
        node = q._node
        assert node is not None
        node._meter._clock = lambda: now
        for _ in range(2):
            await q.enqueue("default", sleeps)
        await until(lambda: all_processed(ours, 2))
    for key in metric_keys(theirs):
        held = theirs[key]
        assert await redis.type(key) == held.kind.encode()
        assert held.seconds == pytest.approx(await redis.ttl(key), abs=60)
        if held.kind == "hash":
            assert {field.decode() for field in await redis.hgetall(key)} <= set(held.value)
    assert (await redis.hgetall(Keys("").minute(now, unit)))[b"SleepWorker|p"] == b"2"


async def test_the_metrics_and_deploys_of_sidekiq_are_found(
    scene: Scene, valkey: EmbeddedServer, redis: coredis.Redis[bytes]
) -> None:
    await load(redis, read("sidekiq-7.3.10/13-deploy.json"))
    await load(redis, read("sidekiq-8.1.7/13-deploy.json"))
    state = {**read("sidekiq-8.1.7/06-stop.json"), **read("sidekiq-7.3.10/06-stop.json")}
    await load(redis, {key: held for key, held in state.items() if key in metric_keys(state)})
    async with exq.open(url=scene.url, namespace="", mode="api") as q:
        q.api._clock = lambda: AT_221 + 60
        metrics = await q.api.metrics(minutes=5)
        one = await q.api.worker_metrics("SleepWorker", minutes=5)
        rough = await q.api.metrics(hours=1)
    (sleeps,) = metrics.workers
    assert [point.processed for point in sleeps.points] == [0, 2, 0, 2, 0]
    assert sleeps.average == pytest.approx(25, abs=0.01)
    assert sleeps.failed == 0
    assert [point.histogram[18] for point in one.points] == [0, 2, 0, 2, 0]
    assert one.histogram[18] == sum(one.histogram) == 4
    assert [point.processed for point in rough.workers[0].points] == [0, 0, 0, 0, 0, 2]  # Sidekiq 7 has none of these
    assert metrics.deploys == tuple(
        Deploy(datetime(2026, 11, 24, 2, minute, tzinfo=UTC), "v1.2 deploy") for minute in (20, 22)
    )
