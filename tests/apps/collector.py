"""What stands for the collector of OpenTelemetry: OTLP over HTTP comes in, and goes into a file.

The collector itself comes neither with Debian nor as a wheel that one could trust, and takes long to build.  So what is
sent is read with OpenTelemetry's own messages, and written as the collector's exporter ``file`` does: a line of JSON
for each request, by the JSON mapping of OTLP, which has ids in hex and enums as numbers.
"""

from __future__ import annotations

import gzip
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

IDS = ("traceId", "spanId", "parentSpanId")


@contextmanager
def collector(file: Path) -> Iterator[str]:
    """Append to *file* what is sent to the address that it yields."""
    writing = threading.Lock()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            known = (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            if known:
                with writing, file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(otlp_json(ExportTraceServiceRequest.FromString(body))) + "\n")
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def otlp_json(request: ExportTraceServiceRequest) -> Any:
    """*request* by the JSON mapping of OTLP, which is that of protobuf but for the ids."""
    return _with_hex(MessageToDict(request, use_integers_for_enums=True))


def _with_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex(one) for one in value]
    if isinstance(value, dict):
        return {key: b64decode(one).hex() if key in IDS else _with_hex(one) for key, one in value.items()}
    return value
