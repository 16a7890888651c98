"""100,000 entries: what is held in memory, how long the server is held up, and how long it all takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import coredis
import pytest

import exq_anyio as exq
from exq_anyio.api import Api, Filter, Jobs
from exq_anyio.node.heartbeat import resident_kilobytes
from exq_anyio.redis.embedded import EmbeddedServer

from .conftest import NOW

pytestmark = pytest.mark.long

SIZE = 100_000

FILL = """
for at = 1, tonumber(ARGV[1]) do
  local payload = string.format(ARGV[2], at, at % 1000, at)
  if ARGV[3] == 'list' then redis.call('LPUSH', KEYS[1], payload)
  else redis.call('ZADD', KEYS[1], string.format('%.2f', ARGV[4] + at), payload) end
end
"""

PAYLOAD = (
    '{"class":"Worker","queue":"other","args":[%d],"tags":["t%d"],"jid":"jid-%d","enqueued_at":1790000000.5,'
    '"retry_count":1,"failed_at":1790000000.5,"error_class":"Oops","error_message":"first line\\nsecond"}'
)

PLACES: list[tuple[str, str, Callable[[Api], Jobs]]] = [
    ("queue:q", "list", lambda api: api.jobs("q")),
    ("dead", "zset", lambda api: api.dead()),
]


async def counted(jobs: Jobs) -> int:
    number = 0
    async for _ in jobs:
        number += 1
    return number


async def searched(jobs: Jobs) -> int:
    return sum([len(step.entries) async for step in jobs.search(Filter(tag="t7"))])


@contextmanager
def memory() -> Iterator[Callable[[], float]]:
    """Gives the most megabytes that this process has grown by, as seen every few milliseconds."""
    start = most = resident_kilobytes()
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, resident_kilobytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: (most - start) / 1000
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize(("key", "kind", "which"), PLACES, ids=[key for key, _, _ in PLACES])
async def test_neither_memory_nor_time_nor_one_step_grows_without_bound(
    valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str, key: str, kind: str,
    which: Callable[[Api], Jobs],
) -> None:  # fmt: skip
    await redis.eval(FILL, keys=[f"{namespace}:{key}"], args=[SIZE, PAYLOAD, kind, NOW])
    await redis.sadd(f"{namespace}:queues", ["q"])
    await redis.config_resetstat()
    async with exq.open(url=valkey.url, namespace=namespace, mode="api") as q:
        jobs = which(q.api)
        middle = f"jid-{SIZE // 2}"
        for act, expected, seconds in (
            (q.api.stats, None, 1), (jobs.size, SIZE, 1), (lambda: jobs.page(SIZE - 5, 3), None, 1),
            (lambda: jobs.find(middle), None, 10), (lambda: searched(jobs), 100, 10), (lambda: counted(jobs), SIZE, 60),
            (lambda: jobs.delete_all(Filter(tag="t7")), None, 15), (jobs.clear, SIZE - 100, 30),
        ):  # fmt: skip
            started = time.monotonic()
            with memory() as grown:
                result = await act()
                assert grown() < 30  # the entries would take 300
            assert expected is None or result == expected
            assert time.monotonic() - started < seconds
    left = await redis.keys(f"{namespace}:*")
    assert set(left) == (set() if kind == "list" else {f"{namespace}:queues".encode()})
    # Many short steps, and not a few long ones: on a busy machine one may wait for its turn, but not most of them.
    stats: dict[str, Any] = dict(await redis.info("commandstats"))
    steps = stats["cmdstat_evalsha"]
    assert steps["calls"] > 6 * SIZE / 2_000
    assert steps["usec_per_call"] < 20_000
