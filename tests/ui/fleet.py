"""A fleet as operators have it: queues, nodes of three programs, jobs in every state, and half a year of history."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import coredis
import msgspec

import exq_anyio as exq
from exq_anyio.api.measures import HISTOGRAM_LIMITS
from exq_anyio.job import pack_backtrace
from exq_anyio.redis.keys import Keys
from exq_anyio.spec import JobSpec

WORKERS: dict[str, tuple[str, list[list[object]]]] = {
    "send_welcome": ("mail", [[7, "hello"], [1042, "bonjour"], [93, "hola"]]),
    "Reports::Monthly": ("reports", [[2026, 10], [2026, 11]]),
    "Resize": ("images", [["uploads/8f2c1b.png", 800], ["uploads/a90e77.jpg", 1600]]),
    "charge_card": ("payments", [[{"order": 88412, "amount": "49.90", "currency": "EUR"}]]),
    "sync_inventory": ("default", [["warehouse-3", {"full": False, "since": "2026-11-20"}]]),
    "Search.Reindex": ("search", [["products", list(range(12))]]),
    "export_csv": ("low", [["orders", "2026-11-01", "2026-11-24"]]),
}

ERRORS = [
    ("ConnectTimeout", "smtp.example.com:587 did not answer within 10 s"),
    ("CardDeclined", "the bank said no: insufficient_funds"),
    ("ValueError", "unknown template 'holla'"),
    ("Net::OpenTimeout", "execution expired"),
    ("KeyError", "'sku-20931'"),
]

TRACE = [
    '  File "/srv/app/jobs/mail.py", line 41, in send_welcome',
    "    await client.send(message)",
    '  File "/srv/app/lib/smtp.py", line 118, in send',
    "    async with fail_after(10):",
    "ConnectTimeout: smtp.example.com:587 did not answer within 10 s",
]

QUEUES = {"mail": (1284, 4.2), "payments": (3, 0.4), "images": (312, 38.0), "default": (57, 1.1), "search": (18, 0.9)}

QUEUES_SLOW = {"reports": (6, 941.0), "low": (4310, 5400.0)}


def job(chance: random.Random, now: float, age: float, **fields: Any) -> bytes:
    """A job that was enqueued *age* seconds before *now*."""
    worker = fields.pop("worker", None) or chance.choice(list(WORKERS))
    queue, args = WORKERS.get(worker, ("default", [[1]]))
    record = {
        "retry": True, "queue": queue, "class": worker, "args": chance.choice(args),
        "jid": f"{chance.getrandbits(96):024x}", "created_at": now - age, "enqueued_at": now - age, **fields,
    }  # fmt: skip
    return msgspec.json.encode(record)


def failed(chance: random.Random, now: float, age: float, count: int, **fields: Any) -> bytes:
    """A job that failed *count* times, first *age* seconds before *now*."""
    error, message = chance.choice(ERRORS)
    if count > 1:
        fields["retried_at"] = now - age / (count + 1)
    return job(
        chance, now, age + 30, error_class=error, error_message=message, failed_at=now - age, retry_count=count - 1,
        error_backtrace=pack_backtrace(TRACE), **fields,
    )  # fmt: skip


async def seed(redis: coredis.Redis[bytes], namespace: str, now: float, *, dead: int = 1204, seed: int = 7) -> None:
    """Fill *namespace*."""
    chance, keys = random.Random(seed), Keys(namespace)
    waiting = {**QUEUES, **QUEUES_SLOW}
    await redis.sadd(keys.queues, [*waiting, "empty"])
    for name, (size, latency) in waiting.items():
        worker = next(worker for worker, (queue, _) in WORKERS.items() if queue == name)
        payloads = [
            job(chance, now, latency * (at + 1) / size, worker=worker, tags=["vip"] if at % 40 == 0 else [])
            for at in range(size)
        ]
        for at in range(0, size, 500):
            await redis.rpush(keys.queue(name), payloads[at : at + 500])
    await redis.sadd(keys.paused, ["low"])
    await _sets(redis, keys, chance, now, dead)
    await _nodes(redis, keys, chance, now)
    await _counters(redis, keys, chance, now)
    await _metrics(redis, keys, now)


async def _sets(redis: coredis.Redis[bytes], keys: Keys, chance: random.Random, now: float, dead: int) -> None:
    retry: dict[str | bytes, float] = {
        failed(chance, now, 60 + 40 * at, 1 + at % 5): now + 9 + 31 * at for at in range(43)
    }
    await redis.zadd(keys.retry, retry)
    later: dict[str | bytes, float] = {
        job(chance, now, 300, enqueued_at=None, tags=["nightly"]): now + 240 + 900 * at for at in range(17)
    }
    await redis.zadd(keys.schedule, later)
    for at in range(0, dead, 5_000):
        group = range(at, min(at + 5_000, dead))
        await redis.zadd(keys.dead, {failed(chance, now, 90_000.0 + each, 26): now - 40 - 211 * each for each in group})


def processes(now: float) -> Iterator[tuple[str, dict[str, Any], int, bool, int]]:
    """Node id, `info`, running jobs, whether it is quiet, and memory in kB."""
    for at in range(1, 4):
        yield f"worker-{at}.eu#1", {
            "hostname": f"worker-{at}.eu", "started_at": now - 86_000 * at, "pid": 4_100 + at, "tag": "shop",
            "concurrency": 50, "queues": ["mail", "payments", "images", "default"], "labels": ["exq_anyio"],
            "identity": f"worker-{at}.eu#1", "version": "0.1.0",
        }, 6 - at, at == 3, 61_000 + 900 * at  # fmt: skip
    yield "rails-1:29:a1b2c3d4e5f6", {
        "hostname": "rails-1", "started_at": now - 12_000, "pid": 29, "tag": "storefront", "concurrency": 10,
        "queues": ["reports", "default"], "labels": [], "identity": "rails-1:29:a1b2c3d4e5f6", "version": "8.1.7",
    }, 3, False, 214_000  # fmt: skip
    yield "elixir-1", {
        "hostname": "elixir-1", "started_at": now - 500_000, "pid": "0.512.0", "concurrency": 0, "queues": ["search"],
        "busy": 1, "quiet": False,
    }, 1, False, 0  # fmt: skip


async def _nodes(redis: coredis.Redis[bytes], keys: Keys, chance: random.Random, now: float) -> None:
    for node_id, info, busy, quiet, rss in processes(now):
        fields: dict[str, str | bytes] = {
            "info": msgspec.json.encode(info), "busy": str(busy), "beat": repr(now - 1.3),
            "quiet": "true" if quiet else "false", "rtt_us": "410",
        }  # fmt: skip
        if rss:
            fields["rss"] = str(rss)
        await redis.sadd(keys.processes, [node_id])
        await redis.hset(keys.process(node_id), fields)
        queues = info["queues"]
        for at in range(busy):
            queue = queues[at % len(queues)]
            worker = next(worker for worker, (name, _) in WORKERS.items() if name == queue)
            payload = job(chance, now, 5 + 11 * at, worker=worker).decode()
            work = {"queue": queue, "payload": payload, "run_at": int(now - 2 - 17 * at * busy)}
            await redis.hset(keys.work(node_id), {f"t{at}": msgspec.json.encode(work)})


async def _counters(redis: coredis.Redis[bytes], keys: Keys, chance: random.Random, now: float) -> None:
    total = lost = 0
    today = datetime.fromtimestamp(now, UTC).replace(hour=12)
    for back in range(180):
        day = today - timedelta(days=back)
        done = int((310_000 + 900 * (180 - back)) * (0.45 if day.weekday() > 4 else 1) * chance.uniform(0.85, 1.15))
        bad = int(done * chance.uniform(0.002, 0.012) * (6 if back in (12, 47, 48, 110) else 1))
        names = keys.stats(day.timestamp())
        await redis.mset({names[1]: str(done if back else done // 3), names[4]: str(bad if back else bad // 3)})
        total, lost = total + done, lost + bad
    names = keys.stats(now)
    await redis.mset({names[0]: str(total), names[3]: str(lost)})
    for back in range(1, 70):
        names = keys.stats(now - back)
        done = int(118 + 30 * chance.random() + (40 if 20 < back < 32 else 0))
        await redis.mset({names[2]: str(done), names[5]: str(int(chance.random() * 3) + (9 if 24 < back < 28 else 0))})


def runs(chance: random.Random, name: str, at: float) -> tuple[int, int, float, list[int]]:
    """What a worker did in one minute: processed, failed, milliseconds in all, and how many runs took how long."""
    weight = 3 + sum(map(ord, name)) % 13
    many = int(weight * (6 + 4 * math.sin(at / 900)) * chance.uniform(0.8, 1.2))
    typical = 20 * 1.9 ** (sum(map(ord, name)) % 9)
    times = [typical * chance.lognormvariate(0, 0.6) for _ in range(many)]
    buckets = [0] * len(HISTOGRAM_LIMITS)
    for each in times:
        buckets[bisect_right(HISTOGRAM_LIMITS, each / 1000)] += 1
    bad = sum(chance.random() < 0.01 * (weight % 4) for _ in range(many))
    return many + bad, bad, sum(times), buckets


async def _metrics(redis: coredis.Redis[bytes], keys: Keys, now: float) -> None:
    chance = random.Random(11)
    for back in range(60):
        at = now - 60 * back
        for name in WORKERS:
            done, bad, took, buckets = runs(chance, name, at)
            fields: dict[str | bytes, int] = {f"{name}|p": done, f"{name}|f": bad, f"{name}|ms": int(took)}
            await redis.hset(keys.minute(at, "seconds"), fields)
            packed = b"".join(count.to_bytes(2, "big") for count in buckets)
            await redis.set(keys.histogram(name, at, "seconds"), packed)
    begin = datetime.fromtimestamp(now - 1_500, UTC)
    await redis.hset(keys.marks(now - 1_500), {f"{begin:%Y-%m-%dT%H:%M:00Z}": "v2.41.0"})


async def declare(q: exq.Exq) -> None:
    """Periodic jobs."""
    add, berlin = q.api.periodic.add, "Europe/Berlin"
    monthly, sync = JobSpec(worker="Reports::Monthly", args=(2026, 11)), JobSpec(worker="sync_inventory", args=("w-3",))
    await add("nightly report", monthly.on(queue="reports"), exq.Cron("0 3 * * *"))
    await add("inventory", sync, exq.Every(900))
    await add("reindex", JobSpec(worker="Search.Reindex").on(queue="search"), exq.Cron("30 4 * * 1", timezone=berlin))
    await q.api.periodic.pause("reindex")
