"""Payloads that are equal byte for byte are several jobs, also where Redis would hold but one of them."""

from __future__ import annotations

import anyio
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

COPIES = 40
PAYLOAD = b'{"class":"again","args":[],"jid":"same","retry":true}'


@pytest.mark.parametrize("ended", [exq.Snooze(0.01), exq.Dead("the same")], ids=["schedule", "dead"])
async def test_equal_jobs_that_end_alike_stay_apart(
    ended: object, valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    done = 0

    @exq.worker
    async def again() -> object:
        nonlocal done
        if exq.worker_job().snooze_count == 0:
            return ended
        done += 1
        return None

    await redis.lpush(f"{namespace}:queue:default", [PAYLOAD] * COPIES)
    with anyio.fail_after(20):
        # Milliseconds, so that equal jobs die at an equal time.
        async with exq.open(
            url=valkey.url,
            namespace=namespace,
            workers=[again],
            timestamps="milliseconds",
            scheduler_poll_timeout=0.01,
        ):
            while done + await redis.zcard(f"{namespace}:dead") < COPIES:
                await anyio.sleep(0.005)

    assert done + await redis.zcard(f"{namespace}:dead") == COPIES
    assert await redis.get(f"{namespace}:stat:processed") == str(COPIES + done).encode()


async def test_equal_jobs_of_one_call_are_all_scheduled(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str
) -> None:
    spec = exq.JobSpec(worker="again").on(jid="same", after=600)
    async with exq.open(url=valkey.url, namespace=namespace, mode="enqueuer") as q:
        assert await q.enqueue_all([spec] * 3_000) == ["same"] * 3_000

    assert await redis.zcard(f"{namespace}:schedule") == 3_000
