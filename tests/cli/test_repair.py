"""What the operator does to what waits, and what is then there."""

from __future__ import annotations

import json
import time

import pytest

from .operator import Namespace, Typed, jid, lines


def test_a_dead_job_is_retried(typed: Typed, there: Namespace) -> None:
    there.put("dead", {there.failed(1): 1e9, there.failed(2): 2e9})
    status, out, err = typed("retry", jid(1))
    assert (status, out, err) == (0, f"retried: {jid(1)} (Mail), was in dead\n", "")
    assert there.jids("queue:default") == [jid(1)]
    assert there.jids("dead") == [jid(2)]


def test_some_of_those_that_are_named_are_not_there(typed: Typed, there: Namespace) -> None:
    there.put("retry", {there.failed(1): 1e9})
    status, out, err = typed("retry", jid(1), "nosuch")
    assert (status, out) == (3, f"retried: {jid(1)} (Mail), was in retry\n")
    assert err == "exq: no job 'nosuch' is waiting anywhere; looked at 1\n"
    assert lines(typed("retry", jid(1), "--json", "--from", "dead")[1]) == [
        {"action": "retried", "jid": jid(1), "done": False, "from": None}
    ]


def test_all_that_match_are_retried(typed: Typed, there: Namespace) -> None:
    there.put("dead", {there.failed(number, "AB"[number % 2]): 1e9 + number for number in range(10)})
    status, out, _ = typed("retry", "--from", "dead", "--error", "A", "--yes")
    assert (status, out) == (0, "retried: 5 jobs of the dead set; looked at 10 of 10\n")
    assert len(there.jids("queue:default")) == len(there.jids("dead")) == 5
    (record,) = lines(typed("delete", "--from", "dead", "--all", "--yes", "--json")[1])
    assert record == {
        "action": "deleted", "place": "the dead set", "done": 5, "moved": 0, "looked": 5, "complete": True,
    }  # fmt: skip
    assert there.jids("dead") == []


def test_a_scheduled_job_is_run_now_and_one_in_a_queue_goes_to_the_front(typed: Typed, there: Namespace) -> None:
    there.put("schedule", {there.job(1): time.time() + 999})
    there.queue("mail", there.job(2), there.job(3))
    assert typed("run-now", jid(1), jid(2))[0] == 0
    assert there.jids("queue:default") == [jid(1)]
    assert there.jids("queue:mail") == [jid(3), jid(2)]


def test_a_waiting_job_is_killed_and_deleted(typed: Typed, there: Namespace) -> None:
    there.queue("mail", there.job(1))
    assert typed("kill", jid(1), "--yes")[1] == f"killed: {jid(1)} (Mail), was in queue mail\n"
    assert there.jids("dead") == [jid(1)]
    assert typed("kill", jid(1), "--yes")[0] == 2
    assert typed("delete", jid(1), "--yes")[0] == 0
    assert there.jids("dead") == []


def test_a_lock_is_kept_when_that_is_said(typed: Typed, there: Namespace) -> None:
    lock = f"{there.name}:unique:t"
    for options, left in ((["--keep-lock"], 1), ([], 0)):
        there.client.set(lock, jid(1))
        there.queue("mail", there.job(1, unique_token="t"))
        assert typed("delete", jid(1), "--yes", *options)[0] == 0
        assert there.client.exists(lock) == left


def test_a_place_is_cleared_and_a_queue_is_gone_then(typed: Typed, there: Namespace) -> None:
    there.queue("mail", *(there.job(number) for number in range(7)))
    there.put("dead", {there.failed(9): 1e9})
    assert typed("clear", "mail", "--yes")[:2] == (0, "deleted: 7 jobs of queue mail\n")
    assert not there.client.smembers(f"{there.name}:queues")
    status, _, err = typed("clear", "mail", "--yes")
    assert (status, err) == (3, "exq: there is no queue 'mail'; exq queues shows those that are\n")
    assert lines(typed("clear", "dead", "--yes", "--json")[1]) == [
        {"action": "cleared", "place": "the dead set", "done": 1}
    ]
    assert typed("clear", "dead")[:2] == (0, "deleted: 0 jobs of the dead set\n")  # and asks nothing


def test_a_queue_may_be_called_like_a_set(typed: Typed, there: Namespace) -> None:
    there.queue("dead", there.job(1))
    assert typed("clear", "queue:dead", "--yes")[1] == "deleted: 1 job of queue dead\n"


def test_arguments_and_times_are_changed(typed: Typed, there: Namespace) -> None:
    there.queue("mail", there.job(1, custom="kept"))
    assert typed("edit", jid(1), '[{"a": 2}]')[:2] == (0, f"changed: {jid(1)} (Mail), in queue mail\n")
    (payload,) = there.client.lrange(f"{there.name}:queue:mail", 0, -1)
    assert (json.loads(payload)["args"], json.loads(payload)["custom"]) == ([{"a": 2}], "kept")
    status, out, _ = typed("reschedule", jid(1), "+1h", "--from", "mail")
    assert status == 0
    assert f"changed: {jid(1)} (Mail), in schedule, due " in out
    ((_, score),) = there.client.zrange(f"{there.name}:schedule", 0, -1, withscores=True)
    assert abs(score - time.time() - 3600) < 60
    assert typed("edit", "nosuch", "[]")[0] == 3
    assert typed("reschedule", "nosuch", "+1h")[0] == 3


def test_a_dead_job_is_due_at_no_time(typed: Typed, there: Namespace) -> None:
    there.put("dead", {there.failed(1): 1e9})
    status, _, err = typed("reschedule", jid(1), "+1h")
    assert status == 2
    assert "a dead job is due at no time; retry it, or run it now" in err


def test_garbage_cannot_be_retried(typed: Typed, there: Namespace) -> None:
    there.put("dead", {"garbage": 1e9})
    status, out, _ = typed("retry", "--from", "dead", "--all", "--yes")
    assert (status, out) == (0, "retried: 0 jobs of the dead set; looked at 1 of 1\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retry"], "name JIDs; or a PLACE, with --from, and --all or a filter"),
        (["delete", "--from", "dead"], "that would be all that is in the dead set: say --all, or filter"),
        (["delete", "x", "--all", "--from", "dead"], "name JIDs, or say --all or a filter; not both"),
        (["retry", "--from", "mail", "--all"], "not for queue mail: its jobs are there already"),
        (["delete", "--from", "dead", "--all"], "this asks first, and there is no terminal to ask at; give --yes"),
        (["clear", "dead"], "this asks first, and there is no terminal to ask at; give --yes"),
        (["edit", "x", "{}"], "must be an array"),
        (["dead", "--offset", "3", "--error", "x"], "--offset counts entries, and not those that a filter finds"),
    ],
)
def test_what_is_not_meant_is_refused_and_nothing_is_done(
    typed: Typed, there: Namespace, arguments: list[str], says: str
) -> None:
    there.put("dead", {there.failed(1): 1e9})
    there.queue("mail", there.job(2))
    status, out, err = typed(*arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert (there.jids("dead"), there.jids("queue:mail")) == ([jid(1)], [jid(2)])
