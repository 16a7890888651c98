"""``/livez``, ``/readyz`` and ``/metrics`` of a worker process: a small HTTP server in a thread of its own.

In a thread, so that it answers while a job blocks the event loop.  Never a reason to stop working: what goes wrong here
is logged.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TypeAlias

from ..errors import ConfigError
from ..node.health import Health

logger: logging.Logger = logging.getLogger("exq_anyio")

SLOW = 5.0
"""Seconds after which a client that says nothing is left."""

Look: TypeAlias = Callable[[], "Sequence[Health | None]"]
"""The health of each process, None where one is not up yet."""


@contextmanager
def serve_probes(host: str, port: int, look: Look) -> Iterator[int]:
    """Answer probes as long as the block; the port, which the system chooses for 0.

    Raises:
        ConfigError: the port cannot be had.
    """
    try:
        server = _Server((host, port), _handler(look))
    except (OSError, OverflowError) as error:
        raise ConfigError("health_port", f"cannot listen at {host}:{port}: {error}") from None
    thread = Thread(target=server.serve_forever, name="exq probes", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that is slow must not delay the end of the process

    def handle_error(self, request: object, client_address: object) -> None:
        logger.debug("probe failed: client=%s", client_address, exc_info=True)


def _handler(look: Look) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SLOW

        def do_GET(self) -> None:
            status, text = answer(self.path.partition("?")[0], look())
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base calls it so
            logger.debug("probe: " + format, *args)  # noqa: G003

    return Handler


def answer(path: str, healths: Sequence[Health | None]) -> tuple[int, str]:
    """Status and text of an answer."""
    match path:
        case "/livez":
            problems = [health.problem for health in healths if health is not None and health.problem]
            return (503, "\n".join(problems) + "\n") if problems else (200, "alive\n")
        case "/readyz":
            reasons = [_unready(health) for health in healths]
            # One of several processes that works is enough: the others are on their way.
            return (503, "\n".join(reasons) + "\n") if all(reasons) else (200, "ready\n")
        case "/metrics":
            return 200, "".join(_metrics(healths)) + _others()
        case _:
            return 404, "there are /livez, /readyz and /metrics\n"


def _unready(health: Health | None) -> str:
    if health is None:
        return "not up yet"
    if health.ready:
        return ""
    return "takes no more jobs" if health.quiet else "Redis is away" if not health.redis else "not up yet"


def _metrics(healths: Sequence[Health | None]) -> Iterator[str]:
    """The text that Prometheus reads (exposition format 0.0.4)."""
    each = [(str(number), health) for number, health in enumerate(healths, 1)]
    up = [(process, health) for process, health in each if health is not None]
    ready = [(_labels(process=process), int(health is not None and health.ready)) for process, health in each]
    redis = [(_labels(process=process), int(health.redis)) for process, health in up]
    silent = [(_labels(process=process), round(health.silent, 3)) for process, health in up]
    running = [
        (_labels(process=process, queue=queue), count)
        for process, health in up
        for queue, count in health.running.items()
    ]
    ended = [
        (_labels(process=process, queue=queue), count)
        for process, health in up
        for queue, count in health.ended.items()
    ]
    yield from _family("exq_process_up", "gauge", "Whether the process takes jobs.", ready)
    yield from _family("exq_process_redis_up", "gauge", "Whether Redis is there.", redis)
    yield from _family("exq_process_silent_seconds", "gauge", "Time since the event loop's last sign of life.", silent)
    yield from _family("exq_process_jobs_running", "gauge", "Running jobs.", running)
    yield from _family("exq_process_jobs_ended_total", "counter", "Jobs that have ended, however they did.", ended)


def _family(name: str, kind: str, text: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in samples:
        yield f"{name}{labels} {value}\n"


def _labels(**labels: str) -> str:
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def _others() -> str:
    """What the program itself counts with prometheus-client in this process, where that is installed."""
    if not importlib.util.find_spec("prometheus_client"):
        return ""
    from prometheus_client import generate_latest

    try:
        return generate_latest().decode()
    except Exception:
        logger.exception("prometheus_client has no answer")
        return ""
