"""Worker processes that are killed, stopped, frozen or blocked, and jobs that do it to them."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from typing import Any

import pytest

from benchmarks.chaos.proxy import Network
from exq_anyio.job import Job
from exq_anyio.redis.embedded import EmbeddedServer

from .conftest import Crew, Process, until

NAMES = [f"job-{number}" for number in range(200)]

AT_THE_END = {"queues", "stat:processed"}
"""All that is left when every job was done."""

SOON = 5.0
"""Seconds within which a stop must have ended: it takes two and its grace, and 6.4 with the grace of the defaults."""

QUICK: dict[str, Any] = {"heartbeat_interval": 0.2, "missed_heartbeats_allowed": 9}
"""Who says nothing for two seconds is dead: less, and a busy machine would be taken for a dead process."""


def test_the_jobs_of_a_killed_worker_run_again_as_soon_as_the_next_one_is_up(crew: Crew) -> None:
    worker = crew.start(concurrency=50)
    crew.push("hold", *([name] for name in NAMES))
    until(lambda: len(crew.entries("start")) == 50, "50 jobs are in progress")
    worker.kill()
    in_progress = set(crew.counted("start"))
    up = crew.start(concurrency=50).until_up()

    def started_again() -> bool:
        return {name for name, times in crew.counted("start").items() if times == 2} == in_progress

    # At once, and not when the lease of the dead one is over, after half a minute.
    assert until(started_again, "the 50 run again") - up < 10
    crew.release()
    until(lambda: len(crew.counted("done")) == 200, "all are done")
    assert crew.counted("done") == Counter(NAMES)
    assert crew.counted("start") == Counter(NAMES) + Counter(in_progress)
    until(lambda: crew.count("processed") == 200, "all are counted")
    crew.processes[-1].stop()
    assert crew.keys() == AT_THE_END


def test_what_is_not_done_after_the_grace_goes_back_and_none_is_done_twice(crew: Crew) -> None:
    worker = crew.start(concurrency=50, shutdown_timeout=0.2)
    crew.push("hold", *([name] for name in NAMES))
    until(lambda: len(crew.entries("start")) == 50, "50 jobs are in progress")
    assert worker.stop() < SOON
    assert crew.counted("cancelled") == crew.counted("start")
    crew.release()
    crew.start(concurrency=50)
    until(lambda: crew.count("processed") == 200, "all are counted")
    crew.processes[-1].stop()
    assert crew.counted("done") == Counter(NAMES)
    assert crew.keys() == AT_THE_END


@pytest.mark.slow
def test_only_the_job_that_kills_its_process_each_time_dies(crew: Crew) -> None:
    innocent = NAMES[:99]
    crew.push("nap", *([name, 0.05] for name in innocent[:50]))
    crew.push("killer", ["killer"])
    crew.push("nap", *([name, 0.05] for name in innocent[50:]))
    while not _dead_or_killed(crew, crew.start(concurrency=100, wait=False)):
        pass
    until(lambda: crew.count("processed") == 99, "all others are done")
    assert set(crew.counted("done")) == set(innocent)
    assert (len(crew.processes), crew.counted("start")["killer"]) == (5, 4)
    (dead,) = [Job.decode(entry) for entry in _raw(crew, "dead")]
    assert (dead.jid, dead.error_class, dead.rescue_count) == ("killer", "PoisonJob", 4)
    assert crew.count("failed") == 0
    crew.processes[-1].stop()
    assert crew.keys() == {*AT_THE_END, "dead"}


def _dead_or_killed(crew: Crew, worker: Process) -> bool:
    """Whether there is a dead job; if not, the worker has been killed."""
    dead = f"{crew.namespace}:dead"
    until(lambda: worker.popen.poll() is not None or crew.client.zcard(dead), "the killer has struck, or is dead")
    assert worker.popen.poll() in (None, -signal.SIGKILL), worker.log()
    return bool(crew.client.zcard(dead))


def _raw(crew: Crew, key: str) -> list[bytes]:
    return [member.encode() for member in crew.client.zrange(f"{crew.namespace}:{key}", 0, -1)]


# The way down


@pytest.mark.parametrize("worker", ["deaf", "stuck", "thread"])
def test_a_job_that_does_not_end_keeps_no_process_and_is_run_by_the_next(crew: Crew, worker: str) -> None:
    process = crew.start(shutdown_timeout=0.2, concurrency=1)
    crew.push(worker, ["stubborn", 60] if worker == "thread" else ["stubborn"])
    until(lambda: crew.entries("start"), "it is in progress")
    assert process.stop() < SOON
    (said,) = process.lines("job does not end")
    assert "jid=stubborn" in said
    assert process.lines("leaving what does not end") == ["leaving what does not end in time"]
    assert crew.client.llen(f"{crew.namespace}:queue:default") == 0
    crew.start(concurrency=1)
    until(lambda: len(crew.entries("start")) == 2, "the next worker has it")


def test_a_second_signal_cuts_the_grace_short_for_a_deaf_job_too(crew: Crew) -> None:
    process = crew.start(shutdown_timeout=60)
    crew.push("deaf", ["stubborn"])
    crew.push("nap", ["other", 60])
    until(lambda: len(crew.entries("start")) == 2, "both are in progress")
    process.signal(signal.SIGTERM)
    until(lambda: process.lines("node is stopping"), "it is stopping")
    assert process.stop() < SOON
    assert crew.counted("cancelled") == {"other": 1}
    # What could be sent back was sent back.
    (waiting,) = crew.client.lrange(f"{crew.namespace}:queue:default", 0, -1)
    assert Job.decode(waiting.encode()).jid == "other"


@pytest.mark.parametrize("how", ["refuses", "says nothing"])
def test_a_stop_while_redis_is_away_takes_two_seconds_more_and_loses_nothing(
    crew: Crew, network: Network, valkey: EmbeddedServer, how: str
) -> None:
    proxy = network.proxy(valkey.socket)
    process = crew.start(shutdown_timeout=0.5, concurrency=10, url=f"redis://127.0.0.1:{proxy.port}")
    crew.push("nap", *([name, 3600] for name in NAMES[:5]))
    crew.push("hold", *([name] for name in NAMES[5:10]))
    until(lambda: len(crew.entries("start")) == 10, "all are in progress")
    proxy.refuse() if how == "refuses" else proxy.swallow()
    crew.release()
    until(lambda: len(crew.entries("done")) == 5, "some have ended meanwhile")
    assert process.stop() < SOON
    assert crew.counted("cancelled") == Counter(NAMES[:5])
    proxy.refuse()
    # They are where they were, and the next worker finds them, also those that had ended: nobody could be told.
    crew.start(concurrency=10)
    until(lambda: len(crew.entries("start")) == 20, "all run again")
    assert crew.counted("start") == Counter(NAMES[:10] * 2)


# Frozen, blocked


@pytest.mark.slow
def test_a_frozen_worker_that_wakes_up_counts_nothing_and_stops_its_copies(crew: Crew) -> None:
    frozen = crew.start(node_identifier="frozen", concurrency=3, **QUICK)
    crew.push("hold", *([name] for name in NAMES[:3]))
    until(lambda: len(crew.entries("start")) == 3, "they are in progress")
    other = crew.start(node_identifier="other", concurrency=3, **QUICK)
    until(lambda: crew.client.zscore(f"{crew.namespace}:heartbeats", "other#1"), "the other beats")
    frozen.signal(signal.SIGSTOP)
    until(lambda: len(crew.entries("start")) == 6, "the other has the jobs")
    frozen.signal(signal.SIGCONT)
    until(lambda: len(crew.entries("cancelled")) == 3, "the copies are stopped")
    mine = {str(frozen.popen.pid)}
    assert {entry.words[1] for entry in crew.entries("cancelled")} == mine
    crew.release()
    until(lambda: crew.count("processed") == 3, "all are counted")
    assert crew.counted("done") == Counter(NAMES[:3])
    assert {entry.words[1] for entry in crew.entries("done")}.isdisjoint(mine)
    assert frozen.lines("claim lost") == ["claim lost, running jobs are stopped: node=frozen#1 jobs=3"]
    stopped = frozen.lines("run stopped, another node has taken the job")
    assert sorted(re.findall("jid=(\\S+)", " ".join(stopped))) == NAMES[:3]
    # It works again, under a new claim.
    until(lambda: len(frozen.lines("node is up")) == 2, "it is up again")
    other.stop()
    crew.push("nap", ["later", 0])
    until(lambda: crew.counted("done")["later"], "it does new jobs")
    frozen.stop()
    assert crew.keys() == AT_THE_END
    assert (crew.count("processed"), crew.count("failed")) == (4, 0)


@pytest.mark.slow
def test_a_blocked_event_loop_keeps_its_claim_and_the_stack_that_blocks_it_is_logged(crew: Crew) -> None:
    blocked = crew.start(node_identifier="blocked", blocked_limit=1.5, **QUICK)
    other = crew.start(node_identifier="other", **QUICK)
    until(lambda: crew.client.zcard(f"{crew.namespace}:heartbeats") == 2, "both beat")
    other.signal(signal.SIGTSTP)
    until(lambda: other.lines("node is quiet"), "the other takes no jobs")
    crew.push("block", ["long", 4])
    until(lambda: crew.entries("done"), "it is done")
    until(lambda: crew.count("processed") == 1, "it is counted")
    assert crew.counted("start") == {"long": 1}
    assert blocked.lines("event loop is blocked")
    assert blocked.log().count("in block_the_loop") == 1
    assert (blocked.lines("claim lost"), other.lines("node is dead")) == ([], [])


def test_two_workers_of_one_host_leave_each_others_jobs_alone(crew: Crew) -> None:
    # The end of a process of the same host is seen at the next beat, whatever its limit.
    settings: dict[str, Any] = {"heartbeat_interval": 0.1, "missed_heartbeats_allowed": 1000, "concurrency": 1}
    first = crew.start(**settings)
    crew.push("hold", ["of-the-first"])
    until(lambda: crew.entries("start"), "it is in progress")
    second = crew.start(**settings)
    third = crew.start(**settings)
    third.kill()
    until(lambda: second.lines("node is dead") or first.lines("node is dead"), "one of them sees the third's end")
    crew.release()
    until(lambda: crew.entries("done"), "it is done")
    assert crew.counted("start") == {"of-the-first": 1}
    (said,) = [line for process in (first, second) for line in process.lines("node is dead")]
    assert re.fullmatch(r"node is dead, its jobs are back in their queues: node=\S+#3 jobs=0", said)


def test_what_a_worker_leaves_that_is_gone_for_good_comes_back_by_another_host(crew: Crew) -> None:
    gone = crew.start(node_identifier="gone", concurrency=2, **QUICK)
    crew.push("nap", ["a", 3600])
    until(lambda: crew.entries("start"), "it is in progress")
    other = crew.start("-q", "elsewhere", node_identifier="other", **QUICK)
    gone.kill()
    died = time.monotonic()
    # Nobody subscribes to its queue, and somebody has even removed the queue from the set.
    crew.client.srem(f"{crew.namespace}:queues", "default")
    until(lambda: crew.client.llen(f"{crew.namespace}:queue:default"), "it is back in its queue")
    assert time.monotonic() - died < 15  # by its own limit of two seconds, and not by half a minute
    until(lambda: other.lines("node is dead"), "it says so")
    assert other.lines("node is dead") == ["node is dead, its jobs are back in their queues: node=gone#1 jobs=1"]
    assert list(crew.client.smembers(f"{crew.namespace}:queues")) == ["default"]
    crew.start(node_identifier="third", **QUICK)
    until(lambda: crew.counted("start")["a"] == 2, "it runs again")
