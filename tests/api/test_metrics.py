"""Metrics and deploys: what was counted when, and what is no count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exq_anyio.api import Deploy, Metrics

from .conftest import NOW, Site

MINUTE = datetime(2026, 9, 21, 14, 13, tzinfo=UTC)  # that of NOW


@pytest.fixture(autouse=True)
def now(site: Site) -> None:
    site.api._clock = lambda: NOW


async def test_where_nothing_ran_every_minute_is_there_and_no_worker(site: Site) -> None:
    assert await site.api.metrics(minutes=3) == Metrics(
        at=(MINUTE - timedelta(minutes=2), MINUTE - timedelta(minutes=1), MINUTE), step=60, workers=(), deploys=()
    )
    assert len((await site.api.metrics()).at) == 60
    of = await site.api.worker_metrics("Nobody", minutes=2)
    assert [(point.at, point.processed) for point in of.points] == [(MINUTE - timedelta(minutes=1), 0), (MINUTE, 0)]
    assert (of.average, of.histogram) == (None, (0,) * 26)


async def test_who_took_the_most_time_comes_first(site: Site) -> None:
    await site.put_at(
        "j|20260921|14:13", {b"Quick|p": b"100", b"Quick|ms": b"100", b"Slow|p": b"1", b"Slow|ms": b"9000"}
    )
    await site.put_at("j|20260921|14:12", {b"Fails|p": b"3", b"Fails|f": b"3"})
    await site.put_at("j|260921|14:13", {b"Quick|p": b"2", b"Quick|ms": b"50"})  # of a Sidekiq 8 beside us
    metrics = await site.api.metrics(minutes=2)
    assert [(of.worker, of.processed, of.failed, of.seconds) for of in metrics.workers] == [
        ("Slow", 1, 0, 9.0), ("Quick", 102, 0, 0.15), ("Fails", 3, 3, 0.0),
    ]  # fmt: skip
    assert [point.processed for point in metrics.workers[1].points] == [0, 102]
    assert metrics.workers[2].average is None
    (quick,) = [of for of in metrics.workers if of.worker == "Quick"]
    one = await site.api.worker_metrics("Quick", minutes=2)
    assert [point.processed for point in one.points] == [point.processed for point in quick.points]


async def test_hours_are_read_by_ten_minutes(site: Site) -> None:
    await site.put_at("j|260921|14:1", {b"A|p": b"4", b"A|f": b"1", b"A|ms": b"6000"})
    await site.put_at("j|260920|14:2", {b"A|p": b"2"})
    metrics = await site.api.metrics(hours=24)
    (of,) = metrics.workers
    assert (metrics.step, len(of.points), metrics.at[-1]) == (600, 144, MINUTE - timedelta(minutes=3))
    assert [point.processed for point in of.points] == [2, *[0] * 142, 4]
    assert await site.api.worker_metrics("A", hours=24) == of
    assert (of.average, of.histogram) == (6.0 / 5, ())


async def test_a_histogram_is_read_of_both_kinds_and_of_no_other_type(site: Site) -> None:
    await site.put_at("A-21-14:13", b"\x00\x01\x00\x02")
    await site.put_at("h|A-21-14:13", b"\x00\x10")
    await site.put_at("h|A-21-14:12", [b"a list"])
    of = await site.api.worker_metrics("A", minutes=2)
    assert [point.histogram[:3] for point in of.points] == [(0, 0, 0), (17, 2, 0)]


async def test_what_somebody_broke_hides_nothing(site: Site) -> None:
    await site.put_at("j|20260921|14:13", [b"a list"])
    await site.put_at("j|20260921|14:12", {b"A|p": b"many", b"B|p": b"1"})
    await site.put_at("20260921-marks", {b"someday": b"odd", b"2026-09-21T14:13:00Z": b"v\xff"})
    metrics = await site.api.metrics(minutes=2)
    assert [(of.worker, of.processed) for of in metrics.workers] == [("B", 1), ("A", 0)]
    assert metrics.deploys == (Deploy(MINUTE, "v\ufffd"),)


async def test_a_deploy_is_marked_once_a_minute(site: Site) -> None:
    assert await site.api.mark_deploy("v1.2 deploy")
    assert not await site.api.mark_deploy("v1.2 deploy")
    earlier = MINUTE - timedelta(days=1)
    assert await site.api.mark_deploy("v1.1", at=earlier + timedelta(seconds=59))
    state = await site.state()
    assert state == {
        "20260921-marks": {b"2026-09-21T14:13:00Z": b"v1.2 deploy"},
        "20260920-marks": {b"2026-09-20T14:13:00Z": b"v1.1"},
        "deploylock-v1.2 deploy": b"2026-09-21T14:13:00Z",
        "deploylock-v1.1": b"2026-09-20T14:13:00Z",
    }
    assert await site.redis.ttl(site.key("20260921-marks")) == pytest.approx(90 * 86400, abs=60)
    assert await site.redis.ttl(site.key("deploylock-v1.1")) == pytest.approx(60, abs=30)
    assert (await site.api.metrics(minutes=1)).deploys == (Deploy(MINUTE, "v1.2 deploy"),)
    assert [deploy.label for deploy in (await site.api.metrics(hours=48)).deploys] == ["v1.1", "v1.2 deploy"]


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"minutes": 0}, "minutes must be from 1 to 480, not 0"),
        ({"minutes": 481}, "minutes must be from 1 to 480, not 481"),
        ({"hours": 73}, "hours must be from 1 to 72, not 73"),
        ({"hours": 1, "minutes": 1}, "minutes or hours, not both"),
    ],
)
async def test_what_is_not_kept_is_not_asked_for(site: Site, asked: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        await site.api.metrics(**asked)
    with pytest.raises(ValueError, match=problem):
        await site.api.worker_metrics("A", **asked)
    with pytest.raises(ValueError, match="at must have a time zone"):
        await site.api.mark_deploy("v", datetime(2026, 1, 1))
