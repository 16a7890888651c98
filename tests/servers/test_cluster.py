"""What the whole fleet shares, in a cluster: limits, rates and periodic jobs, on nodes told of different hosts."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

import exq_anyio as exq

from ..exq.scene import until
from ..faults.servers import Server, cluster

NAMESPACE = "{exq}"

pytestmark = pytest.mark.slow


def _key(name: str) -> str:
    return f"{NAMESPACE}:{name}"


def _owner(servers: list[Server]) -> Server:
    """The one that has our keys."""
    (owner,) = (server for server in servers if server.client.keys(f"{NAMESPACE}:*"))
    return owner


async def test_limits_and_periodic_jobs_hold_for_nodes_that_ask_different_hosts_of_a_cluster() -> None:
    running, most, done = 0, 0, 0
    begun: list[float] = []
    ticks: list[float] = []

    @exq.worker(queue="few")
    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await anyio.sleep(0.02)
        running -= 1
        done += 1

    @exq.worker(queue="seldom")
    async def call() -> None:
        begun.append(anyio.current_time())

    @exq.worker(schedule=exq.Every(0.5), queue="ticks")
    async def tick() -> None:
        at = exq.worker_job().tick
        assert at is not None
        ticks.append(at.timestamp())

    queues = {
        "few": exq.Limit(fleet=2, name="two {of} us"),  # braces of one's own are no second hash tag
        "seldom": exq.Limit(rates=[exq.Rate(4, 0.4), exq.Rate(100, 60, kind="fixed"), exq.Rate(100, 1, kind="bucket")]),
        "ticks": 10,
    }
    with cluster(2) as servers:
        async with AsyncExitStack() as stack:
            for server in servers:
                url = f"redis+cluster://127.0.0.1:{server.port}"
                q = await stack.enter_async_context(
                    exq.open(url=url, namespace=NAMESPACE, queues=queues, workers=[work, call, tick])
                )
            # Somebody who died and left both places taken.
            taken = {"gone:1:elsewhere#1": 2}
            _owner(servers).client.hset(_key("limit:two {of} us"), mapping=taken)
            enqueued = anyio.current_time()
            await q.enqueue_all([work.job() for _ in range(30)] + [call.job() for _ in range(10)])
            await until(lambda: done == 30 and len(begun) == 10 and len(ticks) >= 2, 60)
        assert _owner(servers).client.hgetall(_key("limit:two {of} us")) == {}
    assert most == 2
    assert begun[-1] - enqueued >= 0.75  # two windows, but for the difference between two clocks
    assert len(ticks) == len(set(ticks))


async def test_a_namespace_whose_keys_would_be_on_several_hosts_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(exq.ConfigError, match=r"namespace.*\{exq\}"):
        async with exq.open(url="redis+cluster://127.0.0.1:1", namespace="exq", queues={"a": exq.Limit(fleet=1)}):
            pass
