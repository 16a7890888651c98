"""Sidekiq's real web page over what we wrote: every page answers, and its buttons work on our jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import exq_anyio as exq

from .both import Both, until
from .sidekiq import Browser, Page
from .test_state import GARBAGE, buried

PAGES = ["/", "/busy", "/queues", "/queues/default", "/retries", "/scheduled", "/morgue", "/stats", "/stats/queues"]


@asynccontextmanager
async def full(both: Both) -> AsyncIterator[tuple[exq.Exq, Browser]]:
    """A node of ours with a running job, a quiet queue, and every kind of entry; Sidekiq's page looks at it."""
    await both.redis.sadd("queues", ["default"])
    await both.redis.lpush("queue:default", [*GARBAGE])
    # What has failed stays where the page shows it, however long that takes.
    python = both.python(shutdown_timeout=0, backoff=lambda job, error: 3600.0)
    async with python as q, both.ruby.web() as browser:
        await q.enqueue("default", "FailWorker", ["again <script>alert(1)</script>"], tags=["<b>"])
        await q.enqueue("default", "FailWorker", ["with its backtrace"], extra={"backtrace": True})
        await q.enqueue("default", "NoSuchWorker", [{"a": [1]}])
        await q.enqueue("default", "FailWorker", ["over"], max_retries=0)
        await q.enqueue_in("default", 3600, "EchoWorker", [1], meta={"a": 1})
        await q.enqueue_in("default", 7200, "Reports::Monthly", [])
        await q.enqueue("waiting", "EchoWorker", [1, "x" * 200])
        await q.enqueue("default", "SleepWorker", [60])
        await both.entries("retry", 3)
        await until(lambda: buried(both, len(GARBAGE) + 1))
        await until(lambda: lists_only_the_long_one(both, q))
        yield q, browser


async def lists_only_the_long_one(both: Both, q: exq.Exq) -> bool:
    """Whether the last beat came when the jobs that fail had ended."""
    listed = await both.redis.hvals(f"{q.node_id}:workers")
    return len(listed) == 1 and b"SleepWorker" in listed[0]


async def test_every_page_answers_with_our_malformed_entries_too(both: Both) -> None:
    async with full(both) as (_, browser):
        pages = [await browser.get(path) for path in [*PAGES, "/queues/waiting"]]
        for index in ("/retries", "/scheduled", "/morgue"):
            listed = next(page for page in pages if page.path == index)
            links = listed.links(f"{index}/")
            assert links, index
            pages += [await browser.get(link) for link in links]
    assert {page.path: page.status for page in pages} == {page.path: 200 for page in pages}
    assert len(pages) >= len(PAGES) + 1 + 3 + 2 + 8
    shown = {page.path: page.text for page in pages}
    assert "<script>alert(1)" not in "".join(shown.values())
    for path, text in {"/retries": "ValueError: with its backtrace", "/morgue": "over", "/busy": "exq_anyio"}.items():
        assert text in shown[path], path
    (traced,) = [page for page in pages if page.path.startswith("/retries/") and "both.py:" in page.text]
    assert "ValueError" in traced.text


async def test_the_busy_page_lists_our_process_and_its_job_and_its_buttons_quiet_and_stop_us(both: Both) -> None:
    async with full(both) as (q, browser):
        busy = await browser.get("/busy")
        for text in (str(q.node_id), "SleepWorker", "default", "60"):
            assert text in busy.text
        # Its form has no action: it goes back to the page itself.
        shown = await press_busy(browser, "quiet", str(q.node_id))
        assert shown.status == 200
        await both.said(q, "quiet", "true")
        assert q.subscriptions() == {}
        await press_busy(browser, "stop", str(q.node_id))
        await until(lambda: left(both))
    (job,) = await both.queue()
    assert (job["class"], job["args"]) == ("SleepWorker", [60])


async def press_busy(browser: Browser, button: str, identity: str) -> Page:
    return await browser.press("/busy", "", button, identity=identity)


async def left(both: Both) -> bool:
    return not await both.redis.smembers("processes")


async def test_its_buttons_on_a_retry_retry_it_kill_it_and_delete_it(both: Both) -> None:
    async with both.python() as q:
        jids = [await q.enqueue("default", "FailWorker", [str(n)], max_retries=5) for n in range(3)]
        await both.entries("retry", 3)
    async with both.ruby.web() as browser:
        for jid, button in zip(jids, ("retry", "delete", "kill"), strict=True):
            ((link, key),) = [
                (link, link.removeprefix("/retries/"))
                for link in (await browser.get("/retries")).links("/retries/")
                if link.endswith(jid)
            ]
            if button == "kill":  # only the list has this one
                await browser.press("/retries", "/retries", button, **{"key[]": key})
            else:
                await browser.press(link, link, button)
        assert [job["jid"] for job in await both.queue()] == [jids[0]]
        ((dead, _),) = await both.scored("dead")
        assert dead["jid"] == jids[2]
        (link,) = (await browser.get("/morgue")).links("/morgue/")
        await browser.press(link, link, "retry")
        assert [job["jid"] for job in await both.queue()] == [jids[0], jids[2]]
        assert (await both.scored("retry"), await both.scored("dead")) == ([], [])


async def test_its_buttons_on_a_scheduled_job_add_it_to_its_queue_and_delete_it(both: Both) -> None:
    async with both.enqueuer() as q:
        jids = [await q.enqueue_in("default", 3600 + n, "EchoWorker", [n]) for n in range(2)]
    async with both.ruby.web() as browser:
        for jid, button in zip(jids, ("add_to_queue", "delete"), strict=True):
            (link,) = [link for link in (await browser.get("/scheduled")).links("/scheduled/") if link.endswith(jid)]
            await browser.press(link, link, button)
    assert await both.scored("schedule") == []
    async with both.python():
        assert [job["jid"] for job in await both.told(1)] == [jids[0]]


async def test_its_buttons_for_all_retry_kill_and_clear(both: Both) -> None:
    async with both.python() as q:
        for n in range(3):
            await q.enqueue("default", "FailWorker", [str(n)])
        await both.entries("retry", 3)
    async with both.ruby.web() as browser:
        await browser.press("/retries", "/retries/all/kill", "kill")
        assert (len(await both.scored("retry")), len(await both.scored("dead"))) == (0, 3)
        await browser.press("/morgue", "/morgue/all/retry", "retry")
        assert (len(await both.scored("dead")), len(await both.queue())) == (0, 3)
        job = (await both.redis.lrange("queue:default", 0, 0))[0].decode()
        await browser.press("/queues/default", "/queues/default/delete", "delete", key_val=job)
        assert len(await both.queue()) == 2
        await browser.press("/queues", "/queues/default", "delete")
        assert (await both.queue(), await both.redis.smembers("queues")) == ([], set())
