"""What the operator sees: figures, queues, nodes, running jobs, what waits, and one job."""

from __future__ import annotations

import json
import time

import pytest

from .conftest import Shell
from .operator import Namespace, Typed, jid, lines, widest

HOUR = 3600.0


@pytest.fixture
def full(there: Namespace) -> Namespace:
    """Something of each."""
    now = time.time()
    there.queue("default", there.job(1), there.job(90))
    there.queue("mail", there.job(2, tags=["vip"]))
    there.put("retry", {there.failed(3): now + 3.4 * HOUR, there.failed(4, "ValueError"): now + 2.4 * HOUR})
    there.put("schedule", {there.job(5, "Reports::Monthly"): now + 2.4 * HOUR})
    there.put("dead", {there.failed(6): now - 3.4 * HOUR, there.failed(7, "Oops"): now - 1.5 * HOUR})
    there.client.set(f"{there.name}:stat:processed", 12345)
    there.client.set(f"{there.name}:stat:failed", 67)
    there.node("web-1#1")
    there.runs("web-1#1", 8)
    return there


# Figures


def test_the_figures_of_now(typed: Typed, full: Namespace) -> None:
    status, out, err = typed("stats")
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["processed", "12,345"], ["failed", "67"], ["enqueued", "3"], ["busy", "1"], ["scheduled", "1"],
        ["retries", "2"], ["dead", "2"], ["nodes", "1"],
    ]  # fmt: skip


def test_the_figures_for_programs_and_of_days(typed: Typed, full: Namespace) -> None:
    status, out, _ = typed("stats", "--json", "--days", "2")
    figures, today, yesterday = lines(out)
    assert status == 0
    assert figures == {
        "processed": 12345, "failed": 67, "enqueued": 3, "scheduled": 1, "retry": 2, "dead": 2, "busy": 1, "nodes": 1,
    }  # fmt: skip
    assert today["date"] > yesterday["date"]
    assert "DAY (UTC)" in typed("stats", "--days", "2")[1]


def test_queues_with_their_size_and_latency(typed: Typed, full: Namespace) -> None:
    full.client.sadd(f"{full.name}:paused", "mail")
    full.client.lset(f"{full.name}:queue:default", -1, full.job(90, enqueued_at=time.time() - 2.4 * HOUR))
    _, out, _ = typed("queues")
    assert [line.split() for line in out.splitlines()] == [
        ["QUEUE", "JOBS", "LATENCY"], ["default", "2", "2h"], ["mail", "1", "0.0s", "paused"],
    ]  # fmt: skip
    (mail,) = lines(typed("queues", "mail", "--json")[1])
    assert mail == {"name": "mail", "size": 1, "latency": 0.0, "paused": True, "known": True}


def test_a_queue_that_is_not_there_is_status_3(typed: Typed, full: Namespace) -> None:
    status, out, err = typed("queues", "mail", "nosuch")
    assert (status, err) == (3, "exq: there is no queue 'nosuch'; exq queues shows those that are\n")
    assert out.splitlines()[1].split()[0] == "mail"
    assert typed("jobs", "nosuch")[0] == 3


def test_nodes_and_what_they_run(typed: Typed, full: Namespace) -> None:
    _, out, _ = typed("nodes")
    titles, node = out.splitlines()
    assert titles.split() == ["NODE", "PID", "BUSY", "OF", "MEMORY", "UP", "BEAT", "QUEUES"]
    assert node.split()[:7] == ["web-1#1", "4711", "1", "10", "50", "MB", "2h"]
    (record,) = lines(typed("nodes", "--json")[1])
    assert (record["node_id"], record["queues"], record["quiet"]) == ("web-1#1", ["default"], False)
    _, out, _ = typed("busy")
    assert out.splitlines()[1].split() == ["2h", jid(8), "Mail", "default", "web-1#1"]
    (record,) = lines(typed("busy", "--json")[1])
    assert (record["jid"], record["node_id"], record["job"]["args"]) == (jid(8), "web-1#1", [8, "hi"])


def test_running_jobs_of_one_node_and_one_worker(typed: Typed, full: Namespace) -> None:
    assert jid(8) in typed("busy", "--node", "web-1#1", "--worker", "Mai")[1]
    assert typed("busy", "--worker", "Other")[:2] == (0, "No job is running.\n")
    status, _, err = typed("busy", "--node", "web-9")
    assert (status, err) == (3, "exq: there is no node 'web-9'; exq nodes shows those that are\n")


def test_an_empty_namespace_says_so(typed: Typed) -> None:
    assert typed("queues")[:2] == (0, "There are no queues: nobody has pushed a job yet.\n")
    assert typed("nodes")[:2] == (0, "There are no nodes: nobody works on the queues.\n")
    assert typed("busy")[:2] == (0, "No job is running.\n")
    for command, place in (("retries", "retries"), ("scheduled", "scheduled"), ("dead", "the dead set")):
        assert typed(command) == (0, "", f"Nothing is in {place}.\n")
    for command in ("queues", "nodes", "busy", "dead"):
        assert typed(command, "--json")[:2] == (0, "")


# What waits


def test_the_jobs_of_a_queue(typed: Typed, full: Namespace) -> None:
    _, out, err = typed("jobs", "default")
    assert [line.split() for line in out.splitlines()] == [
        ["WAITS", "JID", "WORKER", "ARGUMENTS"],
        ["-", jid(1), "Mail", "1,", '"hi"'],
        ["-", jid(90), "Mail", "90,", '"hi"'],
    ]  # fmt: skip
    assert err == ""


def test_the_sets(typed: Typed, full: Namespace) -> None:
    assert [line.split()[:5] for line in typed("retries")[1].splitlines()[1:]] == [
        ["+2h", jid(4), "Mail", "default", "4"],
        ["+3h", jid(3), "Mail", "default", "4"],
    ]
    assert typed("scheduled")[1].splitlines()[1].split()[:3] == ["+2h", jid(5), "Reports::Monthly"]
    assert [line.split()[:6] for line in typed("dead")[1].splitlines()[1:]] == [
        ["90m", jid(7), "Mail", "default", "3", "Oops:"],
        ["3h", jid(6), "Mail", "default", "3", "TimeoutError:"],
    ]


def test_some_of_many_and_how_many_there_are(typed: Typed, there: Namespace) -> None:
    there.put("dead", {there.failed(number): 1e9 + number for number in range(60)})
    _, out, err = typed("dead", "-n", "2", "--offset", "10")
    assert [line.split()[1] for line in out.splitlines()[1:]] == [jid(49), jid(48)]
    assert err == "11 to 12 of 60 in the dead set\n"
    assert typed("dead")[2] == "1 to 25 of 60 in the dead set\n"
    _, out, err = typed("dead", "--all")
    assert (len(out.splitlines()), err) == (61, "")
    assert len(lines(typed("dead", "--all", "--json")[1])) == 60


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--error", "Oops"], [7]),
        (["--worker", "Mai"], [7, 6]),
        (["--worker", "Other"], []),
        (["--since", "2h"], [7]),
        (["--until", "2h"], [6]),
        (["--text", "no answer", "--error", "Timeout"], [6]),
        (["--worker", "Mail", "--limit", "1"], [7]),
    ],
)
def test_a_search_says_how_far_it_looked(typed: Typed, full: Namespace, filters: list[str], found: list[int]) -> None:
    status, out, err = typed("dead", *filters)
    assert status == 0
    assert [line.split()[1] for line in out.splitlines()[1:]] == [jid(number) for number in found]
    assert err.startswith(f"{len(found)} hit{'' if len(found) == 1 else 's'}; looked at ")
    assert [record["jid"] for record in lines(typed("dead", *filters, "--json")[1])] == list(map(jid, found))


def test_a_time_may_be_ahead_or_in_iso(typed: Typed, full: Namespace) -> None:
    assert jid(5) in typed("scheduled", "--since", "+2h", "--until", "2100-01-01T00:00:00Z")[1]
    assert jid(5) not in typed("scheduled", "--until", "+2h")[1]
    for text, says in (
        ("2h later", "is no time; write 2h (ago)"),
        ("2030-01-01", "has no time zone"),
        ("9e9d", "no time"),
    ):
        status, _, err = typed("dead", "--since", text)
        assert status == 2
        assert says in err


def test_what_is_no_job_is_listed_too(typed: Typed, there: Namespace) -> None:
    there.put("dead", {"\x1b[31m garbage": 1e9})
    _, out, _ = typed("dead")
    assert "(no job)" in out
    assert "\x1b" not in out
    (record,) = lines(typed("dead", "--json")[1])
    assert (record["job"], record["text"]) == (None, "\x1b[31m garbage")
    there.queue("default", "[1]")
    assert "(no job)  [1]" in typed("jobs", "default")[1]


def test_one_job_wherever_it_is(typed: Typed, full: Namespace) -> None:
    _, out, _ = typed("show", jid(7))
    said = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (said["place"], said["worker"], said["args"], said["error_class"]) == ("dead", "Mail", '[7, "hi"]', "Oops")
    assert lines(typed("show", jid(2), "--json")[1])[0]["queue"] == "mail"
    assert typed("show", jid(8))[1].startswith("It runs on web-1#1, since ")
    status, out, err = typed("show", jid(7), "--from", "retries")
    assert (status, out, err) == (3, "", f"exq: no job '{jid(7)}' is in retries; looked at 2\n")
    assert typed("show", "nosuch")[0] == 3


# How it looks


@pytest.mark.parametrize("columns", [30, 80, 132])
def test_tables_fit_the_terminal(typed: Typed, full: Namespace, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    full.put("dead", {full.failed(9, "An.Error." * 20, **{"class": "Very::Long::" * 9, "queue": "q" * 99}): 1e9})
    full.node("a-host-with-a-long-name.example.com#12", queues=[f"queue{number}" for number in range(30)])
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in (["stats"], ["queues"], ["nodes"], ["busy"], ["jobs", "default"], ["retries"], ["dead"]):
        _, out, _ = typed(*command)
        # On the narrowest one the id stays whole, and with it the worker.
        assert widest(out) <= max(columns, 42), command
    assert jid(9) in typed("dead")[1]


def test_there_is_no_colour_where_there_is_no_terminal(typed: Typed, full: Namespace) -> None:
    assert not any("\x1b" in typed(command)[1] for command in ("stats", "queues", "nodes", "dead"))


def test_a_pipe_that_is_closed_early_is_no_error_to_read(shell: Shell, there: Namespace) -> None:
    there.put("dead", {there.failed(number): 1e9 + number for number in range(5000)})
    for options in ("--all", "--all --json"):
        done = shell.script(f"exq dead {options} | head -n 1; echo ${{PIPESTATUS[0]}}")
        assert done.stderr == ""
        assert done.stdout.splitlines()[1:] == ["141"]


def test_without_redis_it_is_one_line_and_status_1(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["stats"], ["dead", "--json"], ["show", "x"], ["pause", "mail"], ["cancel", "x", "--yes"]):
        status, out, err = typed(*command, "--redis-url", "unix:///no/such.sock")
        assert (status, out) == (1, "")
        assert err.startswith("exq: Redis at unix:///no/such.sock?db=0: ")
        assert err.count("\n") == 1


def test_the_settings_may_come_from_a_file(typed: Typed, shell: Shell, full: Namespace) -> None:
    shell.path("other.toml").write_text('namespace = "elsewhere"\n')
    shell.path("pyproject.toml").write_text("[tool.other]\n")
    given = {"EXQ_NAMESPACE": ""}
    assert "elsewhere" not in shell.run("queues", env=given).stdout
    assert typed("queues", "--config", str(shell.path("none.toml")))[0] == 1
    bare = {name: value for name, value in shell.environment.items() if name != "EXQ_NAMESPACE"}
    alone = Shell(shell.directory, bare)
    shell.path("exq.toml").write_text(f"namespace = {json.dumps(full.name)}\nimports = ['no_such_module']\n")
    assert "mail" in alone.run("queues").stdout
    shell.path("exq.toml").unlink()
    shell.path("pyproject.toml").write_text(f"[tool.exq]\nnamespace = {json.dumps(full.name)}\n")
    assert "mail" in alone.run("queues").stdout
    assert "no queues" in alone.run("queues", "--config", "other.toml").stdout
