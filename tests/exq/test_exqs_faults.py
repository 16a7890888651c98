"""What was seen to go wrong in the real Exq 0.23, each thing with the tests here that hold that it cannot.

:data:`FAULTS` is the list; what no other file holds is held below it.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import coredis
import msgspec
import pytest

import exq_anyio as exq

from ..conftest import PrivateValkey
from .scene import PATIENT, Scene, payload, until

FAULTS: dict[str, list[str]] = {
    "Redis away for 3 s while jobs finish leaks their slots for good": [
        "clock.test_outage.test_jobs_end_during_an_outage_their_outcomes_wait_and_their_slots_come_back",
        "exq.test_outage.test_a_worker_waits_for_redis_and_resumes_and_nothing_is_lost",
    ],
    "a payload that cannot be parsed leaks a slot and comes back at each restart": [
        "exq.test_garbage.test_garbage_in_a_queue_is_dead_logged_once_and_the_queue_goes_on",
        "exq.test_recovery.test_garbage_in_a_backup_goes_to_dead_and_holds_up_nobody",
        "faults.test_garbage.test_random_bytes_stop_no_node_and_are_all_dead",
    ],
    "enqueueing through the running node starves its fetching": [
        "exq.test_exqs_faults.test_jobs_are_performed_while_many_are_enqueued_through_the_same_instance",
    ],
    "one garbage member stops the schedule": [
        "exq.test_garbage.test_garbage_among_the_jobs_for_later_is_dead_logged_once_and_the_others_are_moved",
    ],
    "a job without `queue` that fails once is lost": [
        "exq.test_exqs_faults.test_a_job_that_names_no_queue_comes_again_in_the_queue_that_it_was_in",
    ],
    "snooze removes before it adds, so that at maxmemory the job is lost, and a failing one stranded": [
        "exq.test_exqs_faults.test_on_a_full_server_a_snoozed_and_a_failed_job_come_again",
        "contract.test_refusals.test_a_full_server_is_worked_off",
    ],
    "a pop that is answered late strands its job in the backup queue of a live node": [
        "clock.test_outage.test_a_lost_reply_loses_no_job_and_counts_none_twice",
        "clock.test_outage.test_equal_jobs_whose_reply_was_lost_go_back_as_many_as_nobody_holds",
        "exq.test_outage.test_a_server_that_hangs_is_noticed_and_nothing_runs_twice_or_is_lost",
    ],
    "to unsubscribe and subscribe runs jobs in progress again": [
        "exq.test_exqs_faults.test_a_queue_that_is_left_and_taken_up_again_runs_no_job_twice",
    ],
    "to subscribe twice runs jobs in progress again": [
        "exq.test_exqs_faults.test_a_queue_that_is_left_and_taken_up_again_runs_no_job_twice",
        "exq.test_queues.test_a_queue_that_is_taken_up_twice_is_worked_on_once_with_the_last_limit",
    ],
    "a second node with the same host name runs jobs in progress again": [
        "exq.test_recovery.test_what_a_living_process_has_taken_stays_with_it",
        "faults.test_processes.test_two_workers_of_one_host_leave_each_others_jobs_alone",
    ],
    "an error while stats are written drops the pending ones": [
        "exq.test_broken_keys.test_a_counter_that_cannot_count_costs_no_outcome",
        "clock.test_outage.test_a_refused_outcome_is_tried_again_and_the_others_do_not_wait_for_it",
    ],
    "to prune one dead node clears the busy list of all": [
        "exq.test_exqs_faults.test_the_rescue_of_a_dead_node_leaves_what_others_say_of_themselves",
    ],
    "to act on an entry whose bytes differ changes the counters anyway": [
        "contract.test_way_of_a_job.test_an_outcome_whose_payload_is_not_there_changes_nothing",
        "api.test_actions.test_an_entry_that_has_moved_is_said_to_be_gone_and_nothing_changes",
    ],
    "a host named `queues` overwrites the set of queues": [
        "exq.test_exqs_faults.test_a_host_may_be_called_like_a_key",
    ],
    "memory grows with the backlog of stats": [
        "exq.test_exqs_faults.test_while_redis_is_away_no_more_waits_to_be_written_than_there_are_slots",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_list_names_is_there(fault: str) -> None:
    for name in FAULTS[fault]:
        module, _, test = name.rpartition(".")
        assert callable(getattr(importlib.import_module(f"tests.{module}"), test)), name


async def test_jobs_are_performed_while_many_are_enqueued_through_the_same_instance(scene: Scene) -> None:
    done = 0

    @exq.worker(name="Quick")
    async def quick() -> None:
        nonlocal done
        done += 1

    async def enqueue(q: exq.Exq) -> None:
        for _ in range(50):
            await q.enqueue("default", quick)

    async with scene.open(quick, concurrency=10) as q:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(enqueue, q)
        done_meanwhile = done
        await until(lambda: done == 1000)
    # Exq had done none by then.
    assert done_meanwhile > 100


async def test_a_job_that_names_no_queue_comes_again_in_the_queue_that_it_was_in(scene: Scene) -> None:
    runs: list[str] = []

    @exq.worker(name="Flaky")
    async def flaky() -> None:
        runs.append(exq.worker_job().queue)
        if len(runs) == 1:
            raise ValueError("not yet")

    await scene.push("low", payload("Flaky"))
    async with scene.open(flaky, queues=["low"], backoff=lambda job, error: 0.01):
        await until(lambda: len(runs) == 2)
    assert runs == ["low", "low"]
    assert await scene.queue("low") == []


async def test_on_a_full_server_a_snoozed_and_a_failed_job_come_again(
    private_valkey: Callable[..., PrivateValkey],
) -> None:
    runs: Counter[str] = Counter()

    @exq.worker(name="Snoozes")
    async def snoozes() -> exq.Snooze | None:
        runs["Snoozes"] += 1
        return exq.Snooze(0.01) if runs["Snoozes"] == 1 else None

    @exq.worker(name="Flaky")
    async def flaky() -> None:
        runs["Flaky"] += 1
        if runs["Flaky"] == 1:
            raise ValueError("not yet")

    server = private_valkey("--maxmemory-policy", "noeviction")
    async with coredis.Redis(unix_socket_path=server.socket, decode_responses=False) as redis:
        settings: dict[str, Any] = {"url": server.url, "redis_options": PATIENT, "workers": [snoozes, flaky]}
        settings["scheduler_poll_timeout"] = 0.02
        async with exq.open(settings, mode="enqueuer") as q:
            await q.enqueue_all([snoozes.job(), flaky.job()])
        await redis.config_set({"maxmemory": "1"})
        async with exq.open(settings, backoff=lambda job, error: 0.01):
            with pytest.raises(exq.RedisFull):
                async with exq.open(settings, mode="enqueuer") as other:
                    await other.enqueue("default", snoozes)
            await until(lambda: runs == {"Snoozes": 2, "Flaky": 2})
        assert await redis.keys("exq:queue:*") == set()


async def test_a_queue_that_is_left_and_taken_up_again_runs_no_job_twice(scene: Scene) -> None:
    started: Counter[int] = Counter()
    go_on = anyio.Event()

    @exq.worker(name="Held")
    async def held(number: int) -> None:
        started[number] += 1
        await go_on.wait()

    async with scene.open(held, queues={"a": 4}) as q:
        await q.enqueue_all([held.job(number).on(queue="a") for number in range(3)])
        await until(lambda: len(started) == 3)
        for _ in range(5):
            await q.unsubscribe("a")
            await q.subscribe("a", concurrency=4)
            await q.subscribe("a", concurrency=5)
        await q.enqueue("a", held, [3])
        await until(lambda: 3 in started)
        assert len(await scene.backup(str(q.node_id), "a")) == 4
        go_on.set()
        await until(lambda: counted(scene, 4))
    assert started == Counter(range(4))


async def counted(scene: Scene, runs: int) -> bool:
    return await scene.count("processed") == runs


async def test_the_rescue_of_a_dead_node_leaves_what_others_say_of_themselves(scene: Scene) -> None:
    go_on = anyio.Event()

    @exq.worker(name="Held")
    async def held() -> None:
        await go_on.wait()

    # It beats often, and has a long time until it is taken for dead.
    often = {"heartbeat_interval": 0.05, "missed_heartbeats_allowed": 1000}
    async with scene.open(held, node_identifier="busy", **often) as q:
        await q.enqueue("default", held)
        node = str(q.node_id)
        before = await until(lambda: scene.hash(f"{node}:workers"))
        dead = await scene.dead_node("dead")
        await scene.redis.sadd(scene.key("processes"), [dead, "other#1"])
        await scene.redis.hset(scene.key("other#1"), {"info": "{}", "busy": "1"})
        await scene.redis.hset(scene.key("other#1:workers"), {"1": "{}"})
        async with scene.open(held, queues=["elsewhere"], node_identifier="dead", heartbeat_interval=0.05):
            await until(lambda: gone(scene, dead, "token", "old"))
            assert await scene.hash(f"{node}:workers") == before
            assert await scene.hash("other#1:workers") == {"1": "{}"}
            names = {name.decode() for name in await scene.redis.smembers(scene.key("processes"))}
            assert {node, "other#1"} <= names
        go_on.set()


async def gone(scene: Scene, node: str, field: str, value: str) -> bool:
    return (await scene.hash(f"{node}:lease")).get(field) != value


@pytest.mark.parametrize("host", ["queues", "retry", "heartbeats", "processes", "queue:default"])
async def test_a_host_may_be_called_like_a_key(scene: Scene, host: str) -> None:
    done: list[int] = []

    @exq.worker(name="Note")
    async def note(number: int) -> None:
        done.append(number)

    async with scene.open(note, node_identifier=host, heartbeat_interval=0.02) as q:
        await q.enqueue("default", note, [1])
        await until(lambda: done == [1])
        assert q.node_id == f"{host}#1"
        assert await scene.redis.smembers(scene.key("queues")) == {b"default"}
        entry = await until(lambda: scene.hash(f"{host}#1"))
        assert msgspec.json.decode(entry["info"])["hostname"] == host


async def test_while_redis_is_away_no_more_waits_to_be_written_than_there_are_slots(
    private_valkey: Callable[..., PrivateValkey],
) -> None:
    started = 0

    @exq.worker(name="Quick")
    async def quick() -> None:
        nonlocal started
        started += 1
        await anyio.sleep(0.01)

    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    async with exq.open(url=server.url, redis_options=PATIENT, workers=[quick], concurrency=5) as q:
        assert q._node is not None
        await q.enqueue_all([quick.job() for _ in range(200)])
        await until(lambda: started > 5)
        server.kill()
        before = started
        await anyio.sleep(0.3)
        # Each that runs, or has ended and is not written, has its slot: nothing new begins.
        assert started - before <= 5
        assert len(q._node.performer.running) <= 5
        server.start()
        await until(lambda: started >= 200)
