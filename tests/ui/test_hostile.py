"""Whatever is in Redis is shown safely, and breaks no page."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exq_anyio as exq
from exq_anyio import ui
from exq_anyio.api import Entry, Place
from exq_anyio.job import JSON, Job
from exq_anyio.redis.keys import Keys
from exq_anyio.ui import show
from exq_anyio.ui.refs import Ref
from exq_anyio.upkeep import Raw

from ..api.conftest import failed, job
from ..exq.scene import Scene
from .conftest import Look
from .visitor import Page, Visitor

EVIL = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}{% raw %}\u202e\u0000\x1b[31m"

DEEP: object = "x"
for _ in range(300):
    DEEP = [DEEP]

HOSTILE: dict[str, bytes] = {
    "html": failed(EVIL, worker=EVIL, args=[EVIL, {EVIL: EVIL}], tags=[EVIL], error_class=EVIL, error_message=EVIL,
                   queue=EVIL[:90].replace("\u0000", ""), unique_token=EVIL, meta={EVIL: EVIL},
                   error_backtrace=[EVIL]),
    "large": failed("large", args=["x" * 10_000_000, "<b>" * 1000]),
    "many arguments": failed("many", args=list(range(50_000)), tags=[f"t{at}" for at in range(5_000)]),
    "deep": failed("deep", args=[DEEP]),
    "utf-8": b'{"class":"W","args":["\xff\xfe"],"jid":"bad"}',
    "bytes": bytes(range(256)) * 4,
    "empty": b"",
    "null": b"null",
    "list": b"[1]",
    "no class": b'{"args":[]}',
    "no array": b'{"class":"W","args":{"a":1}}',
    "surrogate": b'{"class":"W","args":["\\ud800"],"jid":"\\udfff","queue":"\\ud800"}',
    "types": json.dumps({
        "class": "W", "args": [None, True, 1.5, -0.0], "jid": 7, "queue": ["q"], "tags": {"a": 1}, "retry": "yes",
        "retry_count": "many", "created_at": "now", "enqueued_at": -5, "failed_at": 1e300, "error_class": 5,
        "error_message": ["x"], "error_backtrace": "nonsense", "meta": 3, "unique_token": 9, "wrapped": 4,
    }).encode(),
    "numbers": b'{"class":"W","args":[1e999,' + b"9" * 4000 + b'],"jid":"n","retry":' + b"9" * 3000 + b"}",
    "names": b'{"class":"W","args":[],"jid":"~~a~b~","queue":"a~b"}',
    "wrapped": json.dumps({
        "class": "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper", "wrapped": "J", "jid": "r", "args": [{
            "job_class": "J",
            "arguments": [{"_aj_serialized": 1}, {"_aj_ruby2_keywords": 3}, [[{"_aj_globalid": []}]]],
        }],
    }).encode(),
    "bomb": failed("bomb", error_backtrace="eJztwYEAAAAAw6D5U1/hAFUBAAAA"),
}  # fmt: skip


def safe(page: Page) -> None:
    """No tag or attribute of EVIL's is one, and nothing that cannot be seen is left."""
    assert page.status in (200, 404), page
    for tag, attributes in page.tags:
        assert tag != "img"
        assert tag != "script" or attributes.get("src", "").startswith("/static/")  # type: ignore[union-attr]  # a script without one fails too
        assert not any(name.startswith("on") for name in attributes)
    # What is sent back has to be as it came; nobody sees it.
    seen = [value for _, given in page.tags for name, value in given.items() if value and name != "value"]
    for odd in "\u202e\u0000\x1b":
        assert not [text for text in (page.text, *seen) if odd in text]
    assert len(page.html) < 1_500_000


@pytest.mark.parametrize("name", HOSTILE)
async def test_every_page_stands_with_it_in_every_place(visitor: Visitor, scene: Scene, keys: Keys, name: str) -> None:
    payload, now = HOSTILE[name], time.time()
    await scene.push("q", payload)
    for key in (keys.retry, keys.schedule, keys.dead):
        await scene.redis.zadd(key, {payload: now + 5})
    await scene.redis.sadd(keys.processes, ["n"])
    await scene.redis.hset(keys.process("n"), {"info": '{"hostname":"n","queues":["q"]}', "busy": "1"})
    text = payload.decode("utf-8", "replace")
    await scene.redis.hset(keys.work("n"), {"t": msgspec.json.encode({"queue": "q", "payload": text, "run_at": now})})
    jobs = set[str]()
    for path in ("/", "/queues", "/queues/q", "/busy", "/retries", "/scheduled", "/dead"):
        page = await visitor.get(path)
        assert page.status == 200
        safe(page)
        jobs |= {link for link in page.links if link.startswith(("/job?", "/running?"))}
    assert len(jobs) == 5
    for link in jobs:
        page = await visitor.get(link)
        assert page.status == 200, (link, page)
        safe(page)
        downloads = [link for link in page.links if link.startswith("/payload")]
        for download in downloads:
            response = await visitor.client.get(download)
            assert (response.content, response.headers["content-type"]) == (payload, "application/octet-stream")
            assert "attachment" in response.headers["content-disposition"]
    for path in ("/queues/q/jobs", "/retries", "/scheduled", "/dead"):
        status, part = await visitor.json("GET", path)
        assert (status, len(part["jobs"])) == (200, 1)
        assert (await visitor.json("GET", "/busy"))[0] == 200


@pytest.mark.parametrize("name", HOSTILE)
async def test_it_can_be_deleted_from_its_row_and_from_its_page(
    visitor: Visitor, scene: Scene, keys: Keys, name: str
) -> None:
    payload = HOSTILE[name]
    await scene.push("q", payload)
    await scene.redis.zadd(keys.dead, {payload: 2e9})
    await visitor.press("/dead", "Delete", "dead~", choose=lambda ref: True)
    (link,) = {link for link in (await visitor.get("/queues/q")).links if link.startswith("/job?")}
    await visitor.press(link, "Delete")
    assert (await scene.redis.zcard(keys.dead), await scene.redis.llen(keys.queue("q"))) == (0, 0)


async def test_names_of_queues_and_nodes_are_anything(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    names = ["a/b?c#d&e=f%2F", EVIL.replace("\u0000", "").replace("\x1b", ""), "ä ö", "../x", "a~b", "x" * 250]
    for name in names:
        await scene.push(name, job("a"))
        await scene.redis.sadd(keys.processes, [name])
        await scene.redis.hset(
            keys.process(name), {"info": json.dumps({"queues": names, "hostname": name, "tag": EVIL})}
        )
    for path in ("/", "/queues", "/busy"):
        safe(await visitor.get(path))
    page = await visitor.get("/queues")
    links = [link for link in page.links if link.startswith("/queues/")]
    assert len(links) == len(names)
    for link in links:
        page = await visitor.get(link)
        assert page.status == 200, link
        safe(page)
        assert "1\u20131 of 1" in page.text, link
        page = await visitor.press(link, "Pause")
        assert page.status == 200
    assert await scene.redis.scard(keys.paused) == len(names)


async def test_scores_that_are_no_times_are_shown(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    for at, score in enumerate((float("inf"), float("-inf"), -1.0, 1e300, 0.1 + 0.2)):
        await scene.redis.zadd(keys.dead, {failed(f"j{at}"): score})
    page = await visitor.get("/dead")
    jobs = {link for link in page.links if link.startswith("/job?")}
    assert len(jobs) == 5
    for link in jobs:
        assert (await visitor.get(link)).status == 200
    page = await visitor.press("/dead", "Retry", "dead~", choose=lambda ref: True)
    assert "5 jobs retried." in page.text


async def test_a_broken_process_entry_breaks_nothing(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    entries: list[dict[str, str | bytes]] = [
        {"info": b"\xff"},
        {"info": "[]", "busy": "x", "beat": "nan"},
        {"beat": "1e300"},
    ]
    for at, entry in enumerate(entries):
        await scene.redis.sadd(keys.processes, [f"n{at}"])
        await scene.redis.hset(keys.process(f"n{at}"), entry)
    page = await visitor.get("/busy")
    assert "Nodes 3" in page.text


async def test_a_key_that_is_not_ours_is_told_with_its_remedy(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await scene.redis.set(keys.retry, "x")
    page = await visitor.get("/retries")
    assert (page.status, "holds a string, a zset is needed; rename or delete it" in page.text) == (500, True)
    status, answer = await visitor.json("GET", "/retries")
    assert (status, answer["error"]) == (500, "Redis said no")


async def test_a_redis_that_is_away_is_told(private_valkey: Any, namespace: str) -> None:
    server = private_valkey()
    async with exq.open(url=server.url, mode="api") as q, Visitor(ui.create_app(q)) as visitor:
        assert (await visitor.get("/")).status == 200
        server.kill()
        page = await visitor.get("/")
        assert (page.status, "Redis cannot be reached" in page.text, server.socket in page.text) == (503, True, True)
        server.start()


# Hidden


async def test_what_is_redacted_is_nowhere(look: Look, scene: Scene, keys: Keys) -> None:
    secret = "hunter2"
    payload = failed(
        "j1", args=[{"password": secret, "user": "u1", "deep": [{"token": secret}]}], meta={"token": secret}
    )
    await scene.push("q", payload, b"not a job, but hunter2")
    await scene.redis.zadd(keys.dead, {payload: 2e9})
    visitor = await look(redact=ui.hide_keys("password", "token"), allow_enqueue=True)
    pages = [await visitor.get(path) for path in ("/queues/q", "/dead", "/bulk?place=dead&action=retry")]
    links = {link for page in pages for link in page.links if link.startswith(("/job?", "/payload"))}
    pages += [await visitor.get(link) for link in links]
    links = {link for page in pages for link in page.links if link.startswith("/payload")}
    assert len(links) == 3
    pages += [await visitor.get(link) for link in links]
    answers = [(await visitor.client.get(f"/api/{path}")).text for path in ("queues/q/jobs", "dead", "find?jid=j1")]
    for text in (*answers, *(page.html for page in pages)):
        assert secret not in text
        assert "[hidden]" in text or "text=" in text or "u1" not in text
    assert "u1" in pages[1].html
    # A search would say what is there, a change would write what is shown.
    assert (await visitor.get("/dead?text=hunter")).status == 403
    assert (await visitor.json("GET", "/dead?text=hunter"))[0] == 403
    assert (await visitor.json("POST", "/all/retry", {"place": "dead", "text": "hunter"}))[0] == 403
    assert "Change" not in {button for page in pages for button in page.buttons()}
    ref = (await visitor.json("GET", "/dead"))[1]["jobs"][0]["ref"]
    assert (await visitor.json("POST", "/jobs/edit", {"ref": ref, "args": []}))[0] == 403
    # What it does to the job itself is done to the whole of it.
    await visitor.press("/dead", "Retry", "dead~", choose=lambda ref: True)
    assert secret.encode() in (await scene.redis.lrange(keys.queue("q"), 0, 0))[0]


async def test_a_redaction_that_fails_shows_nothing(look: Look, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.push("q", job("j1", args=["hunter2"]), job("j2", args=["hunter2"]))

    def broken(job: Job) -> Mapping[str, JSON]:
        if job.jid == "j1":
            raise LookupError("no such thing")
        return {"class": "W"}

    visitor = await look(redact=broken)
    page = await visitor.get("/queues/q")
    assert "hunter2" not in page.html
    assert page.text.count("[hidden]: the redaction failed") == 2
    assert [record.getMessage() for record in caplog.records if "redact" in record.getMessage()] == [
        "cannot redact a job: jid=j2 worker=Worker",
        "cannot redact a job: jid=j1 worker=Worker",
    ]


# Texts


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_a_preview_is_the_beginning_of_the_json(value: JSON) -> None:
    whole = show.preview(value, 1_000_000)
    assert json.loads(whole, parse_constant=float) == value
    for limit in (10, 50):
        cut = show.preview(value, limit)
        assert len(cut) <= limit
        assert whole.startswith(cut.removesuffix("…")) or cut == whole


def test_a_preview_of_much_takes_next_to_no_time() -> None:
    for value in (["x" * 20_000_000], list(range(500_000)), [{"a": list(range(100_000))}] * 3):
        began = time.thread_time()  # which stands still while others have the processor
        cut = show.preview(value)  # type: ignore[arg-type]  # lists are invariant
        ended = time.thread_time()
        json.dumps(value)
        assert len(cut) == show.PREVIEW
        assert (ended - began) * 10 < time.thread_time() - ended


def test_times_sizes_and_numbers_are_short() -> None:
    assert [show.duration(value) for value in (0, 0.0004, 0.4, 1.5, 9, 75, 3600, 90_061, None)] == [
        "0 ms", "0.4 ms", "400 ms", "1.5 s", "9 s", "1 min 15 s", "1 h", "1 d 1 h", show.NONE,
    ]  # fmt: skip
    assert [show.size(value) for value in (0, 999, 1_500, 3_400_000, 2e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "3.4 MB",
        "2000 GB",
    ]
    assert [show.compact(value) for value in (5, 9_999, 12_345, 4_500_000)] == ["5", "9,999", "12.3k", "4.5M"]
    assert [show.number(value) for value in (1234567, 0.5, 2.0, None)] == ["1,234,567", "0.5", "2", show.NONE]
    assert [show.percent(*value) for value in ((0, 0), (0, 9), (1, 3), (1, 1000))] == [
        show.NONE,
        "0 %",
        "33 %",
        "0.1 %",
    ]


def test_a_reference_holds_only_what_a_form_can_send_back() -> None:
    def ref(jid: str) -> str:
        raw = Raw(job(jid), "1.5", 0)
        return str(Ref.of(Entry.read(Place("dead"), raw, 0)))

    assert ref("a~b c").endswith("~a~b c")
    assert Ref.parse(ref("a~b c")).jid == "a~b c"
    for odd in ("a\u0000b", "a\nb", "a\u202eb", "x" * 300):
        assert ref(odd).endswith("~")
