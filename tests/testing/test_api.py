"""`q.api` under a mock finds and changes what it does on a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import exq_anyio as exq
from exq_anyio.api import Filter, Jobs
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock

DUE = [datetime(2050, 1, day, tzinfo=UTC) for day in range(1, 8)]

Operation = Callable[[exq.Exq], Awaitable[object]]


@exq.worker(queue="mail")
async def send(user: int, text: str = "hi") -> None: ...


async def fill(q: exq.Exq) -> None:
    """Put seven jobs into a queue, seven into the schedule, one with a unique lock."""
    await q.enqueue_all(send.job(number).on(jid=f"now{number}", tags=["vip"]) for number in range(6))
    await q.push(send.job(6).on(jid="locked", unique_for=3600, unique_token="token"))
    await q.enqueue_all(send.job(number).on(jid=f"later{number}", at=at) for number, at in enumerate(DUE))


async def seen(jobs: Jobs) -> list[tuple[str, int, object, object]]:
    in_set = jobs.place.kind != "queue"
    return [(entry.jid, entry.position, entry.job and entry.job.args, in_set and entry.at) async for entry in jobs]


async def state(q: exq.Exq) -> dict[str, Any]:
    """Everything that is there."""
    stats = await q.api.stats()
    return {
        "mail": await seen(q.api.jobs("mail")),
        "low": await seen(q.api.jobs("low")),
        "scheduled": await seen(q.api.scheduled()),
        "dead": [jid for jid, *_ in await seen(q.api.dead())],
        "figures": (stats.enqueued, stats.scheduled, stats.retry, stats.dead, stats.processed, stats.failed),
        "queues": [(queue.name, queue.size, queue.paused) for queue in await q.api.queues()],
    }


async def pages(q: exq.Exq) -> object:
    found = []
    for jobs in (q.api.jobs("mail"), q.api.scheduled()):
        for offset in (0, 3, 6, 9):
            page = await jobs.page(offset, 3)
            found.append(([entry.jid for entry in page], page.total))
    return found


async def searches(q: exq.Exq) -> object:
    texts = (Filter(text="now3"), Filter(tag="vip"), Filter(worker="Other"), Filter(since=DUE[2], until=DUE[4]))
    found = []
    for what in texts:
        for jobs in (q.api.jobs("mail"), q.api.scheduled()):
            hits = [entry.jid async for step in jobs.search(what, limit=4) for entry in step.entries]
            found.append(hits)
    return found


async def finds(q: exq.Exq) -> object:
    there, not_there = await q.api.scheduled().find("later4"), await q.api.jobs("mail").find("nobody")
    return there.entry and there.entry.jid, there.looked, not_there


async def deletes(q: exq.Exq) -> object:
    gone = [await q.api.jobs("mail").delete(jid) for jid in ("now3", "locked", "now3")]
    return gone, await q.push(send.job(6).on(jid="again", unique_for=9, unique_token="token"))


async def kills_and_retries(q: exq.Exq) -> object:
    killed = [await q.api.jobs("mail").kill("now0"), await q.api.scheduled().kill("later1")]
    return killed, await q.api.dead().retry("now0")


async def runs_now(q: exq.Exq) -> object:
    return [await q.api.scheduled().run_now(jid) for jid in ("later6", "later0", "nobody")]


async def edits(q: exq.Exq) -> object:
    changed = await q.api.jobs("mail").edit("now2", [22, "other"])
    moved = await q.api.scheduled().reschedule("later0", DUE[6])
    return changed and changed.job and changed.job.args, moved and moved.at


async def deletes_many(q: exq.Exq) -> object:
    progress = await q.api.jobs("mail").delete_all(Filter(tag="vip"))
    left = await q.api.scheduled().kill_all(Filter(since=DUE[3]))
    return progress.done, left.done


async def clears(q: exq.Exq) -> object:
    return await q.api.jobs("mail").clear(), await q.api.scheduled().clear(keep_locks=True)


async def pauses(q: exq.Exq) -> object:
    await q.api.pause("mail")
    before = (await q.api.queue("mail")).paused
    await q.api.resume("mail")
    return before, (await q.api.queue("mail")).paused, (await q.api.queue("unknown")).size


async def looks_at_figures(q: exq.Exq) -> object:
    marked = [await q.api.mark_deploy("v1", at) for at in (DUE[0], DUE[0])]
    days = [(day.processed, day.failed) for day in await q.api.history(3)]
    return marked, days, len((await q.api.metrics()).at), await q.api.nodes(), await q.api.busy()


OPERATIONS = [
    pages, searches, finds, deletes, kills_and_retries, runs_now, edits, deletes_many, clears, pauses, looks_at_figures,
]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_api_does_under_a_mock_what_it_does_on_a_server(
    operation: Operation, valkey: EmbeddedServer, namespace: str
) -> None:
    async def outcome() -> tuple[dict[str, Any], object, dict[str, Any]]:
        async with exq.open(url=valkey.url, namespace=namespace, mode="api,enqueuer", workers=[send]) as q:
            await fill(q)
            before = await state(q)
            return before, await operation(q), await state(q)

    expected = await outcome()
    with Mock() as mock:
        assert await outcome() == expected
        kept = [*mock.jobs(), *mock.jobs(place="dead")]
    assert len(kept) == sum(expected[2]["figures"][:4])


async def test_a_paused_queue_is_not_drained_and_what_is_retried_is_performed() -> None:
    with Mock() as mock:
        async with exq.open(workers=[send]) as q:
            await q.push(send.job(1).on(jid="one"))
            await q.api.pause("mail")
            assert await mock.drain() == []
            await q.api.jobs("mail").kill("one")
            await q.api.resume("mail")
            assert await q.api.dead().retry("one")
            assert [run.job.jid for run in await mock.drain()] == ["one"]
            assert (await q.api.stats()).processed == 1


async def test_what_needs_a_server_says_so() -> None:
    with Mock() as mock:
        async with exq.open() as q:
            with pytest.raises(exq.WrongMode, match=r"api\.periodic without a server"):
                await q.api.periodic.all()
            with mock.set_mode("redis"), pytest.raises(exq.WrongMode):
                await q.api.stats()
        async with exq.open(mode="enqueuer") as q:
            with pytest.raises(exq.WrongMode):
                await q.api.stats()
