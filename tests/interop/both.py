"""One Redis that Ruby and Python share, and what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import attrs
import coredis
import msgspec

import exq_anyio as exq

from .sidekiq import Ruby

T = TypeVar("T")

Record = dict[str, Any]


async def until(condition: Callable[[], Awaitable[T]], seconds: float = 60) -> T:
    """What *condition* returns as soon as it is true; TimeoutError after *seconds*."""
    with anyio.fail_after(seconds):
        while True:
            if found := await condition():
                return found
            await anyio.sleep(0.01)


@attrs.frozen
class Both:
    """Ruby, Python, and the Redis between them."""

    url: str
    redis: coredis.Redis[bytes]
    ruby: Ruby

    async def said(self, q: exq.Exq, field: str, value: str) -> None:
        """Return when the process entry of the node says *value*; TimeoutError if it does not."""

        async def does() -> bool:
            return await self.redis.hget(str(q.node_id), field) == value.encode()

        await until(does)

    def python(self, **settings: object) -> AbstractAsyncContextManager[exq.Exq]:
        """A node of ours at work, which knows the Python workers, beats and looks for due jobs all the time."""
        given: dict[str, object] = {
            "url": self.url,
            "namespace": "",
            "workers": self.workers(),
            "scheduler_poll_timeout": 0.05,
            "heartbeat_interval": 0.05,
            "missed_heartbeats_allowed": 200,
            "shutdown_timeout": 0,
            "redis_options": {"connect_timeout": 20},
        }
        return exq.open({**given, **settings})

    def enqueuer(self, **settings: object) -> AbstractAsyncContextManager[exq.Exq]:
        """An instance of ours that only puts jobs in."""
        return self.python(**{"mode": "enqueuer", **settings})

    @asynccontextmanager
    async def both_working(self, jobs: int, **settings: object) -> AsyncIterator[exq.Exq]:
        """A node of ours and Sidekiq, each of which does at least one of the EchoWorkers in the queues.

        Ours takes *jobs*, and holds them until Sidekiq has done one: else the one that is up first could do them all.
        """
        held = 0

        async def hold() -> None:
            nonlocal held
            held += 1
            await until(self.ruby_ran)

        async with self.python(workers=self.workers(hold), **settings) as q:
            with anyio.fail_after(60):
                while held < jobs:
                    await anyio.sleep(0.01)
            async with self.ruby.working():
                yield q

    async def ruby_ran(self) -> bool:
        return any(job["by"] == "ruby" for job in await self.ran())

    def workers(self, before_echo: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint) -> tuple[object, ...]:
        """The same workers as in ``ruby/workers.rb``; each tells the list ``ran`` what it did."""

        async def tell(*args: object) -> None:
            job = exq.worker_job()
            said = {"by": "python", "class": job.worker, "jid": job.jid, "args": args}
            await self.redis.rpush("ran", [msgspec.json.encode(said)])

        @exq.worker(name="EchoWorker")
        async def echo(*args: Any) -> None:
            await before_echo()
            await tell(*args)

        @exq.worker(name="Reports::Monthly", queue="reports")
        async def monthly(*args: Any) -> None:
            await tell(*args)

        @exq.worker(name="FailWorker")
        async def fail(message: str) -> None:
            raise ValueError(message)

        @exq.worker(name="RelayWorker", backoff=lambda job, error: 3600.0)
        async def relay(fails_in: list[str], message: str) -> None:
            if "python" in fails_in:
                raise RuntimeError(f"python: {message}")
            await tell(fails_in, message)

        @exq.worker(name="SleepWorker")
        async def sleep(seconds: float) -> None:
            await tell(seconds)
            await anyio.sleep(seconds)

        return echo, monthly, fail, relay, sleep

    async def ran(self) -> list[Record]:
        """What the workers of both sides told, in the order in which they did."""
        return [msgspec.json.decode(one) for one in await self.redis.lrange("ran", 0, -1)]

    async def told(self, count: int, seconds: float = 60) -> list[Record]:
        """The same, as soon as there are *count*; TimeoutError if there are not after *seconds*."""

        async def enough() -> list[Record] | None:
            ran = await self.ran()
            return ran if len(ran) >= count else None

        found = await until(enough, seconds)
        assert found is not None
        return found

    async def queue(self, name: str = "default") -> list[Record]:
        """The jobs of a queue, the next to be taken first."""
        return [msgspec.json.decode(one) for one in reversed(await self.redis.lrange(f"queue:{name}", 0, -1))]

    async def scored(self, name: str) -> list[tuple[Record, float]]:
        """The jobs in ``schedule``, ``retry`` or ``dead``, and their scores, the lowest first."""
        found: Any = await self.redis.zrange(name, 0, -1, withscores=True)
        return [(msgspec.json.decode(member), score) for member, score in found]

    async def entries(self, name: str, count: int = 1) -> list[Record]:
        """The jobs in ``schedule``, ``retry`` or ``dead``, as soon as there are *count*."""

        async def enough() -> bool:
            return await self.redis.zcard(name) >= count

        await until(enough)
        return [job for job, _ in await self.scored(name)]

    async def make_due(self, name: str) -> None:
        """Let the time of everything in ``schedule`` or ``retry`` come."""
        for member in await self.redis.zrange(name, 0, -1):
            await self.redis.zadd(name, {member: 1.0})

    async def counter(self, name: str) -> int:
        """A counter, 0 when it is not there."""
        return int(await self.redis.get(f"stat:{name}") or 0)
