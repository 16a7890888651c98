"""When periodic jobs are due, and which of the missed ticks are made up for."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exq_anyio as exq
from exq_anyio.client import declared_periodic
from exq_anyio.config import Config
from exq_anyio.job import Job
from exq_anyio.load import load_config
from exq_anyio.periodic import MOST_MISSED, Definition, Missed, Schedule, due, said_by, schedule_of
from exq_anyio.worker import Registry

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC)
"""When the clocks of Berlin are changed: from 2 to 3, and from 3 to 2."""


def ticks(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    at = after.timestamp()
    for _ in range(count):
        tick = schedule.after(at)
        assert tick is not None
        assert tick > at
        found.append(datetime.fromtimestamp(tick, BERLIN))
        at = tick
    return found


def hours(found: list[datetime]) -> list[str]:
    return [f"{at:%d. %H:%M %Z}" for at in found]


# Instants


@pytest.mark.parametrize(("after", "tick"), [(0, 5), (4.9, 5), (5, 10), (5.1, 10)])
def test_an_interval_counts_from_1970(after: float, tick: float) -> None:
    assert exq.Every(5).after(after) == tick
    assert exq.Every(timedelta(seconds=5)) == exq.Every(5.0)


@given(st.floats(0, 4e9), st.floats(0.1, 1e9))
def test_the_tick_after_an_instant_is_after_it_and_no_more_than_an_interval(at: float, seconds: float) -> None:
    tick = exq.Every(seconds).after(at)

    assert tick is not None
    assert at < tick <= (at + seconds) * (1 + 1e-12) + 1e-6


def test_a_daily_job_goes_by_the_clocks_of_its_zone() -> None:
    schedule = exq.Cron("0 3 * * *", timezone="Europe/Berlin")

    assert hours(ticks(schedule, SPRING - timedelta(days=1), 3)) == [
        "27. 03:00 CET",
        "28. 03:00 CEST",
        "29. 03:00 CEST",
    ]
    assert ticks(schedule, SPRING - timedelta(days=1), 3)[0].astimezone(UTC).hour == 2


def test_what_falls_into_an_hour_that_is_left_out_comes_right_after_it() -> None:
    schedule = exq.Cron("0,30 2 * * *", timezone="Europe/Berlin")

    assert hours(ticks(schedule, SPRING - timedelta(hours=12), 3)) == [
        *("28. 03:00 CEST", "29. 02:00 CEST", "29. 02:30 CEST")
    ]


def test_what_falls_into_an_hour_that_comes_twice_comes_once() -> None:
    schedule = exq.Cron("30 2 * * *", timezone="Europe/Berlin")
    wanted = ["31. 02:30 CEST", "01. 02:30 CET"]

    assert hours(ticks(schedule, AUTUMN - timedelta(hours=12), 2)) == wanted
    within_second_hour = AUTUMN + timedelta(minutes=10)
    assert hours(ticks(schedule, within_second_hour, 1)) == wanted[1:]


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
def test_an_hourly_job_goes_on_evenly(change: datetime) -> None:
    found = ticks(exq.Cron("@hourly", timezone="Europe/Berlin"), change - timedelta(hours=3), 8)

    assert {later - earlier for earlier, later in itertools.pairwise(at.astimezone(UTC) for at in found)} == {
        timedelta(hours=1)
    }


@given(
    st.sampled_from(["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *", "59 2,3 * * SUN", "0 */2 * * *", "15 3 L * *"]),
    st.sampled_from([SPRING, AUTUMN]),
    st.floats(-90_000, 90_000),
)
def test_ticks_are_the_same_from_wherever_one_looks(expression: str, change: datetime, offset: float) -> None:
    schedule = exq.Cron(expression, timezone="Europe/Berlin")
    begin, at = change.timestamp() - 100_000, change.timestamp() + offset
    counted = itertools.takewhile(lambda tick: tick < at + 5e6, schedule.ticks(begin))

    assert schedule.after(at) == next(tick for tick in counted if tick > at)


def test_seconds_may_be_said() -> None:
    assert exq.Cron("*/20 * * * * *").latest(0, 60, 9) == [20, 40, 60]


@given(
    st.sampled_from([exq.Every(7), exq.Every(0.3), exq.Cron("*/7 * * * *"), exq.Cron("0 3 * * *")]),
    st.floats(0, 1e6),
    st.floats(0, 1e5),
    st.integers(1, 20),
)
def test_the_latest_ticks_are_the_end_of_all(schedule: Schedule, after: float, span: float, most: int) -> None:
    counted: list[float] = []
    end = after + min(span, 2_000) if isinstance(schedule, exq.Every) else after + span
    at = schedule.after(after)
    while at is not None and at <= end:
        counted.append(at)
        at = schedule.after(at)

    assert schedule.latest(after, end, most) == pytest.approx(counted[-most:])


# Missed ticks


@pytest.mark.parametrize(
    ("missed", "late", "enqueued"),
    [
        ("once", 0, [3600]),
        ("skip", 0, [3600]),
        ("all", 0, [3600]),
        ("once", 3 * 3600 + 5, [4 * 3600]),
        ("skip", 3 * 3600 + 5, [4 * 3600]),
        ("all", 3 * 3600 + 5, [3600, 2 * 3600, 3 * 3600, 4 * 3600]),
        ("once", 3 * 3600 + 60, [4 * 3600]),
        ("skip", 3 * 3600 + 60, []),
        ("all", 3 * 3600 + 60, [3600, 2 * 3600, 3 * 3600, 4 * 3600]),
    ],
)
def test_missed_ticks_are_made_up_for_as_the_schedule_says(missed: Missed, late: float, enqueued: list[float]) -> None:
    for schedule in (exq.Every(3600, missed=missed), exq.Cron("@hourly", missed=missed)):
        assert due(schedule, 3600, 3600 + late) == (enqueued, 3600 * (late // 3600 + 2))


def test_only_the_latest_are_made_up_for() -> None:
    assert due(exq.Every(10, missed="all", limit=2), 10, 1_000_000_005)[0] == [999_999_990, 1_000_000_000]
    year = 366 * 86400.0
    assert due(exq.Cron("* * * * *", missed="all", limit=2), 60, year)[0] == [year - 60, year]


def test_the_tick_that_was_foreseen_counts_even_when_the_schedule_has_changed() -> None:
    assert due(exq.Every(3600), 1000.5, 1001) == ([1000.5], 3600)


# What may be said


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: exq.Every(0), "every: must be a number of seconds"),
        (lambda: exq.Every("5"), "every: must be a number of seconds"),  # type: ignore[arg-type]
        (lambda: exq.Every(5, missed="never"), "missed: must be 'skip', 'once' or 'all', not 'never'"),  # type: ignore[arg-type]
        (lambda: exq.Every(5, limit=MOST_MISSED + 1), "limit: must be a number from 1 to 1,000"),
        (lambda: exq.Cron("61 * * * *"), "cron: '61 . . . .' cannot be: bad minute"),
        (lambda: exq.Cron("0 0 31 2 *"), "cron: '0 0 31 2 .' cannot be: bad day-of-month"),
        (lambda: exq.Cron("0 0 * * *", timezone="Berlin"), "timezone: 'Berlin' is no time zone"),
        (lambda: exq.Cron("0 0 * * *", timezone="../x"), "timezone: '../x' is no time zone"),
        (lambda: exq.Cron(7), "cron: must be text"),  # type: ignore[arg-type]
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make: Any, problem: str) -> None:
    with pytest.raises(exq.ConfigError, match=problem):
        make()


@pytest.mark.parametrize("schedule", [exq.Every(7.5, missed="all", limit=7), exq.Cron("@daily", timezone="Asia/Tokyo")])
def test_a_schedule_is_read_as_it_was_written(schedule: Schedule) -> None:
    assert schedule_of(said_by(schedule)) == schedule


@exq.worker(queue="reports", max_retries=3)
async def report(what: str = "all") -> None: ...


@exq.worker(schedule=exq.Every(60), unique_for=30)
async def sweep() -> None: ...


WORKERS = Registry.build([report, sweep])


def declared(**settings: Any) -> dict[str, Definition]:
    return {one.name: one for one in declared_periodic(Config(**settings), WORKERS)}


def test_a_program_declares_them_with_the_worker_and_in_its_settings() -> None:
    nightly = exq.Periodic("nightly", report.job("eu"), exq.Cron("0 3 * * *"))
    found = declared(periodic=[nightly])

    assert found["nightly"] == Definition(
        "nightly",
        {"retry": 3, "queue": "reports", "class": "report", "args": ["eu"]},
        exq.Cron("0 3 * * *"),
        declared=True,
    )
    assert found["sweep"].schedule == exq.Every(60)


def test_a_file_declares_them_as_tables(tmp_path: Path) -> None:
    (tmp_path / "exq.toml").write_text("""
        [periodic.nightly]
        worker = "report"
        args = ["eu"]
        cron = "0 3 * * *"
        timezone = "Europe/Berlin"

        [periodic.elsewhere]
        worker = "Other::Program"
        queue = "low"
        every = 60
        missed = "all"
        limit = 5
    """)
    found = {one.name: one for one in declared_periodic(load_config(tmp_path / "exq.toml"), WORKERS)}

    assert found["nightly"].record["queue"] == "reports"
    assert found["nightly"].schedule == exq.Cron("0 3 * * *", timezone="Europe/Berlin")
    assert found["elsewhere"].record == {"retry": True, "queue": "low", "class": "Other::Program", "args": []}
    assert found["elsewhere"].schedule == exq.Every(60, missed="all", limit=5)


def test_the_environment_declares_them_as_json() -> None:
    config = load_config(None, environ={"EXQ_PERIODIC": '{"a": {"worker": "report", "every": 5}}'})

    assert [(one.name, one.schedule) for one in config.periodic] == [("a", exq.Every(5))]


@pytest.mark.parametrize(
    ("periodic", "problem"),
    [
        ({"a": {"worker": "w"}}, "periodic.a.every: a periodic job needs either every or cron"),
        ({"a": {"worker": "w", "every": 5, "cron": "@daily"}}, "periodic.a.every: a periodic job needs either"),
        ({"a": {"worker": "w", "every": 5, "timezone": "UTC"}}, "periodic.a.timezone: is for cron"),
        ({"a": {"worker": "w", "cron": "* *"}}, "periodic.a.cron: '. .' cannot be: wrong number of fields"),
        ({"a": {"worker": "w", "every": 5, "que": "x"}}, "periodic.a: has no setting 'que'"),
        ({"a": {"every": 5}}, "periodic.a: must be a table with the name of a worker"),
        ({"": {"worker": "w", "every": 5}}, "periodic: '' cannot be a name"),
        ("report", "periodic: as text must be a JSON object"),
        (7, "periodic: must be a list of exq.Periodic"),
        ([exq.Periodic("a", report.job(), exq.Every(5))] * 2, "periodic: 'a' is named twice"),
    ],
)
def test_settings_that_declare_what_cannot_be_are_refused(periodic: Any, problem: str) -> None:
    with pytest.raises(exq.ConfigError, match=problem):
        Config(periodic=periodic)


def test_a_job_of_many_has_no_jid_and_no_time_of_its_own() -> None:
    with pytest.raises(exq.ArgumentError, match="report jid: cannot be said of a periodic job"):
        declared(periodic=[exq.Periodic("a", report.job().on(jid="7"), exq.Every(5))])
    with pytest.raises(exq.ConfigError, match="'sweep' is declared twice"):
        declared(periodic=[exq.Periodic("sweep", report.job(), exq.Every(5))])


def test_a_worker_with_a_schedule_needs_no_arguments() -> None:
    @exq.worker(schedule=exq.Every(5))
    async def needs(what: str) -> None: ...

    with pytest.raises(exq.ArgumentError, match="needs"):
        declared_periodic(Config(), Registry.build([needs]))
    with pytest.raises(exq.WorkerError, match="needs: schedule must be"):
        exq.worker(schedule="* * * * *")(needs._function)  # type: ignore[call-overload]


def test_each_job_has_a_time_a_jid_and_a_lock_of_its_own() -> None:
    kept = declared(periodic=[])["sweep"].encode()
    made = Definition.decode("sweep", kept).outgoing(60.0, 61.5, "j1", "seconds")
    record = Job.decode(made.payload).record

    assert {name: record[name] for name in ("jid", "created_at", "enqueued_at", "periodic", "unlocks_at")} == {
        "jid": "j1",
        "created_at": 61.5,
        "enqueued_at": 61.5,
        "periodic": {"name": "sweep", "tick": 60.0},
        "unlocks_at": 91.5,
    }
    assert made.lock == (record["unique_token"], 30)


def test_what_is_worth_a_while_only_is_so_from_each_tick_on() -> None:
    spec = report.job().on(expires_in=60)
    (kept, _) = declared_periodic(Config(periodic=[exq.Periodic("a", spec, exq.Every(5))]), WORKERS)

    assert Job.decode(kept.outgoing(5.0, 6.0, "j", "milliseconds").payload).expires_at == 66.0


@given(st.binary())
def test_bytes_that_define_nothing_say_so(kept: bytes) -> None:
    with pytest.raises(ValueError, match="periodic job 'a' cannot be read"):
        Definition.decode("a", kept)
