"""Live updates: what is sent, when it ends, and how often Redis is read."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import anyio
import pytest

import exq_anyio as exq
from exq_anyio import ui
from exq_anyio.api import Api
from exq_anyio.ui.shared import Shared

from ..api.conftest import failed, job
from ..exq.scene import Scene, until
from .conftest import Look
from .visitor import Answer, asking


def stream(page: str, every: int = 1) -> str:
    return f"/events?every={every}&page={quote(page)}"


@pytest.fixture
def app(q: exq.Exq) -> ui.WebUI:
    return ui.create_app(q)


async def changes(answer: Answer, *names: str) -> dict[str, str]:
    """What was sent of a page once all of *names* was: its parts are read one after the other."""
    found: dict[str, str] = {}
    while not found.keys() >= set(names):
        found |= await answer.event("live")
    return found


async def test_a_page_is_sent_at_once_and_then_what_changes_of_it(app: ui.WebUI, scene: Scene) -> None:
    await scene.redis.zadd(scene.key("dead"), {failed("one"): 1e9})
    async with asking(app, stream("/dead?size=50")) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        parts = await answer.event("live")
        assert sorted(parts) == ["counts", "live"]
        assert "~one" in parts["live"]
        assert 'title="1">1<' in parts["counts"]
        assert "<html" not in parts["live"]
        assert await answer.event("live") == {}
        await scene.redis.zadd(scene.key("dead"), {failed("two"): 1e9 + 1})
        parts = await changes(answer, "counts", "live")
        assert "~two" in parts["live"]
        assert 'title="2">2<' in parts["counts"]
        await scene.push("q", job("a"))
        assert sorted(await changes(answer, "counts")) == ["counts"]


@pytest.mark.parametrize("path", ["/", "/queues", "/queues/a%2Fb", "/busy", "/retries", "/scheduled?worker=x"])
async def test_every_page_that_changes_has_a_stream(app: ui.WebUI, scene: Scene, path: str) -> None:
    await scene.push("a/b", job("a"))
    async with asking(app, stream(path)) as answer:
        parts = await answer.event("live")
        assert "~a~a/b" in parts["live"] or path != "/queues/a%2Fb"
        assert parts["live"]


async def test_a_stream_of_no_page_is_refused(app: ui.WebUI) -> None:
    for path in (stream("/nowhere"), stream("/act"), "/events", "/events?page=/&every=0", "/events?page=/&every=99"):
        async with asking(app, path) as answer:
            assert answer.status == {"/events": 200}.get(path, 404 if "every=1" in path else 400)


async def test_a_stream_ends_by_itself_after_a_while(q: exq.Exq) -> None:
    async with asking(ui.create_app(q, stream_seconds=0.5), stream("/")) as answer:
        await answer.event("live")
        await answer.rest()


async def test_streams_end_at_once_when_the_server_is_to_end(app: ui.WebUI) -> None:
    async with app.lifespan(), asking(app, stream("/", every=15)) as answer:
        await answer.event("live")
        app.close_streams()
        with anyio.fail_after(5):
            assert await answer.rest() == b""


@pytest.mark.parametrize("spec", ["2.3", "2.4"])
async def test_nothing_is_read_any_more_when_the_browser_has_gone(q: exq.Exq, spec: str) -> None:
    app = ui.create_app(q)
    async with asking(app, stream("/"), spec=spec) as answer:
        await answer.event("live")
        assert len(app._site.shared) == 2
    assert len(app._site.shared) == 0


async def test_redis_is_read_once_however_many_look(
    app: ui.WebUI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = list[tuple[float, float]]()
    queues = Api.queues

    async def timed(self: Api) -> Any:
        began = anyio.current_time()
        found = await queues(self)
        reads.append((began, anyio.current_time()))
        return found

    monkeypatch.setattr(Api, "queues", timed)
    async with anyio.create_task_group() as tasks:
        counts = [0] * 20

        async def watch(at: int) -> None:
            async with asking(app, stream("/queues")) as answer:
                while counts[at] < 3:
                    await answer.event("live")
                    counts[at] += 1

        for at in range(20):
            tasks.start_soon(watch, at)
    assert counts == [3] * 20
    assert len(reads) >= 2
    assert all(began - ended >= 0.5 for (_, ended), (began, _) in pairwise(reads)), "half of their interval"


async def test_what_cannot_be_read_is_told_and_read_again_later(app: ui.WebUI, scene: Scene) -> None:
    await scene.redis.set(scene.key("dead"), "not ours")
    async with asking(app, stream("/dead")) as answer:
        assert "holds a string" in (await answer.event("trouble"))["problem"]
        await scene.redis.delete([scene.key("dead")])
        assert "Nothing is dead" in (await answer.event("live"))["live"]


async def test_a_server_that_goes_and_comes_back_is_shown_so(private_valkey: Any) -> None:
    server = private_valkey()
    async with exq.open(url=server.url, mode="api") as q, asking(ui.create_app(q), stream("/")) as answer:
        await answer.event("live")
        server.kill()
        assert "Redis at unix://" in (await answer.event("trouble"))["problem"]
        server.start()
        assert await answer.event("live")


async def test_buttons_in_a_stream_are_those_that_its_visitor_may_press(look: Look, q: exq.Exq, scene: Scene) -> None:
    await scene.push("q", job("a"))
    app = ui.create_app(q, authorize=lambda request, action: action == "read" or "admin" in request.headers)
    for headers, expected in (({}, False), ({"admin": "1"}, True), ({}, False)):
        async with asking(app, stream("/queues"), headers=headers) as answer:
            assert ("Pause" in (await answer.event("live"))["live"]) == expected


# Shared


async def test_who_asks_while_another_reads_takes_what_it_reads() -> None:
    shared, reads, go = Shared(), 0, anyio.Event()

    async def read() -> int:
        nonlocal reads
        reads += 1
        await go.wait()
        return reads

    found = list[object]()

    async def ask() -> None:
        with shared.watch("key") as watch:
            found.append(await watch.get(read, 10))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await until(lambda: reads)
        go.set()
    assert (found, len(shared)) == ([1] * 5, 0)


async def test_one_who_leaves_while_it_reads_leaves_it_to_the_next() -> None:
    shared, reads = Shared(), list[str]()

    async def read(name: str, forever: bool) -> str:
        reads.append(name)
        if forever:
            await anyio.sleep_forever()
        return name

    async def ask(name: str, forever: bool) -> object:
        with shared.watch("key") as watch:
            return await watch.get(partial(read, name, forever), 10)

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def impatient() -> None:
            with scope:
                await ask("a", True)

        tasks.start_soon(impatient)
        await until(lambda: reads)
        tasks.start_soon(ask, "b", False)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
    assert reads == ["a", "b"]


async def test_what_is_old_is_read_again() -> None:
    shared, reads = Shared(), list[int]()

    async def read() -> int:
        reads.append(1)
        return len(reads)

    with shared.watch("key") as watch:
        assert [await watch.get(read, age) for age in (100, 100, 0, 100)] == [1, 1, 2, 2]
