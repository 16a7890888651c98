"""A program that takes what others send by HTTP: in a thread, at a free port of this machine."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

Take: TypeAlias = Callable[[str, str, bytes], bool]
"""Is given the path, the type and the body of each request, one at a time; whether it knows what that is."""


@contextmanager
def receiver(take: Take) -> Iterator[int]:
    """Answer 200 to what *take* knows, 404 to the rest, at the port that it yields."""
    taking = threading.Lock()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            kind = self.headers.get("content-type", "")
            with taking:
                known = take(self.path, kind, body)
            self.send_response(200 if known else 404)
            self.send_header("content-type", kind)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
