"""What the documentation has one tell Kubernetes and KEDA can be read, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as read_text

import exq_anyio as exq
from exq_anyio.contrib.prometheus import queue_metrics
from exq_anyio.redis.embedded import EmbeddedServer

from .test_apps import EXAMPLES

DOCS = EXAMPLES.parent / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```yaml" in page.read_text(encoding="utf-8"))


def settings(page: Path) -> list[dict[str, Any]]:
    """The documents of all blocks of YAML in *page*."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [document for block in blocks for document in yaml.safe_load_all(block)]


def triggers() -> dict[str, dict[str, Any]]:
    """What KEDA is told to look at, by the type of its scaler."""
    scaled = [one for one in settings(DOCS / "guides" / "telemetry.md") if one["kind"] == "ScaledObject"]
    return {trigger["type"]: trigger["metadata"] for one in scaled for trigger in one["spec"]["triggers"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_kubernetes_is_told_has_a_kind_and_a_name(page: Path) -> None:
    told = settings(page)
    assert told
    assert all(one["apiVersion"] and one["kind"] and one["metadata"]["name"] for one in told)


def test_keda_is_told_text_as_it_asks_for() -> None:
    assert set(triggers()) == {"prometheus", "redis"}
    values = [value for metadata in triggers().values() for value in metadata.values()]
    assert [value for value in values if not isinstance(value, str)] == []


async def test_keda_asks_prometheus_for_a_metric_that_is_shown(valkey: EmbeddedServer, namespace: str) -> None:
    asked = re.fullmatch(r'max\((\w+)\{queue="(\w+)"\}\)', triggers()["prometheus"]["query"])
    assert asked is not None
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with exq.open(url=valkey.url, namespace=namespace, mode=["api", "enqueuer"]) as q:
        await q.enqueue(asked[2], "Mail")
        await queue_metrics(q)({"type": "http", "headers": []}, send, send)

    samples = [sample for family in read_text(sent[1]["body"].decode()) for sample in family.samples]
    assert [sample.labels for sample in samples if sample.name == asked[1]] == [{"queue": asked[2]}]


async def test_keda_counts_the_list_that_jobs_wait_in(valkey: EmbeddedServer, namespace: str, redis: Any) -> None:
    start, _, queue = triggers()["redis"]["listName"].rpartition(":queue:")
    assert start == exq.Config().namespace
    async with exq.open(url=valkey.url, namespace=namespace, mode="enqueuer") as q:
        await q.enqueue(queue, "Mail")
    assert await redis.llen(triggers()["redis"]["listName"].replace(start, namespace, 1)) == 1
