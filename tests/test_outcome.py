"""What becomes of a performed job: each way to end, and exactly what is then written."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exq_anyio.errors import JobCancelled, JobTimeout, UnknownWorker
from exq_anyio.job import MAX_ERROR_MESSAGE, Job, encode, unpack_backtrace
from exq_anyio.outcome import (
    LONGEST_WAIT,
    Dead,
    Discard,
    Halt,
    Policy,
    Settlement,
    Snooze,
    held_lock,
    judge,
    malformed,
    push_back,
    sidekiq_backoff,
)

NOW = 1_795_486_709.25
FIRST = 1_795_486_000.5
POLICY = Policy()


def read(**fields: Any) -> Job:
    return Job.decode(encode({"class": "W", "args": [1], "jid": "j", "other": 2**70, **fields}), "q")


def told(settlement: Settlement) -> dict[str, Any]:
    """A settlement as a dict, its entry as a record, None where there is none."""
    fields = attrs.asdict(settlement)
    fields["entry"] = json.loads(settlement.entry) if settlement.entry else None
    return fields


def settled(job: Job, kind: str, record: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """What is expected: the fields of a job that is *kind*, with *record* for its entry."""
    defaults = {"score": 0.0, "processed": 1, "failed": 0, "unlock": None, "problem": "", "near_head": False}
    return {"kind": kind, "queue": "q", "payload": job.payload, "entry": record, **defaults, **fields}


def failed(job: Job, **fields: Any) -> dict[str, Any]:
    """The job's record after its failure."""
    return {**job.record, "queue": "q", "error_class": "ValueError", "error_message": "bad", **fields}


# Ends that are no failure


@pytest.mark.parametrize("returned", [None, 7, "text", True, {"a": 1}, Halt()])
def test_a_job_that_returns_is_done(returned: object) -> None:
    job = read()

    assert told(judge(job, returned, NOW, 0.5, POLICY)) == settled(job, "done")


@pytest.mark.parametrize("ended", [Discard("not needed"), Halt(Discard("not needed"))])
def test_a_job_may_be_discarded(ended: object) -> None:
    job = read()

    assert told(judge(job, ended, NOW, 0.5, POLICY)) == settled(job, "discarded")


@pytest.mark.parametrize("ended", [Snooze(90), Snooze(timedelta(minutes=1.5)), Halt(Snooze(90.0))])
def test_a_snoozed_job_comes_again_from_the_queue_it_was_in_and_uses_no_attempt(ended: object) -> None:
    job = read(queue="elsewhere", retry_count=3, unique_token="t")

    assert told(judge(job, ended, NOW, 0.5, POLICY)) == settled(
        job, "schedule", {**job.record, "queue": "q", "snooze_count": 1}, score=NOW + 90
    )


def test_snoozes_are_counted() -> None:
    assert told(judge(read(snooze_count=4), Snooze(0), NOW, 0.5, POLICY))["entry"]["snooze_count"] == 5


@pytest.mark.parametrize("seconds", [-1, -0.001, 1e10, math.inf, math.nan, timedelta(seconds=-1)])
def test_a_snooze_is_a_number_of_seconds_not_below_0(seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds must be a number of seconds from 0 to 1e10"):
        Snooze(seconds)


@pytest.mark.parametrize("ended", [Dead("hopeless"), Halt(Dead("hopeless"))])
def test_a_hopeless_job_is_dead_at_once(ended: object) -> None:
    job = read(retry=25)

    record = failed(job, error_class="Dead", error_message="hopeless", failed_at=NOW, retry_count=0)
    assert told(judge(job, ended, NOW, 0.5, POLICY)) == settled(
        job, "dead", record, score=NOW, failed=1, problem="hopeless"
    )


def test_a_reason_may_be_an_exception() -> None:
    assert (Dead(ValueError("bad")), Discard(ValueError("bad"))) == (Dead("bad"), Discard("bad"))


# Failures


def test_the_first_failure_has_the_count_0_and_the_time_of_failure() -> None:
    job = read(retry=True)

    assert told(judge(job, ValueError("bad"), NOW, 0.5, POLICY)) == settled(
        job, "retry", failed(job, failed_at=NOW, retry_count=0), score=NOW + 15 + 5, failed=1, problem="ValueError"
    )


def test_a_later_failure_keeps_the_first_time_and_says_when_it_was_retried() -> None:
    job = read(retry=True, retry_count=2, failed_at=FIRST, retried_at=FIRST + 1, error_class="Old", error_message="old")

    assert told(judge(job, ValueError("bad"), NOW, 0.5, POLICY)) == settled(
        job,
        "retry",
        failed(job, failed_at=FIRST, retried_at=NOW, retry_count=3),
        score=NOW + 81 + 15 + 20,
        failed=1,
        problem="ValueError",
    )


def test_a_count_without_the_time_of_the_first_failure_gets_one() -> None:
    entry = told(judge(read(retry_count=0), ValueError("bad"), NOW, 0.5, POLICY))["entry"]

    assert (entry["failed_at"], entry["retried_at"], entry["retry_count"]) == (NOW, NOW, 1)


def test_times_are_written_in_milliseconds_where_the_policy_says_so_and_scores_are_not() -> None:
    policy = Policy(timestamps="milliseconds")
    first = judge(read(), ValueError("bad"), NOW, 0, policy)
    second = judge(Job.decode(first.entry, "q"), ValueError("bad"), NOW + 1, 0, policy)

    assert [json.loads(one.entry)["failed_at"] for one in (first, second)] == [int(NOW * 1000)] * 2
    assert json.loads(second.entry)["retried_at"] == int((NOW + 1) * 1000)
    assert (first.score, second.score) == (NOW + 15, NOW + 1 + 16)


@pytest.mark.parametrize(
    ("fields", "most", "kinds"),
    [
        ({"retry": True}, 2, ["retry", "retry", "dead"]),
        ({}, 2, ["retry", "retry", "dead"]),
        ({"retry": "yes"}, 2, ["retry", "retry", "dead"]),
        ({"retry": 1}, 25, ["retry", "dead"]),
        ({"retry": 0}, 25, ["dead"]),
        ({"retry": -1}, 25, ["dead"]),
        ({"retry": True}, 0, ["dead"]),
        ({"retry": False}, 25, ["discarded"]),
        ({"retry": False, "dead": True}, 25, ["discarded"]),
        ({"retry": 1, "dead": False}, 25, ["retry", "discarded"]),
        ({"retry": 0, "dead": False}, 25, ["discarded"]),
        ({"retry": 0, "dead": None}, 25, ["dead"]),
    ],
)
def test_a_job_that_fails_again_and_again_ends_as_in_sidekiq(fields: Any, most: int, kinds: list[str]) -> None:
    job, seen = read(**fields), []
    while True:
        settlement = judge(job, ValueError("bad"), NOW, 0.5, Policy(max_retries=most))
        seen.append(settlement.kind)
        assert (settlement.processed, settlement.failed, settlement.problem) == (1, 1, "ValueError")
        if settlement.kind != "retry":
            break
        job = Job.decode(settlement.entry, "q")

    assert seen == kinds


def test_a_dead_job_is_scored_by_when_it_died_and_keeps_its_last_error() -> None:
    job = read(retry=1, retry_count=0, failed_at=FIRST)

    assert told(judge(job, ValueError("bad"), NOW, 0.5, POLICY)) == settled(
        job,
        "dead",
        failed(job, failed_at=FIRST, retried_at=NOW, retry_count=1),
        score=NOW,
        failed=1,
        problem="ValueError",
    )


@pytest.mark.parametrize(
    ("retry_queue", "queue"),
    [("low", "low"), ("", "q"), (None, "q"), (7, "q")],
    ids=["given", "empty", "null", "number"],
)
def test_a_retry_goes_to_the_retry_queue_or_to_the_list_that_the_job_came_from(retry_queue: Any, queue: str) -> None:
    settlement = judge(read(queue="said", retry_queue=retry_queue), ValueError("bad"), NOW, 0.5, POLICY)

    assert (settlement.queue, json.loads(settlement.entry)["queue"]) == ("q", queue)


@pytest.mark.parametrize("error", [JobCancelled(), JobCancelled("by hand")])
def test_a_cancelled_job_is_dead_whatever_its_retries(error: JobCancelled) -> None:
    settlement = judge(read(retry=True), error, NOW, 0.5, POLICY)

    assert (settlement.kind, settlement.score, settlement.problem) == ("dead", NOW, "JobCancelled")
    assert json.loads(settlement.entry)["error_message"] == error.reason


class Silent(Exception):
    def __str__(self) -> str:
        return ""


class Unshowable(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (JobTimeout(1.5), "JobTimeout", "the job ran longer than its timeout of 1.5 s"),
        (UnknownWorker("Gone"), "UnknownWorker", str(UnknownWorker("Gone"))),
        (Silent("x"), "Silent", "Silent"),
        (Unshowable(), "Unshowable", "(its message cannot be shown: SystemExit)"),
        (OSError("no file \udce9.txt"), "OSError", "no file ?.txt"),
        (ValueError("x" * 20_000), "ValueError", "x" * MAX_ERROR_MESSAGE),
        (SystemExit(3), "SystemExit", "3"),
        (ExceptionGroup("both", [ValueError(1)]), "ExceptionGroup", "both (1 sub-exception)"),
    ],
)
def test_every_error_is_told_in_text(error: BaseException, name: str, message: str) -> None:
    entry = told(judge(read(), error, NOW, 0.5, POLICY))["entry"]

    assert (entry["error_class"], entry["error_message"]) == (name, message)


def test_a_reason_that_is_not_unicode_is_told_too() -> None:
    assert (
        told(judge(read(), Dead("no file \udce9.txt"), NOW, 0.5, POLICY))["entry"]["error_message"] == "no file ?.txt"
    )


@pytest.mark.parametrize("ended", [ValueError("bad"), Snooze(1), Dead("bad"), JobCancelled()])
def test_what_a_worker_did_to_its_arguments_is_not_written_back(ended: object) -> None:
    job = read(args=[{"list": [1]}, [2]])
    args: Any = job.args
    args[0]["list"].append(object())
    args.pop()
    job.record["extra"] = 1

    entry = told(judge(job, ended, NOW, 0.5, POLICY))["entry"]

    assert entry["args"] == [{"list": [1]}, [2]]
    assert "extra" not in entry


# Backtraces


def _raised(depth: int) -> ValueError:
    try:
        _raise(depth)
    except ValueError as error:
        return error
    raise AssertionError


def _raise(depth: int) -> None:
    if depth == 0:
        raise ValueError("bad")
    _raise(depth - 1)


@pytest.mark.parametrize(("wanted", "lines"), [(True, 6), (3, 3), (1, 1), (100, 6), ("yes", 6)])
def test_as_many_lines_of_the_backtrace_are_kept_as_the_job_asks_for(wanted: Any, lines: int) -> None:
    entry = told(judge(read(backtrace=wanted), _raised(4), NOW, 0.5, POLICY))["entry"]

    kept = unpack_backtrace(entry["error_backtrace"])
    assert kept is not None
    assert len(kept) == lines
    assert kept[0].startswith(__file__)
    assert kept[0].endswith(":in '_raise'")  # the innermost first, as in Ruby


@pytest.mark.parametrize("wanted", [False, 0, None])
def test_no_backtrace_is_kept_unless_the_job_asks_for_it(wanted: Any) -> None:
    assert "error_backtrace" not in told(judge(read(backtrace=wanted), _raised(4), NOW, 0.5, POLICY))["entry"]


# When a retry comes


@given(st.integers(0, 1_000), st.floats(0, 1, exclude_max=True))
def test_the_curve_of_sidekiq_has_its_bounds(count: int, jitter: float) -> None:
    least = count**4 + 15

    assert least <= sidekiq_backoff(count, jitter) <= least + 10 * (count + 1)
    assert sidekiq_backoff(count, 0) == least


def test_twenty_five_retries_take_about_three_weeks() -> None:
    assert sum(sidekiq_backoff(count, 0.5) for count in range(25)) / 86_400 == pytest.approx(20.45, abs=0.05)


def test_a_negative_count_has_no_place_on_the_curve() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        sidekiq_backoff(-1, 0.5)


@given(st.integers(0, 2**53 - 1), st.floats(0, 1, exclude_max=True))
def test_no_count_makes_a_retry_wait_longer_than_ten_years(count: int, jitter: float) -> None:
    def broken(job: Job, error: BaseException) -> float:
        raise KeyError

    for policy in (Policy(max_retries=2**60), Policy(max_retries=2**60, backoff=broken)):
        score = judge(read(retry_count=count), ValueError("bad"), NOW, jitter, policy).score
        assert NOW + 15 <= score <= NOW + LONGEST_WAIT


@pytest.mark.parametrize(
    ("wait", "seconds"), [(7, 7), (0, 0), (-5, 0), (1e300, LONGEST_WAIT), (math.inf, LONGEST_WAIT), (None, 20)]
)
def test_a_backoff_of_the_user_says_how_long_to_wait(wait: float | None, seconds: float) -> None:
    policy = Policy(backoff=lambda job, error: wait)

    settlement = judge(read(), ValueError("bad"), NOW, 0.5, policy)

    assert (settlement.score, settlement.problem) == (NOW + seconds, "ValueError")


@pytest.mark.parametrize(
    ("wait", "note"),
    [("soon", "ValueError"), ([1], "TypeError"), (timedelta(1), "TypeError"), (10**400, "OverflowError")],
)
def test_a_backoff_that_is_none_is_noted_and_sidekiqs_curve_is_taken(wait: Any, note: str) -> None:
    settlement = judge(read(), KeyError("bad"), NOW, 0.5, Policy(backoff=lambda job, error: wait))

    assert (settlement.score, settlement.problem) == (NOW + 20, f"KeyError (backoff failed too: {note})")


def test_a_backoff_is_given_the_job_as_it_now_fails_and_its_error() -> None:
    given: list[Any] = []

    def backoff(job: Job, error: BaseException) -> float:
        given.extend((job.retry_count, job.attempt, job.error_message, job.queue, error))
        return 1

    error = ValueError("bad")
    judge(read(retry_count=0, failed_at=FIRST), error, NOW, 0.5, Policy(backoff=backoff))

    assert given == [1, 3, "bad", "q", error]


# Unique locks

LOCKED: dict[str, Any] = {"unique_token": "t", "unique_for": 60}


@pytest.mark.parametrize(
    ("ended", "frees"),
    [
        (None, True),
        (Discard(), True),
        (Dead("bad"), True),
        (JobCancelled(), True),
        (Snooze(1), False),
        (ValueError("bad"), False),
    ],
)
def test_the_end_of_a_job_frees_its_lock_and_a_further_try_does_not(ended: object, frees: bool) -> None:
    assert judge(read(**LOCKED), ended, NOW, 0.5, POLICY).unlock == (("t", "j") if frees else None)


@pytest.mark.parametrize("retry", [0, False])
def test_a_job_without_a_further_try_frees_its_lock(retry: Any) -> None:
    assert judge(read(**LOCKED, retry=retry), ValueError("bad"), NOW, 0.5, POLICY).unlock == ("t", "j")


@pytest.mark.parametrize(
    ("fields", "lock"),
    [
        (LOCKED, ("t", "j")),
        ({**LOCKED, "unique_until": "success"}, ("t", "j")),
        ({**LOCKED, "unique_until": "start"}, ("t", "j")),
        ({**LOCKED, "unique_until": "expiry"}, None),
        ({**LOCKED, "jid": None}, ("t", "")),
        ({"unique_for": 60}, None),
        ({"unique_token": 7}, None),
    ],
)
def test_only_time_frees_the_lock_of_a_job_that_is_unique_until_expiry(fields: Any, lock: Any) -> None:
    assert held_lock(read(**fields)) == lock


# What does not run


def test_what_is_pushed_back_is_not_changed_and_not_counted() -> None:
    job = read(retry_count=3, **LOCKED)

    assert attrs.asdict(push_back(job)) == {**settled(job, "push_back", processed=0), "entry": job.payload}


def test_bytes_that_are_not_json_stay_as_they_are() -> None:
    settlement = malformed(b"\xff{", "q", "not JSON", is_json=False, now=NOW, policy=POLICY)

    assert attrs.asdict(settlement) == {
        "kind": "dead",
        "queue": "q",
        "payload": b"\xff{",
        "entry": b"\xff{",
        "score": NOW,
        "processed": 0,
        "failed": 0,
        "unlock": None,
        "problem": "not JSON",
        "near_head": False,
    }


@pytest.mark.parametrize(("unit", "at"), [("seconds", NOW), ("milliseconds", int(NOW * 1000))])
def test_json_that_is_no_job_is_wrapped_in_one_that_sidekiqs_pages_can_show(unit: Any, at: float) -> None:
    policy = Policy(timestamps=unit)
    first, second = (malformed(b"[1]", "q", "no object", is_json=True, now=NOW, policy=policy) for _ in range(2))

    entry = json.loads(first.entry)
    assert len(entry.pop("jid")) == 24
    assert entry == {
        "class": "MalformedPayload",
        "args": ["[1]"],
        "queue": "q",
        "retry": False,
        "created_at": at,
        "enqueued_at": at,
        "failed_at": at,
        "retry_count": 0,
        "error_class": "MalformedPayload",
        "error_message": "no object",
    }
    assert first.entry != second.entry  # equal garbage stays two entries
    assert (first.kind, first.score, first.processed, first.failed) == ("dead", NOW, 0, 0)
