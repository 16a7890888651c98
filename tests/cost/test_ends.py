"""A payload is looked for from its nearer end: from the other one, thousands of jobs would be in the way."""

import pytest

from exq_anyio.job import Job
from exq_anyio.node.dequeuer import NEAR, Line, LocalLimit

JOBS = 1_000


@pytest.fixture
def line() -> Line:
    """A line that holds a thousand jobs, numbered from 1."""
    line = Line("q", LocalLimit(JOBS))
    for _ in range(JOBS):
        line.take(Job({}, b"", "q"))
    return line


def test_thousands_that_end_at_once_the_oldest_first_are_all_found_at_the_tail(line: Line) -> None:
    assert not any(line.near_head(number) for number in range(1, JOBS + 1))


def test_thousands_that_end_at_once_the_newest_first_are_found_at_the_head(line: Line) -> None:
    heads = [line.near_head(number) for number in range(JOBS, 0, -1)]
    assert all(heads[: JOBS - NEAR - 2])


def test_one_in_the_midst_of_others_that_run_on_is_found_from_the_nearer_end(line: Line) -> None:
    assert [line.near_head(number) for number in (400, 600, 1, 1000)] == [False, True, False, True]


def test_what_was_released_without_an_outcome_is_in_nobodys_way(line: Line) -> None:
    for number in range(1, 900):
        line.release(number)
    assert not line.near_head(950)
