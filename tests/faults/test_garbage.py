"""Ten thousand random byte strings as payloads: no node stops, and every one of them is dead."""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

COUNT = 10_000


def garbage(rng: random.Random) -> bytes:
    """Bytes of any kind, or the beginnings of a job that was cut or changed somewhere."""
    if rng.random() < 0.5:
        return rng.randbytes(rng.randrange(64))
    payload = bytearray(b'{"class":"never","args":[1,"two",{"three":4.5}],"jid":"0123456789ab","queue":"default"}')
    for _ in range(rng.randint(1, 4)):
        payload[rng.randrange(len(payload))] = rng.randrange(256)
    return bytes(payload[: rng.randrange(len(payload))])


@pytest.mark.slow
async def test_random_bytes_stop_no_node_and_are_all_dead(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    seed = os.environ.get("EXQ_GARBAGE", secrets.token_hex(4))
    rng = random.Random(seed)
    payloads = [garbage(rng) for _ in range(COUNT)]
    await redis.sadd(f"{namespace}:queues", ["default"])
    await redis.lpush(f"{namespace}:queue:default", payloads)
    ran = anyio.Event()

    @exq.worker
    async def last() -> None:
        ran.set()

    async with exq.open(
        url=valkey.url, namespace=namespace, workers=[last], dead_max_jobs=2 * COUNT, scheduler_poll_timeout=0.05
    ) as q:
        await q.enqueue("default", last)
        await q.enqueue_in("default", 0.2, last)
        await redis.zadd(f"{namespace}:retry", dict.fromkeys(set(payloads[:500]), 1.0))
        with anyio.fail_after(60):
            await ran.wait()
            while await redis.zcard(f"{namespace}:dead") < COUNT + len(set(payloads[:500])):
                await anyio.sleep(0.02)
    dead = Counter(bytes(member).rstrip(b" \t") for member in await redis.zrange(f"{namespace}:dead", 0, -1))
    raw = Counter({payload: count for payload, count in dead.items() if b"MalformedPayload" not in payload})
    wrapped = dead.total() - raw.total()
    expected = Counter(payload.rstrip(b" \t") for payload in [*payloads, *set(payloads[:500])])
    # Bytes that are no JSON are kept as they are, and what is JSON is wrapped: nothing else can have become of them.
    assert raw <= expected, f"EXQ_GARBAGE={seed}"
    assert wrapped == (expected - raw).total()
    assert await redis.keys(f"{namespace}:queue:*") == set()
