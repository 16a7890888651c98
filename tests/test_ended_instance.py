"""An instance that has ended, or that a bug of ours ended, says so."""

from __future__ import annotations

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.node import heartbeat
from exq_anyio.redis.connect import open_connections
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.embedded import EmbeddedServer

from .contract.places import address_of


async def test_using_an_instance_after_its_block_is_an_error_that_says_so(
    valkey: EmbeddedServer, namespace: str
) -> None:
    async with exq.open(url=valkey.url, namespace=namespace, mode="enqueuer") as q:
        await q.enqueue("default", "W", [1])
    with pytest.raises(exq.ExqError, match="closed: use it inside the block that opened it"):
        await q.enqueue("default", "W", [2])


async def test_a_bug_in_a_service_leaves_as_itself_though_the_body_fails_for_it(
    valkey: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = TypeError("a bug of ours")

    async def broken(*_: object) -> None:
        await anyio.sleep(0.05)
        raise bug

    monkeypatch.setattr(heartbeat, "tick", broken)
    with pytest.raises(TypeError) as left, anyio.fail_after(10):  # noqa: PT012  # where in the block is by chance
        async with exq.open(url=valkey.url, namespace=namespace, workers=[]) as q:
            while True:
                await q.enqueue("other", "W", [1])
    assert left.value is bug


async def test_an_error_of_the_body_leaves_as_itself(valkey: EmbeddedServer, namespace: str) -> None:
    error = KeyError("theirs")
    with pytest.raises(KeyError) as left:
        async with exq.open(url=valkey.url, namespace=namespace, workers=[]):
            raise error
    assert left.value is error


async def test_a_request_cut_off_by_the_end_starts_no_search_for_redis(valkey: EmbeddedServer, namespace: str) -> None:
    address = address_of(valkey.socket)
    async with anyio.create_task_group() as outer, open_connections(address, dialer(address, namespace)) as connections:

        async def wait_for_a_job() -> None:
            with pytest.raises(exq.RedisUnavailable):
                await connections.commands.request(b"BLPOP", f"{namespace}:none", "30", timeout=60)

        await connections.check()
        outer.start_soon(wait_for_a_job)
        with anyio.fail_after(20):
            other = connections.link()
            while "cmd=blpop" not in str(await other.request(b"CLIENT LIST")):
                await anyio.sleep(0.001)
    assert connections.outages == 0
