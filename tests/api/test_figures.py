"""Counters, queues and nodes: what is there, and what is not, and what somebody broke."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

import exq_anyio as exq
from exq_anyio.api import Day, NodeInfo, QueueInfo, Second, Stats
from exq_anyio.errors import InvalidQueue, WrongMode, WrongType

from ..exq.scene import Scene, until
from .conftest import NOW, Site, failed, job

NOTHING = Stats(processed=0, failed=0, enqueued=0, scheduled=0, retry=0, dead=0, busy=0, nodes=0)


async def test_where_nothing_is_every_figure_is_nothing(site: Site) -> None:
    api = site.api
    assert await api.stats() == NOTHING
    assert (await api.queues(), await api.nodes(), await api.busy()) == ([], [], [])
    assert all((day.processed, day.failed) == (0, 0) for day in await api.history(5))
    assert all((second.processed, second.failed) == (0, 0) for second in await api.realtime(5))
    assert await site.state() == {}


async def test_every_figure_is_counted(site: Site) -> None:
    await site.put(
        queues={b"q", b"empty", b"mail"}, queue_q=[job("a"), job("b")], queue_mail=[job("c")],
        schedule={job("d"): NOW}, retry={failed("e"): NOW, failed("f"): NOW}, dead={failed("g"): NOW},
        processes={b"one", b"two", b"expired"},
    )  # fmt: skip
    await site.put_at("queue:unknown", [job("of nobody's queue")])
    await site.put_at("stat:processed", b"12")
    await site.put_at("stat:failed", b"5")
    await site.put_at("one", {b"busy": b"3", b"info": b"{}"})
    await site.put_at("two", {b"busy": b"4"})
    assert await site.api.stats() == Stats(
        processed=12, failed=5, enqueued=3, scheduled=1, retry=2, dead=1, busy=7, nodes=2
    )


async def test_what_somebody_broke_counts_nothing_and_hides_nothing(site: Site) -> None:
    await site.put(queues={b"q", b"broken"}, queue_q=[job("a")], processes={b"n", b"odd", b"text"})
    await site.put_at("queue:broken", b"text")
    await site.put_at("stat:processed", b"no number")
    await site.put_at("stat:failed", [b"a list"])
    await site.put_at("n", {b"busy": b"2"})
    await site.put_at("odd", {b"busy": b"many"})
    await site.put_at("text", b"text")
    today = datetime.now(UTC)
    await site.put_at(f"stat:failed:{today:%Y-%m-%d}", [b"a list"])
    await site.put_at(f"stat:processed:{today:%Y-%m-%d}", b"3")
    assert await site.api.stats() == Stats(
        processed=0, failed=0, enqueued=1, scheduled=0, retry=0, dead=0, busy=2, nodes=2
    )
    assert [queue.size for queue in await site.api.queues()] == [0, 1]
    assert sum(day.processed for day in await site.api.history(2)) == 3


async def test_a_set_of_another_type_is_named(site: Site) -> None:
    await site.put(retry=[b"a list"])
    with pytest.raises(WrongType) as caught:
        await site.api.stats()
    assert (caught.value.key, caught.value.expected, caught.value.found) == (site.key("retry"), "zset", "list")


async def test_history_is_by_day_today_first(site: Site) -> None:
    today = datetime.now(UTC).date()
    for back, (processed, lost) in enumerate([(10, 1), (20, 2)]):
        day = today - timedelta(days=2 * back)
        await site.put_at(f"stat:processed:{day}", b"%d" % processed)
        await site.put_at(f"stat:failed:{day}", b"%d" % lost)
    history = await site.api.history(4)
    if history[0].date == today:  # or midnight has passed
        assert history == [
            Day(today, 10, 1), Day(today - timedelta(days=1), 0, 0),
            Day(today - timedelta(days=2), 20, 2), Day(today - timedelta(days=3), 0, 0),
        ]  # fmt: skip
    assert len(await site.api.history()) == 30
    assert len(await site.api.history(1825)) == 1825


async def test_realtime_is_by_second_the_latest_last(site: Site) -> None:
    now = int(time.time())
    for back in range(10):
        at = datetime.fromtimestamp(now - back, UTC)
        await site.put_at(f"stat:processed_rt:{at:%Y-%m-%d %H:%M:%S}Z", b"%d" % (100 + back))
    await site.put_at(f"stat:failed_rt:{datetime.fromtimestamp(now - 1, UTC):%Y-%m-%d %H:%M:%S}Z", b"9")
    seconds = await site.api.realtime(30)
    assert [second.at for second in seconds] == sorted(second.at for second in seconds)
    assert len(seconds) == 30
    assert Second(datetime.fromtimestamp(now - 1, UTC), 101, 9) in seconds
    assert Second(datetime.fromtimestamp(now - 2, UTC), 102, 0) in seconds


async def test_what_an_instance_counts_is_what_the_api_says(scene: Scene) -> None:
    async def fails(number: int) -> None:
        if number:
            raise ValueError

    async with scene.open(exq.worker(name="fails")(fails), queues=["q"], concurrency=5) as q:
        for number in (0, 1, 1):
            await q.enqueue("q", "fails", [number], max_retries=0)
        await until(lambda: _counted(q, 3))
        stats = await q.api.stats()
        assert (stats.processed, stats.failed, stats.dead, stats.enqueued) == (3, 2, 2, 0)
        history, seconds = await q.api.history(2), await q.api.realtime(60)
        assert (sum(day.processed for day in history), sum(day.failed for day in history)) == (3, 2)
        assert await until(lambda: _in_seconds(q)) == (3, 2)
        assert len(seconds) == 60


async def _counted(q: exq.Exq, number: int) -> bool:
    return (await q.api.stats()).processed == number


async def _in_seconds(q: exq.Exq) -> tuple[int, int] | None:
    """What the last minute counted, once the second that counted it is over."""
    seconds = await q.api.realtime(60)
    found = sum(second.processed for second in seconds), sum(second.failed for second in seconds)
    return found if found[0] == 3 else None


@pytest.mark.parametrize("days", [0, -1, 1826])
async def test_days_and_seconds_out_of_range_are_refused(site: Site, days: int) -> None:
    with pytest.raises(ValueError, match="days must be from 1 to 1825"):
        await site.api.history(days)
    with pytest.raises(ValueError, match="seconds must be from 1 to 120"):
        await site.api.realtime(days)


# Queues


@pytest.mark.parametrize(("enqueued", "unit"), [(90.5, "float seconds"), (90.5, "milliseconds")])
async def test_latency_is_the_wait_of_the_job_that_is_next_in_either_unit(
    site: Site, enqueued: float, unit: str
) -> None:
    at = time.time() - enqueued
    stamp = at if unit == "float seconds" else int(at * 1000)
    await site.put(queues={b"q"}, queue_q=[job("newest", enqueued_at=at + 60), job("oldest", enqueued_at=stamp)])
    (queue,) = await site.api.queues()
    assert (queue.name, queue.size, queue.paused, queue.known) == ("q", 2, False, True)
    assert enqueued <= queue.latency < enqueued + 30


@pytest.mark.parametrize(
    "oldest", [b"{not json", b"[1]", b"", job("a"), job("a", enqueued_at="soon"), job("a", enqueued_at=4e9)]
)
async def test_a_job_that_does_not_say_when_it_was_enqueued_has_not_waited(site: Site, oldest: bytes) -> None:
    await site.put(queue_q=[oldest])
    assert await site.api.queue("q") == QueueInfo(name="q", size=1, latency=0.0, paused=False, known=False)


async def test_queues_come_by_name_with_the_paused_ones_marked(site: Site) -> None:
    await site.put(queues={b"b", b"a", "é".encode()}, paused={b"a", b"gone"}, queue_b=[job("x")])
    assert [(queue.name, queue.size, queue.paused, queue.known) for queue in await site.api.queues()] == [
        ("a", 0, True, True), ("b", 1, False, True), ("é", 0, False, True),
    ]  # fmt: skip
    assert await site.api.queue("gone") == QueueInfo(name="gone", size=0, latency=0.0, paused=True, known=False)


async def test_a_queue_that_nobody_knows_is_empty_and_a_name_that_cannot_be_is_refused(site: Site) -> None:
    assert await site.api.queue("none") == QueueInfo(name="none", size=0, latency=0.0, paused=False, known=False)
    with pytest.raises(InvalidQueue):
        await site.api.queue("")


# Nodes


async def test_our_own_node_says_all_there_is_to_say(scene: Scene) -> None:
    async with scene.open(queues={"a": 3, "b": 4}, node_identifier="host", name="mine") as q:
        (node,) = await until(lambda: q.api.nodes())
        now = datetime.now(UTC)
        assert node.started is not None
        assert node.beat is not None
        assert abs(now - node.started) < timedelta(minutes=1) > abs(now - node.beat)
        assert node.rss is not None
        assert node.rss > 10_000
        assert node.rtt is not None
        import os

        assert node == NodeInfo(
            node_id="host#1", host="host", pid=os.getpid(), started=node.started, beat=node.beat, queues=("a", "b"),
            concurrency=7, busy=0, quiet=False, rss=node.rss, rtt=node.rtt, tag="mine", version=exq.__version__,
            labels=("exq_anyio",),
        )  # fmt: skip
    async with scene.open(mode="api") as q:
        assert await q.api.nodes() == []


@pytest.mark.parametrize(
    "fields",
    [
        {b"info": b"{not json"},
        {b"info": b"[1]"},
        {b"info": b'{"hostname":7,"pid":"x","queues":"q","started_at":"soon","labels":[1],"concurrency":[]}'},
        {b"beat": b"soon", b"busy": b"1.5", b"rss": b"", b"rtt_us": b"\xff", b"concurrency": b"nan", b"quiet": b"yes"},
        {b"beat": b"inf", b"info": b'{"started_at":1e400,"pid":1e400}'},
        {b"\xff": b"\xff"},
    ],
)
async def test_a_process_entry_that_says_nothing_usable_is_shown_as_far_as_it_goes(
    site: Site, fields: dict[bytes, bytes]
) -> None:
    await site.put(processes={b"n", b"good"})
    await site.put_at("n", fields)
    await site.put_at("good", {b"busy": b"1"})
    nothing = NodeInfo(
        node_id="n", host="", pid=None, started=None, beat=None, queues=(), concurrency=0, busy=0, quiet=False,
        rss=None, rtt=None, tag="", version="", labels=(),
    )  # fmt: skip
    good, odd = await site.api.nodes()
    assert (odd, good.node_id, good.busy) == (nothing, "good", 1)


async def test_a_node_whose_entry_has_expired_or_is_none_is_no_node(site: Site) -> None:
    await site.put(processes={b"gone", b"text", b'{"an old":"entry"}', b"\xff"})
    await site.put_at("text", b"text")
    assert (await site.api.nodes(), await site.api.busy()) == ([], [])


# The server


async def test_the_server_says_what_it_is(site: Site) -> None:
    server = await site.api.server()
    assert (server.name, server.memory_limit) == ("Valkey", None)
    assert server.version.count(".") == 2
    assert server.memory
    assert server.clients


async def test_a_server_that_may_not_be_asked_says_nothing(scene: Scene) -> None:
    await scene.redis.acl_setuser("shy", "on", "nopass", "allkeys", "+@all", "-info")
    async with scene.open(mode="api", username="shy", password="any") as q:
        server = await q.api.server()
        assert (server.version, server.memory, server.uptime) == ("", None, None)
        assert (await q.api.stats()).dead == 0
    await scene.redis.acl_deluser(["shy"])


# Modes


async def test_the_api_is_offered_to_those_who_work_or_ask_for_it(scene: Scene) -> None:
    async with scene.open(mode="enqueuer") as q:
        with pytest.raises(WrongMode) as caught:
            _ = q.api
        assert (caught.value.what, caught.value.mode) == ("api", "enqueuer")
    for mode in ("api", "default", ("api", "enqueuer")):
        async with scene.open(mode=mode, queues=[]) as q:
            assert (await q.api.stats()).dead == 0


async def test_after_the_end_it_says_so(scene: Scene) -> None:
    async with scene.open(mode="api") as q:
        api = q.api
    with pytest.raises(exq.ExqError, match="closed"):
        await api.stats()
