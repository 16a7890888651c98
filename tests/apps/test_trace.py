"""A trace seen whole in a collector's file: a request, the job that it enqueues, and the one that follows from that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.request import Request, urlopen

import attrs
import pytest
import yaml

from exq_anyio.redis.embedded import EmbeddedServer

from .collector import collector
from .test_apps import EXAMPLES

PLACE = EXAMPLES / "opentelemetry"
SERVER, PRODUCER, CONSUMER = 2, 4, 5


@attrs.frozen
class Span:
    """One span of the file."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]


def spans(file: Path) -> list[Span]:
    """What is in the collector's *file*, in the order in which it began."""
    found: list[tuple[int, Span]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        for sent in json.loads(line)["resourceSpans"]:
            service = attributes(sent["resource"])["service.name"]
            for one in (one for scope in sent["scopeSpans"] for one in scope["spans"]):
                links = [link["spanId"] for link in one.get("links", [])]
                of_one = (one["name"], one["kind"], one["traceId"], one["spanId"], one.get("parentSpanId", ""), links)
                found.append((int(one["startTimeUnixNano"]), Span(service, *of_one, attributes(one))))
    return [span for _, span in sorted(found, key=lambda pair: pair[0])]


def attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in holder.get("attributes", [])}


@contextmanager
def process(service: str, command: list[str], environ: dict[str, str]) -> Iterator[IO[str]]:
    """A program, and what it writes; ended by SIGTERM."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "OTEL_"))}
    env = {**known, **environ, "OTEL_SERVICE_NAME": service}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, *command], cwd=PLACE, env=env, **pipes) as program:
        try:
            assert program.stdout is not None
            yield program.stdout
            program.send_signal(signal.SIGTERM)
            told, _ = program.communicate(timeout=30)
            assert program.returncode == 0, told
        finally:
            program.kill()


def line_with(text: str, written: IO[str]) -> str:
    lines: list[str] = []
    for line in written:
        if text in line:
            return line
        lines.append(line)
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_and_two_chained_jobs_are_one_trace_in_the_file_of_a_collector(
    backend: str, valkey: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "traces.json"
    with collector(file) as endpoint:
        environ = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        # Longer than the test, so that all that is in the file was sent at the end of a program.
        environ["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
        work = ["-c", f"import traced_jobs; traced_jobs.main({backend!r})"]
        serve = ["-m", "hypercorn", "-k", backend, "--bind", "127.0.0.1:0", "traced_web:app"]
        with process("worker", work, environ) as worker, process("web", serve, environ) as web:
            address = line_with("Running on", web).partition("Running on ")[2].partition(" ")[0]
            with urlopen(Request(f"{address}/orders/7", method="POST"), timeout=20) as answer:
                jid = json.load(answer)["jid"]
            line_with("receipt of order 7", worker)

    request, sent, charged, sent_on, mailed = whole = spans(file)
    assert [(span.service, span.name, span.kind) for span in whole] == [
        ("web", "POST /orders/{order}", SERVER),
        ("web", "send payments", PRODUCER),
        ("worker", "process payments", CONSUMER),
        ("worker", "send mail", PRODUCER),
        ("worker", "process mail", CONSUMER),
    ]
    assert len({span.trace for span in whole}) == 1
    assert [span.parent for span in whole] == ["", *[span.id for span in whole[:-1]]]
    assert [span.links for span in whole] == [[], [], [sent.id], [], [sent_on.id]]
    assert request.attributes["http.route"] == "/orders/{order}"
    assert (sent.attributes, charged.attributes) == (
        message("send", "payments", jid, "charge"),
        {**message("process", "payments", jid, "charge"), "exq.attempt": "1"},
    )
    second = sent_on.attributes["messaging.message.id"]
    assert second != jid
    assert (sent_on.attributes, mailed.attributes) == (
        message("send", "mail", second, "receipt"),
        {**message("process", "mail", second, "receipt"), "exq.attempt": "1"},
    )


def message(operation: str, queue: str, jid: str, worker: str) -> dict[str, str]:
    """What the semantic conventions for messaging ask for."""
    return {
        "messaging.system": "exq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": jid,
        "exq.worker": worker,
    }


def test_the_settings_of_the_collector_name_what_they_define() -> None:
    settings = yaml.safe_load((PLACE / "collector.yaml").read_text(encoding="utf-8"))
    traces = settings["service"]["pipelines"]["traces"]
    assert (traces["receivers"], traces["exporters"]) == (list(settings["receivers"]), list(settings["exporters"]))
    assert settings["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert settings["exporters"] == {"file": {"path": "traces.json"}}
