"""Four processes under one: what an operator does takes effect within a second, and a restart is not noticed."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from .conftest import Client, Shell, until
from .operator import Typed
from .test_processes import Supervised, enqueue, processed, supervise

__all__ = ["supervise"]

SOON = 10.0
"""Seconds within which it must take effect: in a moment, but on a busy machine; without signals after half a minute."""


@pytest.fixture
def backend() -> str:
    return "asyncio"


@pytest.fixture
def fleet(supervise: Callable[..., Supervised]) -> Supervised:
    seldom = {"EXQ_HEARTBEAT_INTERVAL": "30", "EXQ_POLL_TIMEOUT": "60"}
    return supervise("--queue", "default:10", count=4, env=seldom)


def until_all_have_looked(client: Client, namespace: str) -> None:
    """Return when each process has asked, from now on, whether it may take jobs."""
    found = re.compile(rf"EVALSHA .* {namespace}:queue:backup::(\S+)::default ", re.IGNORECASE)
    looked, deadline = set[str](), time.monotonic() + SOON
    with client.monitor() as monitor:
        while len(looked) < 4:
            assert time.monotonic() < deadline, f"only {looked} have looked"
            looked.update(found.findall(monitor.next_command()["command"]))


def started(shell: Shell) -> list[tuple[float, str]]:
    """When each run of `mark` began, and its jid."""
    if not shell.path("marks").exists():
        return []
    return [(float(at), jid) for at, jid in map(str.split, shell.path("marks").read_text().splitlines())]


def test_running_jobs_are_cancelled_wherever_they_are(
    fleet: Supervised, shell: Shell, client: Client, namespace: str, typed: Typed
) -> None:
    enqueue(client, namespace, "mark", str(shell.path("marks")), 3600, times=40)
    until(lambda: len(started(shell)) == 40, "all have begun")
    jids = [jid for _, jid in started(shell)][::10]
    before = time.monotonic()
    typed("cancel", *jids, "--yes")
    until(lambda: client.zcard(f"{namespace}:dead") == 4, "they are dead")
    took = time.monotonic() - before
    print(f"cancelled and dead after {took:.3f} s")
    assert took < SOON
    dead = [json.loads(payload) for payload in client.zrange(f"{namespace}:dead", 0, -1)]
    assert {job["jid"] for job in dead} == set(jids)
    assert {job["error_message"] for job in dead} == {"Canceled"}


def test_a_paused_queue_is_paused_for_all_and_resumed_for_all(
    fleet: Supervised, shell: Shell, client: Client, namespace: str, typed: Typed
) -> None:
    marks = str(shell.path("marks"))
    enqueue(client, namespace, "mark", marks, 0, times=20)
    until(lambda: processed(client, namespace) == 20, "they work")
    assert typed("pause", "default")[0] == 0
    until_all_have_looked(client, namespace)  # until then a wait that is under way may still bring one
    enqueue(client, namespace, "mark", marks, 0, times=20)
    until_all_have_looked(client, namespace)
    assert len(started(shell)) == 20
    assert typed("resume", "default")[0] == 0
    resumed = time.monotonic()
    until(lambda: processed(client, namespace) == 40, "they work again")
    took = time.monotonic() - resumed
    print(f"20 jobs done {took:.3f} s after the queue was resumed")
    assert took < SOON


def test_a_rolling_restart_under_load_loses_nothing_and_is_not_noticed(
    fleet: Supervised, shell: Shell, client: Client, namespace: str
) -> None:
    marks, pushed = str(shell.path("marks")), list[str]()
    fleet.signal(signal.SIGHUP)
    for number in itertools.count():
        job = {"class": "mark", "args": [marks, 0.05], "jid": os.urandom(12).hex(), "queue": "default", "retry": True}
        client.lpush(f"{namespace}:queue:default", json.dumps(job))
        pushed.append(str(job["jid"]))
        time.sleep(0.01)
        if number % 10 == 0 and fleet.log().count("ended:") == 4:
            break
    until(lambda: processed(client, namespace) == len(pushed), "all are done")
    begun = started(shell)
    assert Counter(jid for _, jid in begun) == Counter(pushed)  # each of them, and once
    instants = sorted(at for at, _ in begun)
    gap = max(later - earlier for earlier, later in itertools.pairwise(instants))
    print(f"{len(pushed)} jobs, {instants[-1] - instants[0]:.1f} s, longest time without a start {gap:.3f} s")
    assert fewest_at_work(fleet.log()) == 4


def fewest_at_work(log: str) -> int:
    """How many took jobs at the worst moment, once all were up."""
    changes = (("node is up" in line) - ("node is stopping" in line) for line in log.splitlines())
    return min(list(itertools.accumulate(change for change in changes if change))[3:])
