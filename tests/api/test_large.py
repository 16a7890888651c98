"""100,000 entries: what is held in memory, how long the server is held up, and how many steps it all takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

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


async def steps(redis: coredis.Redis[bytes]) -> dict[str, float]:
    """How many scripts were run, and how long they took."""
    stats = cast("dict[str, dict[str, float]]", await redis.info("commandstats"))
    return stats.get("cmdstat_evalsha", {"calls": 0, "usec_per_call": 0})


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
    worked = time.process_time()
    async with exq.open(url=valkey.url, namespace=namespace, mode="api") as q:
        jobs = which(q.api)
        middle = f"jid-{SIZE // 2}"
        for act, expected, most in (
            (q.api.stats, None, 2), (jobs.size, SIZE, 1), (lambda: jobs.page(SIZE - 5, 3), None, 1),
            (lambda: jobs.find(middle), None, 30), (lambda: searched(jobs), 100, 60),
            (lambda: counted(jobs), SIZE, 210), (lambda: jobs.delete_all(Filter(tag="t7")), None, 110),
            (jobs.clear, SIZE - 100, 110),
        ):  # fmt: skip
            before = await steps(redis)
            with memory() as grown:
                result = await act()
                assert grown() < 30  # the entries would take 300
            assert expected is None or result == expected
            assert (await steps(redis))["calls"] - before["calls"] <= most
    assert time.process_time() - worked < 20  # it takes two, and those of others do not count
    left = await redis.keys(f"{namespace}:*")
    assert set(left) == (set() if kind == "list" else {f"{namespace}:queues".encode()})
    # Many short steps, and not a few long ones: on a busy machine one may wait for its turn, but not most of them.
    taken = await steps(redis)
    assert taken["calls"] > 6 * SIZE / 2_000
    assert taken["usec_per_call"] < 20_000
