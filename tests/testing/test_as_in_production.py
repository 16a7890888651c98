"""What becomes of a job under a mock is what becomes of it on a node, whatever it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock


@attrs.frozen
class Order:
    number: int


@exq.worker
async def fails() -> None:
    raise ValueError("no")


@exq.worker
def fails_in_a_thread() -> None:
    raise KeyError("no")


@exq.worker
async def takes_an_order(order: Order, times: int = 1) -> None: ...


@exq.worker(timeout=0.01)
async def is_too_slow() -> None:
    await anyio.sleep_forever()


@exq.worker
async def gives_up() -> exq.Dead:
    return exq.Dead("hopeless")


@exq.worker
async def comes_later() -> exq.Snooze:
    return exq.Snooze(3600)


@exq.worker
async def drops() -> exq.Discard:
    return exq.Discard("not needed")


@exq.worker(max_retries=0)
async def has_one_attempt() -> None:
    raise OSError("once")


@exq.worker
async def is_turned_away() -> None: ...


@exq.worker
async def is_the_last() -> exq.Dead:
    return exq.Dead("all is done")


@asynccontextmanager
async def guard(job: exq.Job) -> AsyncIterator[None]:
    if job.worker == "is_turned_away":
        raise exq.Halt(exq.Dead("not today"))
    yield


Seen = tuple[str, str, str | None, str | None, int | None]


def seen(place: str, record: Any) -> Seen:
    message = record.get("error_message")
    return record["class"], place, record.get("error_class"), message, record.get("retry_count")


async def push_all(q: exq.Exq) -> None:
    await q.enqueue_all(
        [
            *(fails.job(), fails_in_a_thread.job(), is_too_slow.job(), gives_up.job(), comes_later.job(), drops.job()),
            *(has_one_attempt.job(), is_turned_away.job(), takes_an_order.job(Order(7))),
        ]
    )
    await q.enqueue("default", "nobody_knows_it", [])
    wrong: tuple[list[object], ...] = ([7], [{"number": "seven"}], [{}])
    for args in wrong:
        await q.enqueue("default", "takes_an_order_s_name", args)
    await q.push(is_the_last.job())


@exq.worker(name="takes_an_order_s_name")
async def takes_an_order_by_another_name(order: Order, times: int = 1) -> None: ...


async def on_a_node(settings: dict[str, Any]) -> list[Seen]:
    async with exq.open({**settings, "queues": {"default": 1}}) as q:
        await push_all(q)
        with anyio.fail_after(15):
            while "is_the_last" not in [entry.worker async for entry in q.api.dead()]:
                await anyio.sleep(0.01)
        sets = {"retry": q.api.retries(), "schedule": q.api.scheduled(), "dead": q.api.dead()}
        found = [
            seen(name, entry.job.record) for name, jobs in sets.items() async for entry in jobs if entry.job is not None
        ]
    return sorted(found, key=str)


async def under_a_mock(settings: dict[str, Any]) -> list[Seen]:
    with Mock() as mock:
        async with exq.open(settings) as q:
            await push_all(q)
            await mock.drain(raises=False, until=0)
            kept = [*mock.jobs(), *mock.jobs(place="dead")]
    return sorted((seen(job.place, job.record) for job in kept), key=str)


async def test_every_outcome_is_the_same_as_on_a_node(valkey: EmbeddedServer, namespace: str) -> None:
    settings = {"url": valkey.url, "namespace": namespace, "middleware": [guard]}
    found = await on_a_node(settings)
    assert len(found) == 12
    assert await under_a_mock(settings) == found


@pytest.mark.parametrize("worker", [fails, fails_in_a_thread, is_too_slow, has_one_attempt])
async def test_inline_what_a_job_raises_is_raised_to_the_caller(worker: Any) -> None:
    with Mock("inline") as mock:
        async with exq.open() as q:
            with pytest.raises((ValueError, KeyError, OSError, exq.JobTimeout)):
                await q.push(worker.job())
        assert [job.worker for job in (*mock.jobs(), *mock.jobs(place="dead"))] == [worker.name]
