"""What a worker says of classes of errors: which one decides, and what is then written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import exq_anyio as exq
from exq_anyio.failures import FailureRule, failure_rule
from exq_anyio.job import Job, encode
from exq_anyio.outcome import Policy, Settlement, judge
from exq_anyio.worker import Registry

NOW = 1_795_486_709.25
POLICY = Policy()


def rule(**said: Any) -> FailureRule:
    made = failure_rule("w", **said)
    assert made is not None
    return made


def judged(error: BaseException, said: FailureRule, policy: Policy = POLICY, **fields: Any) -> Settlement:
    job = Job.decode(encode({"class": "w", "args": [], "jid": "j", "retry": True, **fields}), "q")
    return judge(job, error, NOW, 0.5, Policy(max_retries=policy.max_retries, backoff=policy.backoff, rule=said))


# Which class decides


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LookupError(), "discarded"),
        (KeyError(), "dead"),
        (IndexError(), "discarded"),
        (ValueError(), "retry"),
        (UnicodeError(), "retry"),
    ],
)
def test_the_nearest_class_decides_whatever_the_order(error: Exception, kind: str) -> None:
    assert judged(error, rule(discard_on=LookupError, dead_on=(KeyError,))).kind == kind
    assert judged(error, rule(dead_on=KeyError, discard_on=(LookupError,))).kind == kind


def test_of_two_bases_the_first_one_decides() -> None:
    class Gone(KeyError, TimeoutError): ...

    class Late(TimeoutError, KeyError): ...

    said = rule(discard_on=KeyError, dead_on=TimeoutError)
    assert (said.fate(Gone()), said.fate(Late())) == ("discard", "dead")


def test_with_retry_on_nothing_else_is_retried() -> None:
    said = rule(retry_on=(ConnectionError,), discard_on=(ConnectionResetError,))

    assert [judged(error, said).kind for error in (ConnectionAbortedError(), ConnectionResetError(), ValueError())] == [
        *("retry", "discarded", "dead")
    ]


def test_all_may_be_named_at_once_by_their_base() -> None:
    said = rule(discard_on=Exception, retry_on=OSError)

    assert (said.fate(ValueError()), said.fate(OSError()), said.fate(SystemExit())) == ("discard", "retry", "dead")


@pytest.mark.parametrize(
    ("errors", "fate"),
    [
        ([OSError()], "retry"),
        ([OSError(), KeyError()], "retry"),
        ([KeyError(), KeyError()], "discard"),
        ([OSError(), KeyError(), ValueError()], "dead"),
        ([ExceptionGroup("inner", [KeyError(), ValueError()]), OSError()], "dead"),
    ],
)
def test_a_group_has_the_fate_of_what_is_in_it(errors: list[Exception], fate: str) -> None:
    said = rule(retry_on=OSError, discard_on=KeyError, dead_on=ValueError)

    assert said.fate(ExceptionGroup("group", errors)) == fate


def test_exception_names_what_is_in_a_group_and_not_the_group() -> None:
    group = ExceptionGroup("group", [KeyError()])

    assert rule(discard_on=Exception, dead_on=KeyError).fate(group) == "dead"
    assert rule(discard_on=ExceptionGroup, dead_on=KeyError).fate(group) == "discard"


# What is written


def test_a_discarded_job_counts_as_failed_and_frees_its_lock() -> None:
    settlement = judged(KeyError(), rule(discard_on=KeyError), unique_token="t")

    assert (settlement.kind, settlement.entry, settlement.processed, settlement.failed, settlement.unlock) == (
        *("discarded", b"", 1, 1),
        ("t", "j"),
    )


def test_a_job_that_is_dead_at_its_first_failure_says_so() -> None:
    settlement = judged(KeyError("k"), rule(dead_on=KeyError))
    record = Job.decode(settlement.entry).record

    assert (record["retry_count"], record["failed_at"], record["error_class"]) == (0, NOW, "KeyError")


def test_retry_on_gives_no_more_retries_than_there_are() -> None:
    assert judged(OSError(), rule(retry_on=OSError), Policy(max_retries=1), retry_count=0).kind == "dead"


def test_a_job_without_retries_is_over_whatever_its_error() -> None:
    assert judged(KeyError(), rule(dead_on=KeyError), retry=False).kind == "discarded"


# Waits


def seconds_until(error: BaseException, said: FailureRule, policy: Policy = POLICY, **fields: Any) -> float:
    settlement = judged(error, said, policy, **fields)
    assert settlement.kind == "retry"
    return settlement.score - NOW


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ConnectionResetError(), 7),
        (ConnectionError(), 60),
        (TimeoutError(), 3),
        (OSError(), 20),
        (ExceptionGroup("group", [ConnectionError(), TimeoutError()]), 60),
    ],
)
def test_a_retry_waits_as_the_nearest_class_says(error: Exception, seconds: float) -> None:
    said = rule(
        backoff_on={
            ConnectionError: timedelta(minutes=1),
            ConnectionResetError: 7,
            TimeoutError: lambda job, error: 1 + job.retry_count,
        }
    )

    assert seconds_until(error, said, retry_count=1) == (seconds if seconds != 20 else 2**4 + 15 + 15)


def test_what_no_class_says_is_left_to_the_backoff_of_all() -> None:
    said = rule(backoff_on={ValueError: lambda job, error: None})
    policy = Policy(backoff=lambda job, error: 9)

    assert (seconds_until(KeyError(), said, policy), seconds_until(ValueError(), said, policy)) == (9, 9)


def test_a_wait_that_fails_is_noted_and_replaced() -> None:
    settlement = judged(KeyError(), rule(backoff_on={KeyError: lambda job, error: 1 / 0}))

    assert (settlement.score - NOW, settlement.problem) == (20, "KeyError (backoff failed too: ZeroDivisionError)")


# What a worker may say


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"retry_on": "ConnectionError"}, "retry_on must name classes of errors"),
        ({"discard_on": (ValueError, int)}, "discard_on must name classes of errors, such as ConnectionError, not <cl"),
        ({"dead_on": ValueError()}, "dead_on must name classes of errors"),
        ({"retry_on": OSError, "dead_on": (ValueError, OSError)}, "dead_on names OSError, which is named already"),
        ({"backoff_on": {ValueError: -1}}, r"backoff_on\[ValueError\] must be seconds"),
        ({"backoff_on": {ValueError: True}}, r"backoff_on\[ValueError\] must be seconds"),
        ({"backoff_on": {"ValueError": 1}}, "backoff_on must name classes of errors"),
        ({"on_exhausted": lambda job: None}, r"on_exhausted must be a function of \(job, error\)"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_where_it_is_declared(said: Any, problem: str) -> None:
    with pytest.raises(exq.WorkerError, match=f"work: {problem}"):

        @exq.worker(**said)
        async def work() -> None: ...


def test_a_worker_without_a_rule_has_none() -> None:
    @exq.worker(max_retries=3)
    async def work() -> None: ...

    assert (work.bound.rule, work.bound.on_exhausted) == (None, None)


def test_a_class_says_it_by_attributes_and_static_methods() -> None:
    class Base(exq.Worker):
        retry_on = (OSError,)
        backoff_on = {OSError: 5}  # noqa: RUF012  # as a user would write it

        async def perform(self) -> None: ...

        @staticmethod
        async def on_exhausted(job: exq.Job, error: BaseException) -> None: ...

    class Derived(Base):
        discard_on = KeyError

    bound = Registry.build([Derived]).workers["Derived"]
    assert bound.rule is not None
    fates = [bound.rule.fate(error) for error in (OSError(), KeyError(), ValueError())]
    assert (fates, bound.on_exhausted) == (["retry", "discard", "dead"], Base.on_exhausted)
