"""What a probe is told, and what `exq health` says."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from urllib.error import HTTPError

import anyio
import pytest

from exq_anyio.cli.probes import answer, serve_probes
from exq_anyio.errors import ConfigError
from exq_anyio.node.dequeuer import Line, LocalLimit
from exq_anyio.node.health import Health, examine
from exq_anyio.node.heartbeat import Pulse

from ..conftest import PrivateValkey
from .conftest import Client, Shell, Worker, until
from .operator import Namespace, Typed, lines
from .test_processes import enqueue

Start = Callable[..., Worker]


def health(**changed: object) -> Health:
    fields = {
        "node_id": "h#1", "problem": "", "ready": True, "quiet": False, "redis": True, "silent": 0.25,
        "running": {"mail": 2}, "ended": {"mail": 40},
    }  # fmt: skip
    return Health(**{**fields, **changed})  # type: ignore[arg-type]


def get(port: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def port(worker: Worker) -> str:
    until(lambda: "probes are answered" in worker.log(), "it says where")
    return worker.log().partition("port=")[2].split()[0]


# What is answered


def test_who_is_not_up_yet_is_alive_and_not_ready() -> None:
    assert answer("/livez", [None]) == (200, "alive\n")
    assert answer("/readyz", [None]) == (503, "not up yet\n")


def test_one_of_several_that_works_is_enough_to_be_ready() -> None:
    assert answer("/readyz", [None, health()]) == (200, "ready\n")
    quiet, away = health(ready=False, quiet=True), health(ready=False, redis=False)
    assert answer("/readyz", [quiet, away]) == (503, "takes no more jobs\nRedis is away\n")


def test_one_of_several_that_hangs_is_enough_to_be_dead() -> None:
    assert answer("/livez", [health(), health(problem="the event loop has been blocked for 70 s")]) == (
        503,
        "the event loop has been blocked for 70 s\n",
    )
    assert answer("/livez", [health(redis=False, ready=False)])[0] == 200
    assert answer("/other", [])[0] == 404


def test_metrics_are_what_prometheus_reads() -> None:
    status, text = answer("/metrics", [health(running={'a"b\n\\': 1}), None])
    assert status == 200
    assert 'exq_process_up{process="1"} 1\nexq_process_up{process="2"} 0\n' in text
    assert 'exq_process_jobs_running{process="1",queue="a\\"b\\n\\\\"} 1\n' in text
    assert 'exq_process_jobs_ended_total{process="1",queue="mail"} 40\n' in text
    kinds = [line for line in text.splitlines() if line.startswith("# TYPE exq_")]
    assert len(kinds) == len(set(kinds)) == 5


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with (
        serve_probes("127.0.0.1", 0, list) as taken,
        pytest.raises(ConfigError, match=rf"health_port: cannot listen at 127.0.0.1:{taken}: "),
        serve_probes("127.0.0.1", taken, list),
    ):
        pass


# How a node is


async def test_a_queue_that_is_not_looked_at_is_a_problem_unless_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("exq_anyio.node.health.time", SimpleNamespace(monotonic=lambda: now))
    line, pulse = Line("mail", LocalLimit(10)), Pulse(10, seen=now)

    def problem(*, redis: bool = True) -> str:
        return examine("h#1", [line], pulse, poll_timeout=5, quiet=False, redis=redis).problem

    line.turned = now - 14.9
    assert problem() == ""
    line.turned = now - 16
    assert problem() == "queue mail has not been looked at for 16 s"
    assert problem(redis=False) == ""
    line.ending = True
    assert problem() == ""
    pulse.seen = now - 11
    assert problem(redis=False) == "the event loop has been blocked for 11 s"
    await anyio.lowlevel.checkpoint()


# In a process


def test_a_worker_is_ready_until_it_is_told_to_be_quiet(
    start: Start, shell: Shell, client: Client, namespace: str, typed: Typed
) -> None:
    worker = start("--health-port", "0", "--health-host", "127.0.0.1", "--node-identifier", "h")
    where = port(worker)
    until(lambda: get(where, "/readyz") == (200, "ready\n"), "it is ready")
    assert get(where, "/livez") == (200, "alive\n")
    enqueue(client, namespace, "nap", 0, str(shell.path("a")), times=3)
    until(lambda: 'ended_total{process="1",queue="default"} 3' in get(where, "/metrics")[1], "the jobs are counted")
    assert typed("quiet", "h#1")[0] == 0
    until(lambda: get(where, "/readyz") == (503, "takes no more jobs\n"), "it is not ready")
    assert get(where, "/livez")[0] == 200


def test_while_redis_is_away_it_is_alive_and_not_ready(
    start: Start, private_valkey: Callable[..., PrivateValkey]
) -> None:
    server = private_valkey()
    worker = start("--health-port", "0", "--redis-url", server.url)
    where = port(worker)
    server.kill()
    until(lambda: get(where, "/readyz") == (503, "Redis is away\n"), "it is not ready")
    assert get(where, "/livez") == (200, "alive\n")
    server.start()
    until(lambda: get(where, "/readyz")[0] == 200, "it is ready")


def test_a_job_that_blocks_the_event_loop_too_long_is_seen_while_it_does(
    shell: Shell, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from .conftest import EXQ

    with shell.path("stderr").open("wb") as file:
        process = subprocess.Popen(
            [EXQ, "run", "jobs", "--health-port", "0"],
            cwd=shell.directory,
            env={**shell.environment, "EXQ_BLOCKED_LIMIT": "3"},
            stderr=file,
        )
    worker = Worker(process, shell.path("stderr"))
    try:
        worker.until_up()
        where = port(worker)
        assert get(where, "/livez")[0] == 200
        enqueue(client, namespace, "hog", str(shell.path("a")))
        until(shell.path("a").exists, "the job has begun")
        until(lambda: get(where, "/livez")[0] == 503, "it is seen")
        assert "the event loop has been blocked for " in get(where, "/livez")[1]
        shell.release("a")
        until(lambda: get(where, "/livez")[0] == 200, "and is over")
    finally:
        process.kill()
        process.wait()


# exq health


def test_all_is_well(typed: Typed, there: Namespace) -> None:
    there.node("web-1#1")
    there.queue("mail", there.job(1, enqueued_at=time.time() - 2))
    status, out, err = typed("health", "--max-latency", "30", "--max-size", "5")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "ok   redis: answers",
        "ok   nodes: 1 node at work",
        f"ok   queue mail: 1 job, the next waits {out.split()[-1]}",
    ]


def test_what_is_not_well_is_status_1(typed: Typed, there: Namespace) -> None:
    there.queue("mail", there.job(1, enqueued_at=time.time() - 2.4 * 3600))
    there.queue("low", there.job(2, enqueued_at=time.time() - 2.4 * 3600))
    there.client.sadd(f"{there.name}:paused", "low")
    status, out, _ = typed("health", "--max-latency", "30")
    assert status == 1
    assert "BAD  nodes: 0 nodes at work, 1 wanted" in out
    assert "BAD  queue mail: 1 job, the next waits 2h, 30s allowed" in out
    assert "ok   queue low: paused, 1 job" in out
    records = lines(typed("health", "--json", "--queue", "mail", "--max-size", "0", "--min-nodes", "0")[1])
    assert [(record["check"], record["ok"]) for record in records] == [
        ("redis", True), ("nodes", True), ("queue mail", False),
    ]  # fmt: skip


def test_without_redis_nothing_is_well(typed: Typed) -> None:
    assert typed("health", "--redis-url", "unix:///no/such.sock")[0] == 1
