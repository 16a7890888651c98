"""Queues whose names begin alike, on a real server: limits for each, turns, and what a look costs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

import exq_anyio as exq

from .scene import Scene, until

pytestmark = pytest.mark.long


class Watched:
    """A worker that notes who began, and how many ran at a time."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.most: Counter[str] = Counter()
        self._running: Counter[str] = Counter()

        @exq.worker(name="export")
        async def work(tenant: str, seconds: float = 0) -> None:
            self.began.append(tenant)
            self._running[tenant] += 1
            self.most[tenant] = max(self.most[tenant], self._running[tenant])
            await anyio.sleep(seconds)
            self._running[tenant] -= 1

        self.worker = work

    def jobs(self, tenant: str, count: int, seconds: float = 0) -> list[exq.JobSpec]:
        return [self.worker.job(tenant, seconds).on(queue=f"exports:{tenant}")] * count


async def test_a_limit_for_each_is_kept_and_used_by_two_nodes(scene: Scene) -> None:
    watched, tenants = Watched(), [f"t{number}" for number in range(8)]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            q = await stack.enter_async_context(scene.open(watched.worker, queues={"exports:*": exq.Limit(fleet=2)}))
        await q.enqueue_all([job for tenant in tenants for job in watched.jobs(tenant, 40, 0.01)])
        await until(lambda: len(watched.began) == 320, 60)
    assert watched.most == dict.fromkeys(tenants, 2)
    assert Counter(watched.began) == dict.fromkeys(tenants, 40)


async def test_one_job_behind_the_backlog_of_another_is_among_the_next_to_begin(scene: Scene) -> None:
    watched = Watched()
    async with scene.enqueuer() as q:
        await q.enqueue_all(watched.jobs("big", 5_000))
        await q.enqueue_all(watched.jobs("small", 1))
    async with scene.open(watched.worker, queues=["exports:*"], total_concurrency=10):
        await until(lambda: len(watched.began) == 5_001, 60)
    assert watched.began.index("small") <= 20


async def test_the_queues_of_a_killed_node_are_rescued_and_found(scene: Scene) -> None:
    watched = Watched()
    node_id = await scene.dead_node("box")
    async with scene.enqueuer() as q:
        await q.enqueue_all(watched.jobs("a", 1))
    taken = await scene.queue("exports:a")
    await scene.redis.delete([scene.key("queue:exports:a")])
    await scene.leave_taken(node_id, "exports:a", *taken)
    async with scene.open(watched.worker, queues=["exports:*"], node_identifier="box"):
        await until(lambda: watched.began == ["a"])


async def test_a_queue_that_is_paused_stays_so_until_it_is_resumed(scene: Scene) -> None:
    watched = Watched()
    async with scene.open(watched.worker, queues=["exports:*"]) as q:
        await q.api.pause("exports:a")
        await q.enqueue_all([*watched.jobs("a", 1), *watched.jobs("b", 1)])
        await until(lambda: watched.began == ["b"])
        assert q.subscriptions().keys() == {"exports:*", "exports:b"}
        await q.api.resume("exports:a")
        await until(lambda: watched.began == ["b", "a"])


async def test_who_waits_for_a_place_asks_seldom_and_holds_no_slot(scene: Scene) -> None:
    watched = Watched()
    settings: Any = {"queues": {"exports:*": exq.Limit(fleet=1)}, "scheduler_enable": False, "shutdown_timeout": 0}
    async with scene.open(watched.worker, **settings) as q:
        await q.enqueue_all(watched.jobs("a", 1, 100))
        await until(lambda: watched.began == ["a"])
        async with scene.open(watched.worker, **settings, total_concurrency=1) as other:
            await q.enqueue_all(watched.jobs("a", 5))
            await until(lambda: "exports:a" in other.subscriptions())
            since = anyio.current_time()
            await scene.redis.config_resetstat()
            await anyio.sleep(1.5)
            asked = (await scene.calls())["evalsha"]
            # Two nodes look, and ask for a place, each once a second.
            assert asked < 14 * (anyio.current_time() - since)
            await q.enqueue_all(watched.jobs("b", 1))
            await until(lambda: "b" in watched.began)
            assert watched.began.count("a") == 1


async def test_a_look_is_one_command_a_second_with_ten_thousand_names(scene: Scene) -> None:
    names = [f"exports:{number}" for number in range(10_000)]
    await scene.redis.sadd(scene.key("queues"), names)
    watched = Watched()
    async with scene.open(watched.worker, queues=["exports:*"], scheduler_enable=False, heartbeat_enable=False) as q:
        await q.enqueue_all(watched.jobs("77", 1))
        await until(lambda: scene.count("processed"))
        await q.unsubscribe("exports:77")
        since = anyio.current_time()
        await scene.redis.config_resetstat()
        calls = await until(lambda: looked_twice(scene))
        passed = anyio.current_time() - since
    assert calls["evalsha"] <= 1 + passed
    assert calls.get("exists", 0) <= calls["evalsha"] * 41  # one for 250 queues
    assert calls.get("smembers", 0) <= 1


async def looked_twice(scene: Scene) -> dict[str, int]:
    """What was called, as soon as two scripts were."""
    calls = await scene.calls()
    return calls if calls.get("evalsha", 0) >= 2 else {}


async def test_without_patterns_nobody_looks(scene: Scene) -> None:
    async with scene.open(queues=["default"], scheduler_enable=False, heartbeat_enable=False):
        await until(lambda: only_waits(scene))
        await scene.redis.config_resetstat()
        await anyio.sleep(1.5)
        assert "evalsha" not in await scene.calls()


async def only_waits(scene: Scene) -> bool:
    """Whether the node waits for a job, and for a signal."""
    return {"blmove", "brpop"} <= {client["cmd"] for client in await scene.redis.client_list()}


async def test_patterns_at_run_time_and_all_queues(scene: Scene) -> None:
    watched = Watched()
    async with scene.open(watched.worker, queues=[]) as q:
        await q.subscribe("exports:*", concurrency=3)
        await q.enqueue_all(watched.jobs("a", 1))
        await until(lambda: watched.began == ["a"])
        assert q.subscriptions() == {"exports:*": 3, "exports:a": 3}
        await q.unsubscribe("exports:*")
        assert q.subscriptions() == {}
        await q.subscribe("*")
        await q.push(watched.worker.job("other").on(queue="elsewhere"))
        await until(lambda: watched.began == ["a", "other"])


@pytest.mark.parametrize(
    ("queues", "problem"),
    [
        (["a*b"], r'"\*" stands only at the end.* try \'a\*\''),
        (["*a*"], r'"\*" stands only at the end'),
        ({"a:*": object()}, r"'a:\*' would be that of many queues at once: give a number or exq.Limit"),
        ({"a:*": 0}, "must be 1 or more"),
        (["a:*", "a:*"], "named twice"),
        ("a:*:x", "whole number"),
    ],
)
def test_what_cannot_be_a_pattern_is_refused(queues: Any, problem: str) -> None:
    with pytest.raises(exq.ConfigError, match=problem):
        exq.Config(queues=queues)


def test_patterns_can_be_said_as_text() -> None:
    config = exq.Config(queues="exports:*:10,imports:*,mail:5,*", groups='{"g": {"queues": "bulk:*:3,low"}}')
    assert {queue.name: queue.concurrency for queue in config.queues} == {
        "exports:*": 10,
        "imports:*": None,
        "mail": 5,
        "*": None,
    }
    assert dict(config.groups[0].queues) == {"bulk:*": 3, "low": 1}


async def test_the_command_takes_patterns(scene: Scene, tmp_path: Any) -> None:
    (tmp_path / "tasks.py").write_text(
        "import exq_anyio as exq\n@exq.worker\nasync def done(what: str) -> None: print(what, flush=True)\n"
    )
    async with scene.enqueuer() as q:
        await q.enqueue("exports:acme", "done", ["hello"])
    command = [sys.executable, "-m", "exq_anyio.cli", "run", "tasks", "--queue", "exports:*:10"]
    command += ["--redis-url", scene.url, "--namespace", scene.namespace]
    async with await anyio.open_process(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            assert (await process.stdout.receive()).strip() == b"hello"
        process.terminate()
