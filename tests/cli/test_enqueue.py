from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ..conftest import PrivateValkey
from .conftest import Client, Shell

Typed = Callable[..., tuple[int, str, str]]


def queued(client: Client, namespace: str, queue: str = "default") -> list[dict[str, object]]:
    return [json.loads(payload) for payload in client.lrange(f"{namespace}:queue:{queue}", 0, -1)]


def scheduled(client: Client, namespace: str) -> list[tuple[dict[str, object], float]]:
    return [
        (json.loads(member), score) for member, score in client.zrange(f"{namespace}:schedule", 0, -1, withscores=True)
    ]


def refused(typed: Typed, *args: str) -> str:
    """What is said of a wrong usage."""
    status, out, err = typed("enqueue", *args)
    assert (status, out) == (2, "")
    assert "Usage: exq enqueue [OPTIONS] QUEUE WORKER [JSON_ARGS]" in err
    return err.splitlines()[-1]


def failed(typed: Typed, *args: str) -> str:
    """What is said of what cannot be done: one line."""
    status, out, err = typed("enqueue", *args)
    assert (status, out) == (1, "")
    assert err.startswith("exq: ")
    assert err.count("\n") == 1
    return err


def test_the_job_is_in_its_queue_and_its_jid_on_stdout(shell: Shell, client: Client, namespace: str) -> None:
    before = time.time()
    done = shell.run(
        "enqueue", "mail", "Reports::Monthly", '[7, "hé", null, {"a": [1.5]}, 123456789012345678901234567890]'
    )
    assert (done.returncode, done.stderr) == (0, "")
    (job,) = queued(client, namespace, "mail")
    at = job.pop("created_at")
    assert isinstance(at, float)
    assert before <= at <= time.time()
    assert job.pop("enqueued_at") == at
    assert job == {
        "retry": True,
        "queue": "mail",
        "class": "Reports::Monthly",
        "args": [7, "hé", None, {"a": [1.5]}, 123456789012345678901234567890],
        "jid": done.stdout.removesuffix("\n"),
    }
    assert list(client.smembers(f"{namespace}:queues")) == ["mail"]


def test_without_json_there_are_no_arguments(shell: Shell, client: Client, namespace: str) -> None:
    assert shell.run("enqueue", "default", "W").returncode == 0
    assert [job["args"] for job in queued(client, namespace)] == [[]]


def test_options_become_fields_of_the_job(shell: Shell, client: Client, namespace: str) -> None:
    done = shell.run(
        "enqueue", "default", "W", "[]", "--jid", "mine", "--max-retries", "0", "--timeout", "1.5",
        "--unique-for", "60", "--unique-token", "t", "--unique-until", "start",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "mine\n")
    (job,) = queued(client, namespace)
    wanted = {
        "jid": "mine",
        "retry": 0,
        "timeout": 1.5,
        "unique_for": 60.0,
        "unique_token": "t",
        "unique_until": "start",
    }
    assert {name: job[name] for name in wanted} == wanted


def test_in_seconds_the_job_is_scheduled(shell: Shell, client: Client, namespace: str) -> None:
    before = time.time()
    done = shell.run("enqueue", "default", "W", "[]", "--in", "1000.5")
    ((job, score),) = scheduled(client, namespace)
    assert job["jid"] == done.stdout.strip()
    assert before + 1000.5 <= score <= time.time() + 1000.5
    assert "enqueued_at" not in job
    assert queued(client, namespace) == []


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30"])
def test_at_an_instant_the_job_is_scheduled_for_it(shell: Shell, client: Client, namespace: str, zone: str) -> None:
    done = shell.run("enqueue", "default", "W", "[]", "--at", f"2040-01-31T12:00:00.25{zone}")
    assert (done.returncode, done.stderr) == (0, "")
    ahead = timedelta(hours=5, minutes=30) if zone == "+05:30" else timedelta(0)
    instant = datetime(2040, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC) - ahead
    assert [score for _, score in scheduled(client, namespace)] == [instant.timestamp()]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("[1", "not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"),
        ("[NaN]", "not JSON: NaN is no JSON number"),
        ("[" * 100_000, "not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        ("7", "must be an array, such as '[7]'"),
        ('{"a": 1}', "must be an array, such as '[{\"a\": 1}]'"),
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_no_json_array_is_refused(typed: Typed, client: Client, namespace: str, args: str, says: str) -> None:
    assert refused(typed, "default", "W", args) == f"Error: Invalid value for '[JSON_ARGS]': {says}"
    assert list(client.scan_iter(f"{namespace}:*")) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--at", "2040-01-31T12:00:00"], "'2040-01-31T12:00:00' has no time zone; write 2040-01-31T12:00:00Z for UTC"),
        (["--at", "tomorrow"], "'tomorrow' is no ISO 8601 time, such as 2030-01-31T12:00:00Z"),
        (["--in", "5", "--at", "2040-01-31T12:00:00Z"], "--in and --at say the same thing: give one of them"),
        (["--in", "-5"], "-5.0 is not in the range x>=0"),
        (["--max-retries", "-1"], "-1 is not in the range x>=0"),
        (["--unique-for", "0"], "0.0 is not in the range x>0"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    typed: Typed, client: Client, namespace: str, options: list[str], says: str
) -> None:
    assert says in refused(typed, "default", "W", "[]", *options)
    assert list(client.scan_iter(f"{namespace}:*")) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a\tb", "W"], "exq: queue 'a\\tb': must not hold control characters\n"),
        (["", "W"], "exq: queue '': must not be empty\n"),
        (["default", ""], "exq: a worker's name cannot be empty\n"),
        (["default", "W", "[1e999]"], "exq: W args[0]: "),
        (["default", "W", "[]", "--in", "nan"], "exq: W after: must be a number of seconds\n"),
        (["default", "W", "[]", "--unique-token", "t"], "exq: W unique_token: needs unique_for, "),
    ],
)
def test_a_job_that_cannot_be_is_one_line(
    typed: Typed, client: Client, namespace: str, arguments: list[str], says: str
) -> None:
    said = failed(typed, *arguments)
    assert said.startswith(says)
    assert list(client.scan_iter(f"{namespace}:*")) == []


def test_a_worker_that_is_known_has_its_arguments_checked(shell: Shell) -> None:
    done = shell.run("enqueue", "default", "nap", "[1]", env={"EXQ_IMPORTS": "jobs"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("exq: nap")
    assert done.stderr.count("\n") == 1


def test_a_conflict_names_the_holder(typed: Typed, shell: Shell, client: Client, namespace: str) -> None:
    holder = shell.run("enqueue", "default", "W", "[1]", "--unique-for", "60").stdout.strip()
    said = failed(typed, "default", "W", "[1]", "--unique-for", "60")
    assert said == f"exq: a job with the same unique token is already there: jid={holder}\n"
    assert len(queued(client, namespace)) == 1


@pytest.mark.parametrize(
    ("key", "needed", "options"),
    [("queue:default", "list", []), ("queues", "set", []), ("schedule", "zset", ["--in", "5"])],
)
def test_a_key_of_another_type_is_named(
    typed: Typed, client: Client, namespace: str, key: str, needed: str, options: list[str]
) -> None:
    client.set(f"{namespace}:{key}", "somebody else's")
    said = failed(typed, "default", "W", "[]", *options)
    assert f"key '{namespace}:{key}' holds a string, a {needed} is needed; rename or delete it" in said
    assert list(client.scan_iter(f"{namespace}:*")) == [f"{namespace}:{key}"]


def test_the_namespace_may_be_empty(shell: Shell, client: Client, namespace: str) -> None:
    done = shell.run("enqueue", namespace, "W", "--namespace", "")
    assert done.returncode == 0
    assert [json.loads(payload)["jid"] for payload in client.lrange(f"queue:{namespace}", 0, -1)] == [
        done.stdout.strip()
    ]
    client.delete(f"queue:{namespace}", "queues")


def test_a_full_redis_takes_nothing_and_says_so(typed: Typed, private_valkey: Callable[..., PrivateValkey]) -> None:
    server = private_valkey("--maxmemory", "1mb")
    said = failed(typed, "default", "W", "--redis-url", server.url)
    assert "it is at maxmemory and takes no more; free memory or raise maxmemory" in said
