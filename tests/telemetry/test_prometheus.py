"""What Prometheus scrapes is what its own client reads."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import coredis
import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

import exq_anyio as exq
from exq_anyio.contrib.prometheus import JobMetrics, queue_metrics
from exq_anyio.redis.embedded import EmbeddedServer

from ..exq.scene import Scene, payload, until

read_openmetrics: Any = openmetrics.text_string_to_metric_families  # it has no types


@pytest.fixture
def scene(valkey: EmbeddedServer, redis: coredis.Redis[bytes], namespace: str) -> Scene:
    return Scene(valkey.url, redis, namespace)


@pytest.fixture
async def scraped(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    """What answers scrapes."""
    async with scene.open(mode="api") as q:
        transport = httpx.ASGITransport(queue_metrics(lambda: q))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            yield client


async def test_the_queues_are_shown(scene: Scene, scraped: httpx.AsyncClient) -> None:
    now = time.time()
    await scene.push("default", payload("w", enqueued_at=now - 90), payload("w", enqueued_at=now))
    await scene.push('odd"\\', payload("w"))
    await scene.redis.sadd(scene.key("paused"), ["default"])
    await scene.redis.zadd(scene.key("dead"), {"a": 1.0, "b": 2.0})

    answer = await scraped.get("/metrics")
    took = time.time() - now

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in read_text(answer.text)
        for sample in family.samples
    }
    assert 90 <= samples.pop(("exq_queue_latency_seconds", "default")) <= 90 + took
    assert samples == {
        ("exq_queue_size", "default"): 2,
        ("exq_queue_size", 'odd"\\'): 1,
        ("exq_queue_latency_seconds", 'odd"\\'): 0,
        ("exq_queue_paused", "default"): 1,
        ("exq_queue_paused", 'odd"\\'): 0,
        ("exq_scheduled",): 0,
        ("exq_retries",): 0,
        ("exq_dead",): 2,
        ("exq_busy",): 0,
        ("exq_nodes",): 0,
        ("exq_processed_total",): 0,
        ("exq_failed_total",): 0,
    }


async def test_a_scraper_may_ask_for_openmetrics(scraped: httpx.AsyncClient) -> None:
    answer = await scraped.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "exq_nodes" in {family.name for family in read_openmetrics(answer.text)}


async def test_a_broken_key_is_no_figure(scene: Scene, scraped: httpx.AsyncClient) -> None:
    await scene.redis.set(scene.key("retry"), b"text")

    answer = await scraped.get("/metrics")

    assert (answer.status_code, "retry" in answer.text) == (503, True)


async def test_what_this_process_did_is_counted(scene: Scene) -> None:
    registry = CollectorRegistry()

    @exq.worker(max_retries=0)
    async def work(how: str) -> object:
        if how == "fail":
            raise ValueError
        return exq.Discard() if how == "discard" else None

    await scene.push("default", payload("nobody's", retry=0))
    async with scene.open(work, listeners=[JobMetrics(registry)]) as q:
        await q.enqueue_all(work.job(how) for how in ("fail", "discard", "pass", "pass"))
        await until(lambda: _processed(scene, 5))

    samples = {
        (sample.name, *(sample.labels[label] for label in ("queue", "worker", "outcome") if label in sample.labels)): (
            sample.value
        )
        for family in read_text(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket", "_sum"))
    }
    assert samples == {
        ("exq_jobs_enqueued_total", "default"): 4,
        ("exq_jobs_total", "default", "work", "dead"): 1,
        ("exq_jobs_total", "default", "work", "discarded"): 1,
        ("exq_jobs_total", "default", "work", "done"): 2,
        ("exq_jobs_total", "default", "", "dead"): 1,
        ("exq_job_duration_seconds_count", "default", "work"): 4,
        ("exq_job_wait_seconds_count", "default"): 4,
        ("exq_jobs_rescued_total",): 0,
    }


async def test_a_job_that_a_rescue_gives_up_is_counted_among_the_dead(scene: Scene) -> None:
    registry = CollectorRegistry()
    dead = await scene.dead_node("here")
    await scene.leave_taken(dead, "default", payload("killer", rescue_count=3, rescued_at=time.time()))
    await scene.redis.hset(scene.key(f"{dead}:lease"), {"alone": "jid-killer"})
    async with scene.open(listeners=[JobMetrics(registry)], node_identifier="here"):
        pass

    labels = {"queue": "default", "worker": "", "outcome": "dead"}
    assert registry.get_sample_value("exq_jobs_total", labels) == 1
    assert registry.get_sample_value("exq_jobs_rescued_total") == 1


async def _processed(scene: Scene, count: int) -> bool:
    return await scene.count("processed") == count
