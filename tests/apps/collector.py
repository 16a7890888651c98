"""What stands for the collector of OpenTelemetry: OTLP over HTTP comes in, and goes into a file.

The collector itself comes neither with Debian nor as a wheel that one could trust, and takes long to build.  So what is
sent is read with OpenTelemetry's own messages, and written as the collector's exporter ``file`` does: a line of JSON
for each request, by the JSON mapping of OTLP, which has ids in hex and enums as numbers.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .receiver import receiver

IDS = ("traceId", "spanId", "parentSpanId")


@contextmanager
def collector(file: Path) -> Iterator[str]:
    """Append to *file* what is sent to the address that it yields."""

    def take(path: str, kind: str, body: bytes) -> bool:
        if (path, kind) != ("/v1/traces", "application/x-protobuf"):
            return False
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(otlp_json(ExportTraceServiceRequest.FromString(body))) + "\n")
        return True

    with receiver(take) as port:
        yield f"http://127.0.0.1:{port}"


def otlp_json(request: ExportTraceServiceRequest) -> Any:
    """*request* by the JSON mapping of OTLP, which is that of protobuf but for the ids."""
    return _with_hex(MessageToDict(request, use_integers_for_enums=True))


def _with_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex(one) for one in value]
    if isinstance(value, dict):
        return {key: b64decode(one).hex() if key in IDS else _with_hex(one) for key, one in value.items()}
    return value
