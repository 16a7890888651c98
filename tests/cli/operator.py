"""What the tests of the operator's commands share: jobs that lie there, and how what is said of them is read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from .conftest import Client

Typed: TypeAlias = Callable[..., tuple[int, str, str]]
"""``exq *args`` in this process: status, stdout, stderr."""


def jid(number: int) -> str:
    return f"{number:024x}"


@attrs.frozen
class Namespace:
    """One namespace, written and read by another program's client."""

    client: Client
    name: str

    def job(self, number: int, worker: str = "Mail", **fields: Any) -> str:
        """A payload as Sidekiq writes it, enqueued *number* seconds ago."""
        record = {
            "retry": True,
            "queue": "default",
            "class": worker,
            "args": [number, "hi"],
            "jid": jid(number),
            "created_at": time.time() - number,
            **fields,
        }
        return json.dumps(record)

    def failed(self, number: int, error: str = "TimeoutError", **fields: Any) -> str:
        return self.job(
            number,
            failed_at=time.time() - number,
            retry_count=2,
            error_class=error,
            error_message="no answer from the server",
            **fields,
        )

    def queue(self, name: str, *payloads: str) -> None:
        """The first is the newest."""
        self.client.sadd(f"{self.name}:queues", name)
        self.client.rpush(f"{self.name}:queue:{name}", *payloads)

    def put(self, key: str, scores: Mapping[str, float]) -> None:
        """In one of the three sets."""
        self.client.zadd(f"{self.name}:{key}", dict(scores))

    def jids(self, key: str) -> list[str]:
        """What lies in a queue (``queue:default``), or in a set, by number."""
        full = f"{self.name}:{key}"
        found = self.client.lrange(full, 0, -1) if key.startswith("queue:") else self.client.zrange(full, 0, -1)
        return [json.loads(payload)["jid"] for payload in found]

    def node(self, name: str, **info: object) -> None:
        """A live node of this package, which says what a node says."""
        now = time.time()
        said = {"hostname": "host", "started_at": now - 2.4 * 3600, "pid": 4711, "queues": ["default"], **info}
        entry = {
            "info": json.dumps(said), "concurrency": 10, "busy": 1, "beat": now, "quiet": "false", "rss": 51200,
            "rtt_us": 300,
        }  # fmt: skip
        self.client.sadd(f"{self.name}:processes", name)
        self.client.hset(f"{self.name}:{name}", mapping=entry)
        self.client.sadd(f"{self.name}:leases", name)
        self.client.hset(f"{self.name}:{name}:lease", mapping={"token": "t", "limit": "30"})

    def runs(self, node: str, number: int) -> None:
        """The node says that it runs a job, for two hours now."""
        work = {"queue": "default", "payload": self.job(number), "run_at": int(time.time() - 2.4 * 3600)}
        self.client.hset(f"{self.name}:{node}:work", "t1", json.dumps(work))


def lines(out: str) -> list[dict[str, Any]]:
    """What was said to programs."""
    return [json.loads(line) for line in out.splitlines()]


def widest(out: str) -> int:
    return max(len(line) for line in out.splitlines())
