"""Rails' own ActiveJob enqueues and Python performs, and back."""

from __future__ import annotations

import datetime
from decimal import Decimal

import exq_anyio as exq
from exq_anyio.activejob import active_job, global_id

from .both import Both

RAILS = "require 'rails'\n"


async def test_what_perform_later_enqueues_is_performed_with_its_types_and_keywords(both: Both) -> None:
    calls: list[object] = []

    @exq.worker(name="RailsJob")
    async def perform(
        user: str, symbol: str, at: datetime.datetime, day: datetime.date, price: Decimal, span: float,
        options: dict[str, object], note: str = "none", count: int = 1,
    ) -> None:  # fmt: skip
        calls.append((user, symbol, at, day, price, span, options, note, count))
        await both.redis.rpush("ran", [b"{}"])

    await both.ruby.say(
        RAILS
        + """RailsJob.perform_later(User.new(7), :sym, Time.utc(2026, 11, 24, 2), Date.new(2026, 11, 24),
          BigDecimal("9.90"), 90.minutes, {a: :b, "c" => [1, nil]}, count: 3)
        RailsJob.set(wait: 0.1).perform_later(User.new(8), :late, Time.zone.local(2026), Date.new(2026),
          BigDecimal("1"), 1.second, {}); 0"""
    )
    async with both.python(workers=[perform], queues=["rails"]):
        await both.told(2)
    day, utc = datetime.date(2026, 11, 24), datetime.UTC
    first = datetime.datetime(2026, 11, 24, 2, tzinfo=utc)
    assert sorted(calls, key=str) == [
        (
            "gid://app/User/7", "sym", first, day, Decimal("9.9"), 5400, {"a": "b", "c": [1, None]}, "none", 3,
        ),
        (
            "gid://app/User/8", "late", datetime.datetime(2026, 1, 1, tzinfo=utc), datetime.date(2026, 1, 1),
            Decimal(1), 1, {}, "none", 1,
        ),
    ]  # fmt: skip


async def test_rails_performs_what_python_enqueues_for_it(both: Both) -> None:
    at = datetime.datetime(2026, 11, 24, 2, tzinfo=datetime.UTC)
    async with both.enqueuer() as q:
        jid = await q.push(
            active_job(
                "RailsJob",
                *(global_id("gid://app/User/7"), at, at.date(), Decimal("9.90"), {"a": [1, None]}, "x"),
                queue="rails",
                keywords={"count": 3, "note": "é"},
            )
        )
    async with both.ruby.working("rails", program="rails.rb"):
        (ran,) = await both.told(1)
    assert ran == {
        "by": "ruby",
        "class": "RailsJob",
        "jid": jid,
        "args": [
            '[#<struct User id="7">, 2026-11-24 02:00:00 UTC, Tue, 24 Nov 2026, "9.90", {"a"=>[1, nil]}, "x"]',
            '{:count=>3, :note=>"é"}',
        ],
    }


async def test_sidekiqs_pages_show_the_wrapped_class_and_its_arguments(both: Both) -> None:
    async with both.enqueuer() as q:
        await q.push(active_job("RailsJob", 1, "two", queue="rails"))
        await q.push(active_job("RailsJob", 3, queue="rails").on(after=3600))
    shown = await both.ruby.say(
        "[Sidekiq::Queue.new('rails'), Sidekiq::ScheduledSet.new].map(&:first)"
        ".map { |e| [e.display_class, e.display_args] }"
    )
    assert shown == [["RailsJob", [1, "two"]], ["RailsJob", [3]]]
