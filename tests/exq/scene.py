"""One namespace of a real Valkey: instances are opened there, and what they leave is read with a client of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any, Final, TypeVar, overload

import anyio
import attrs
import coredis
import msgspec

import exq_anyio as exq

T = TypeVar("T")

COUNTER = re.compile(r"(?:.*:)?(?:stat:|[jh]\|).*|.*-\d\d-\d\d:\d+")
"""Keys of counters: in total, by time, by worker, with or without the prefix of a namespace."""


def but_counters(keys: Iterable[str]) -> set[str]:
    """*keys*, but for those of counters."""
    return {key for key in keys if not COUNTER.fullmatch(key)}


Record = dict[str, Any]

PATIENT: Final = {"connect_timeout": 30, "timeout": 60}
"""Options with which Redis is not taken to be away when others use the machine too."""


@overload
async def until(condition: Callable[[], Awaitable[T]], seconds: float = 30) -> T: ...
@overload
async def until(condition: Callable[[], T], seconds: float = 30) -> T: ...
async def until(condition: Callable[[], object], seconds: float = 30) -> object:
    """What *condition* returns as soon as it is true; TimeoutError after *seconds*."""
    with anyio.fail_after(seconds):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await anyio.sleep(0.005)


def payload(worker: str, *args: object, **fields: object) -> bytes:
    """A job as another program might have written it."""
    return msgspec.json.encode({"class": worker, "args": list(args), "jid": f"jid-{worker}", "retry": True, **fields})


def records(payloads: Sequence[bytes]) -> list[Record]:
    return [msgspec.json.decode(one) for one in payloads]


def our_threads() -> dict[int, str]:
    """Threads that run our code, and where; idle ones of a pool, which AnyIO and Trio keep for later, do not."""
    own, found = threading.get_ident(), {}
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and ident != own:
            if "exq_anyio" in frame.f_code.co_filename and "redis/embedded" not in frame.f_code.co_filename:
                found[ident] = frame.f_code.co_name
            frame = frame.f_back
    return found


def stops(q: exq.Exq) -> bool:
    """Whether the end of *q* has begun, so that it takes no more jobs; from any thread."""
    health = q.health()
    return health is not None and health.quiet


def dead_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@attrs.frozen
class Scene:
    """What a test opens and looks at."""

    url: str
    redis: coredis.Redis[bytes]
    namespace: str

    def open(self, *workers: object, **settings: object) -> AbstractAsyncContextManager[exq.Exq]:
        """An instance that knows *workers* and looks for due jobs all the time."""
        given = {"url": self.url, "namespace": self.namespace, "redis_options": PATIENT, "workers": workers}
        return exq.open({**given, "scheduler_poll_timeout": 0.02, "poll_timeout": 60, **settings})

    def enqueuer(self, **settings: object) -> AbstractAsyncContextManager[exq.Exq]:
        """An instance that only puts jobs in."""
        return self.open(**{"mode": "enqueuer", **settings})

    def key(self, name: str) -> str:
        return f"{self.namespace}:{name}" if self.namespace else name

    async def push(self, queue: str, *payloads: bytes) -> None:
        """Put *payloads* in, the first to be taken first, as another program would."""
        await self.redis.sadd(self.key("queues"), [queue])
        await self.redis.lpush(self.key(f"queue:{queue}"), payloads)

    async def queue(self, name: str = "default") -> list[bytes]:
        """The payloads of a queue, the next to be taken first."""
        return list(reversed(await self.redis.lrange(self.key(f"queue:{name}"), 0, -1)))

    async def backup(self, node_id: str, queue: str = "default") -> list[bytes]:
        """What a node has taken and not settled, the oldest first."""
        return list(reversed(await self.redis.lrange(self.key(f"queue:backup::{node_id}::{queue}"), 0, -1)))

    async def scored(self, name: str) -> list[tuple[bytes, float]]:
        """Members and scores of ``schedule``, ``retry`` or ``dead``, the lowest first."""
        found = await self.redis.zrange(self.key(name), 0, -1, withscores=True)
        return [(member, score) for member, score in found]  # type: ignore[misc]  # coredis: with scores, pairs

    async def entries(self, name: str) -> list[Record]:
        """The jobs in ``schedule``, ``retry`` or ``dead``."""
        return records([member for member, _ in await self.scored(name)])

    async def count(self, name: str) -> int:
        """A counter, 0 when it is not there."""
        return int(await self.redis.get(self.key(f"stat:{name}")) or 0)

    async def keys(self) -> set[str]:
        """Every key of the namespace, without its prefix."""
        prefix = self.key("")
        return {key.decode().removeprefix(prefix) for key in await self.redis.keys(f"{prefix}*")}

    async def hash(self, name: str) -> Mapping[str, str]:
        found = await self.redis.hgetall(self.key(name))
        return {field.decode(): value.decode() for field, value in found.items()}

    async def dead_node(self, host: str, number: int = 1, taken: Sequence[bytes] = ()) -> str:
        """What a node of this machine leaves when it is killed, also what it has *taken* from ``default``; its id."""
        async with self.open(node_identifier=host, queues=[], heartbeat_enable=False) as q:
            lease = await self.hash(f"{q.node_id}:lease")
        node_id = f"{host}#{number}"
        if taken:  # first: a node that is up rescues them, once, as soon as it sees that this one is dead
            await self.leave_taken(node_id, "default", *taken)
        await self.redis.hset(self.key(f"{node_id}:lease"), {**lease, "token": "old", "pid": str(dead_process())})
        await self.redis.sadd(self.key("leases"), [node_id])
        return node_id

    async def leave_taken(self, node_id: str, queue: str, *payloads: bytes) -> None:
        """Put *payloads* in the backup queue of a node, the oldest first, as if it had taken them."""
        await self.redis.sadd(self.key(f"{node_id}:taken"), [queue])
        await self.redis.lpush(self.key(f"queue:backup::{node_id}::{queue}"), payloads)

    async def calls(self) -> dict[str, int]:
        """How often each command was called since the statistics were reset, also from scripts."""
        stats: dict[str, Any] = dict(await self.redis.info("commandstats"))
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    async def connected(self, count: int) -> bool:
        """Whether our engine has *count* connections, as the server sees them: it closes one when it comes to it."""
        return [client["name"] for client in await self.redis.client_list()].count("exq_anyio") == count
