"""assert_enqueued: what it finds, and what it says where it finds nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import exq_anyio as exq
from exq_anyio.testing import Mock

from .test_mock import config, notes


@exq.worker(queue="mail", max_retries=5, tags=["t"])
async def welcome(user: int, template: str = "hi") -> None: ...


async def fill(mock: Mock) -> None:
    async with exq.open(config()) as q:
        await q.push(welcome.job(7))
        await q.push(welcome.job(8, "bye").on(queue="low", after=timedelta(minutes=5), max_retries=1, colour="red"))
        await q.enqueue("default", "Ruby::Job", [{"a": 1}])


@pytest.fixture
async def mock() -> Any:
    with Mock() as mock:
        await fill(mock)
        yield mock


@pytest.mark.parametrize(
    ("given", "args"),
    [
        ({}, [[7], [8, "bye"], [{"a": 1}]]),
        ({"worker": welcome}, [[7], [8, "bye"]]),
        ({"worker": "Ruby::Job"}, [[{"a": 1}]]),
        ({"worker": welcome.job(7)}, [[7]]),
        ({"worker": welcome, "args": (7,)}, [[7]]),
        ({"queue": "low"}, [[8, "bye"]]),
        ({"worker": welcome.job(8, "bye").on(queue="low")}, [[8, "bye"]]),
        ({"worker": welcome.job(8, "bye").on(queue="low", after=300, max_retries=1, colour="red")}, [[8, "bye"]]),
        ({"after": 300}, [[8, "bye"]]),
        ({"after": timedelta(minutes=5)}, [[8, "bye"]]),
        ({"retry": 5}, [[7]]),
        ({"tags": ["t"], "colour": "red"}, [[8, "bye"]]),
        ({"worker": notes, "count": 0}, []),
        ({"worker": welcome, "count": 2}, [[7], [8, "bye"]]),
    ],
    ids=repr,
)
async def test_jobs_that_are_like_this_are_found(mock: Mock, given: dict[str, Any], args: list[object]) -> None:
    assert [job.args for job in mock.assert_enqueued(**given)] == args


async def test_an_instant_is_found(mock: Mock) -> None:
    (late,) = mock.jobs(place="schedule")
    assert mock.assert_enqueued(at=late.due) == mock.enqueued(queue="low")
    with pytest.raises(AssertionError, match="due at once, not 2030"):
        mock.assert_enqueued(welcome, at=datetime(2030, 1, 1, tzinfo=UTC))


def complaint(mock: Mock, **given: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        mock.assert_enqueued(**given)
    return [re.sub(r"due 2\S+ \S+", "due <instant>", line) for line in str(caught.value).splitlines()]


async def test_the_difference_is_said_with_the_most_similar_first(mock: Mock) -> None:
    assert complaint(mock, worker=welcome.job(8).on(max_retries=3)) == [
        "no job was enqueued with worker='welcome' args=[8] queue='mail' retry=3",
        "what was enqueued, the most similar first:",
        "  welcome(7) queue=mail",
        "      args is [7], not [8]",
        "      retry is 5, not 3",
        "  welcome(8, 'bye') queue=low due <instant>",
        "      args is [8, 'bye'], not [8]",
        "      queue is 'low', not 'mail'",
        "      retry is 1, not 3",
        "  Ruby::Job({'a': 1}) queue=default",
        "      worker is 'Ruby::Job', not 'welcome'",
        "      args is [{'a': 1}], not [8]",
        "      queue is 'default', not 'mail'",
        "      retry is True, not 3",
    ]


async def test_a_wrong_time_is_said(mock: Mock) -> None:
    assert complaint(mock, worker=welcome, queue="low", after=60)[:4] == [
        "no job was enqueued with worker='welcome' queue='low' after=60",
        "what was enqueued, the most similar first:",
        "  welcome(8, 'bye') queue=low due <instant>",
        "      due after 300 s, not 60 s",
    ]
    assert complaint(mock, worker=welcome.job(7).on(after=60))[3] == "      due after 0 s, not 60 s"


async def test_a_wrong_number_is_said(mock: Mock) -> None:
    assert complaint(mock, worker=welcome, count=1)[0] == (
        "2 jobs were enqueued with worker='welcome', where there should be 1"
    )
    assert complaint(mock, worker="Ruby::Job", count=0)[0] == (
        "one job was enqueued with worker='Ruby::Job', where there should be 0"
    )


async def test_it_is_said_that_there_is_nothing_at_all() -> None:
    assert complaint(Mock(), worker="A") == ["no job was enqueued with worker='A'", "nothing was enqueued at all"]


async def test_a_long_list_is_cut() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.enqueue_all(welcome.job(number) for number in range(25))
    assert complaint(mock, worker="A")[-1] == "  and 15 more"


async def test_a_value_that_json_cannot_say_is_an_error_and_no_difference(mock: Mock) -> None:
    with pytest.raises(exq.ArgumentError):
        mock.assert_enqueued(welcome, [object()])
