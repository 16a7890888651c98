"""The account of a chaos run sees what is wrong, and excuses what may be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import pytest

from benchmarks.chaos.account import Account, Remains, gather


@attrs.define
class Files:
    """Ledgers as processes would have written them; each line is a second after the one before."""

    directory: Path
    now: float = 100.0

    def __attrs_post_init__(self) -> None:
        self.write("faults")

    def write(self, name: str, *lines: str) -> None:
        with (self.directory / name).open("a") as file:
            for line in lines:
                self.now += 1
                file.write(f"{self.now:.6f} {line}\n")

    def planned(self, jid: str, told: str = "accepted", processed: int = 1, failed: int = 0, end: str = "done") -> None:
        self.write("p0", f"planned {jid} Worker {processed} {failed} {end}", f"sent {jid}")
        if told != "sent":
            self.write("p0", f"{told} {jid}")

    def ran(self, process: str, number: int, jid: str, how: str = "done", step: str = "-/0", why: str = "") -> None:
        self.write(process, f"taken {number} {jid} {step}", f"start {number} {jid}", f"end {number} {jid} {how}")
        self.write(process, *([why] if why else []), f"over {number} {jid}")

    def account(self, **remains: object) -> Account:
        left = {
            "processed": 0,
            "failed": 0,
            "dead": Counter(),
            "pending": {},
            "locks": frozenset(),
            "nodes": frozenset(),
        }
        return gather(self.directory, Remains(**{**left, **remains}))  # type: ignore[arg-type]  # fields by name


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def told(account: Account) -> dict[str, list[str]]:
    """The jobs that the account complains of."""
    return {
        what: found
        for what, found in {
            "lost": account.lost,
            "unwanted": account.unwanted,
            "unexcused": [run.jid for run, _ in account.unexcused],
            "refused": [run.jid for run in account.refused],
            "miscounted": account.miscounted,
        }.items()
        if found
    }


def test_a_job_that_was_done_once_is_well(files: Files) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a")
    account = files.account()
    assert told(account) == {}
    assert (account.processed, account.failed) == (1, 0)


def test_a_job_that_was_accepted_and_never_seen_is_lost(files: Files) -> None:
    files.planned("a")
    assert told(files.account()) == {"lost": ["a"]}


@pytest.mark.parametrize("how", ["failed", "cut", "snoozed"])
def test_a_job_that_did_not_come_to_its_end_is_lost(files: Files, how: str) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a", how)
    assert told(files.account()) == {"lost": ["a"]}


def test_a_job_that_should_have_died_is_lost_unless_it_is_among_the_dead(files: Files) -> None:
    files.planned("a", failed=1, end="dead")
    files.ran("w0-1", 1, "a", "failed")
    assert told(files.account()) == {"lost": ["a"]}
    assert told(files.account(dead=Counter(["a"]))) == {}
    assert told(files.account(dead=Counter(["a", "a"]))) == {"lost": ["a"]}


@pytest.mark.parametrize("answer", ["sent", "uncertain"])
def test_a_job_that_may_have_been_enqueued_counts_if_it_was_seen(files: Files, answer: str) -> None:
    files.planned("never", answer)
    files.planned("seen", answer)
    files.ran("w0-1", 1, "seen")
    account = files.account()
    assert (told(account), account.processed) == ({}, 1)


@pytest.mark.parametrize("answer", ["failed", "conflict"])
def test_a_job_that_surely_was_not_enqueued_must_not_run(files: Files, answer: str) -> None:
    files.planned("a", answer)
    files.ran("w0-1", 1, "a")
    assert told(files.account()) == {"unwanted": ["a"]}


def test_a_second_run_needs_a_reason(files: Files) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a")
    files.ran("w1-1", 1, "a")
    assert told(files.account()) == {"unexcused": ["a"], "miscounted": ["a"]}


def test_a_process_that_was_killed_after_the_outcome_was_written_is_no_reason(files: Files) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a")
    files.write("faults", "killed w0-1")
    files.ran("w1-1", 1, "a")
    assert told(files.account()) == {"unexcused": ["a"], "miscounted": ["a"]}


@pytest.mark.parametrize("fault", ["killed", "SIGTERM"])
def test_the_end_of_the_process_before_the_outcome_was_written_is_a_reason(files: Files, fault: str) -> None:
    files.planned("a")
    files.write("w0-1", "taken 1 a -/0", "start 1 a", "end 1 a done")
    files.write("faults", f"{fault} w0-1")
    files.ran("w1-1", 1, "a")
    account = files.account()
    assert told(account) == {}
    assert [run.process for run in account.twice] == ["w0-1"]


def test_a_process_that_only_forgot_the_job_is_no_reason(files: Files) -> None:
    files.planned("a")
    files.write("w0-1", "taken 1 a -/0", "start 1 a", "end 1 a done")
    files.ran("w1-1", 1, "a")
    assert told(files.account()) == {"unexcused": ["a"]}


@pytest.mark.parametrize("why", ["back a", "left a", "lost"])
def test_a_run_that_was_given_up_is_a_reason(files: Files, why: str) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a", "cut", why=why)
    files.ran("w1-1", 1, "a")
    assert told(files.account()) == {}


def test_who_wakes_up_may_start_what_it_had_taken_long_ago(files: Files) -> None:
    files.planned("a")
    files.ran("w1-1", 1, "a")
    files.ran("w0-1", 1, "a", why="lost")
    assert told(files.account()) == {}


@pytest.mark.parametrize(("rescued", "complaints"), [("host#1", {}), ("host#2", {"unexcused": ["a"]})])
def test_who_wakes_up_may_die_before_it_knows(files: Files, rescued: str, complaints: dict[str, list[str]]) -> None:
    files.write("w0-1", "up host#1")
    files.planned("a")
    files.write("w1-1", f"rescued {rescued}")
    files.ran("w1-1", 1, "a")
    files.write("w0-1", "taken 1 a -/0", "start 1 a", "end 1 a done")
    files.write("faults", "killed w0-1")
    assert told(files.account()) == complaints


def test_who_has_a_new_claim_since_has_no_excuse(files: Files) -> None:
    files.write("w1-1", "rescued host#1")
    files.write("w0-1", "up host#1")
    files.planned("a")
    files.ran("w1-1", 1, "a")
    files.write("w0-1", "taken 1 a -/0", "start 1 a", "end 1 a done")
    files.write("faults", "killed w0-1")
    assert told(files.account()) == {"unexcused": ["a"]}


def test_an_outcome_that_is_refused_while_the_claim_is_kept_is_wrong(files: Files) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a", why="refused a")
    files.ran("w1-1", 1, "a")
    assert told(files.account()) == {"refused": ["a"]}


def test_retries_and_snoozes_are_steps_of_their_own(files: Files) -> None:
    files.planned("a", processed=3, failed=1)
    files.ran("w0-1", 1, "a", "failed", "-/0")
    files.ran("w0-1", 2, "a", "snoozed", "0/0")
    files.ran("w1-1", 1, "a", "done", "0/1")
    account = files.account()
    assert told(account) == {}
    assert (account.processed, account.failed) == (3, 1)


def test_a_line_that_the_death_of_its_process_cut_short_is_not_read(files: Files) -> None:
    files.planned("a")
    files.ran("w0-1", 1, "a")
    with (files.directory / "w0-1").open("a") as file:
        file.write("200.0 taken 2 a")
    assert told(files.account()) == {}
