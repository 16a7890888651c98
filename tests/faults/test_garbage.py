"""Random bytes wherever we read: no node stops, and every payload among them is dead."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio import metrics
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
    print(f"EXQ_GARBAGE={seed}")
    rng = random.Random(seed)
    payloads = [garbage(rng) for _ in range(COUNT)]
    await redis.sadd(f"{namespace}:queues", ["default"])
    # In the queue, in what a dead process had taken, and in both sets of jobs for later.
    await redis.lpush(f"{namespace}:queue:default", payloads[:5000])
    await redis.hset(f"{namespace}:gone#1:lease", {"condemned": "1"})
    await redis.sadd(f"{namespace}:leases", ["gone#1"])
    await redis.lpush(f"{namespace}:queue:backup::gone#1::default", payloads[5000:8000])
    later = {where: set(members) for where, members in (("retry", payloads[8000:9000]), ("schedule", payloads[9000:]))}
    for where, members in later.items():
        await redis.zadd(f"{namespace}:{where}", dict.fromkeys(members, 1.0))
    payloads = [*payloads[:8000], *later["retry"], *later["schedule"]]
    ran = anyio.Event()

    @exq.worker
    async def last() -> None:
        ran.set()

    async with exq.open(
        url=valkey.url,
        namespace=namespace,
        workers=[last],
        dead_max_jobs=2 * COUNT,
        scheduler_poll_timeout=0.05,
        heartbeat_interval=0.1,
        missed_heartbeats_allowed=1000,
    ) as q:
        await q.enqueue("default", last)
        await q.enqueue_in("default", 0.2, last)
        with anyio.fail_after(60):
            await ran.wait()
            while await redis.zcard(f"{namespace}:dead") < len(payloads):
                await anyio.sleep(0.02)
    dead = Counter(bytes(member).rstrip(b" \t") for member in await redis.zrange(f"{namespace}:dead", 0, -1))
    raw = Counter({payload: count for payload, count in dead.items() if b"MalformedPayload" not in payload})
    wrapped = dead.total() - raw.total()
    expected = Counter(payload.rstrip(b" \t") for payload in payloads)
    # Bytes that are no JSON are kept as they are, and what is JSON is wrapped: nothing else can have become of them.
    assert raw <= expected
    assert wrapped == (expected - raw).total()
    assert await redis.keys(f"{namespace}:queue:*") == set()


async def test_random_bytes_for_names_fields_and_signals_stop_no_node_and_no_page(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    seed = os.environ.get("EXQ_GARBAGE", secrets.token_hex(4))
    print(f"EXQ_GARBAGE={seed}")
    rng = random.Random(seed)
    minute = metrics.minute_key(time.time(), "seconds")

    def some(count: int = 30) -> list[bytes]:
        return [
            rng.choice([rng.randbytes(rng.randrange(20)), garbage(rng), b"host#%d" % rng.randrange(9)])
            for _ in range(count)
        ]

    for key in ("queues", "leases", "processes", "paused", "host#1:taken", "gone#1:taken"):
        await redis.sadd(f"{namespace}:{key}", some())
    scores = [0.0, -1.5, float("inf"), float("-inf"), 5e-324, 1e300, time.time()]
    for key in ("heartbeats", "schedule", "retry", "dead"):
        await redis.zadd(f"{namespace}:{key}", {member: rng.choice(scores) for member in some()})
    for key in ("gone#1", "gone#1:lease", "gone#1:work", "gone#1:workers", minute):
        await redis.hset(f"{namespace}:{key}", {field or b"x": rng.choice(some()) for field in some()})
    await redis.hset(f"{namespace}:gone#1:lease", {b"limit": b"\xff", b"pid": b"\xff", b"boot": b"\xff"})
    await redis.sadd(f"{namespace}:leases", ["gone#1"])
    await redis.sadd(f"{namespace}:processes", ["gone#1"])
    await redis.lpush(f"{namespace}:host#1-signals", [one for one in some(60) if one not in STOPS])
    ran = anyio.Event()

    @exq.worker
    async def last() -> None:
        ran.set()

    async with exq.open(
        url=valkey.url,
        namespace=namespace,
        workers=[last],
        node_identifier="host",
        heartbeat_interval=0.02,
        missed_heartbeats_allowed=1000,
        scheduler_poll_timeout=0.02,
    ) as q:
        with anyio.fail_after(30):
            for _ in range(3):
                ran = anyio.Event()
                await q.enqueue_in("default", 0.05, last)
                await ran.wait()
            await q.api.stats()
            await q.api.queues()
            await q.api.nodes()
            await q.api.busy()
            await q.api.metrics()
            for place in (q.api.retries(), q.api.scheduled(), q.api.dead(), q.api.jobs("default")):
                await place.page()
        assert not q._node.quiet if q._node else False


STOPS = {b"TSTP", b"USR1", b"TERM", b"INT"}
