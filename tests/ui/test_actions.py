"""What the buttons do, pressed as a browser without a script presses them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from exq_anyio.redis.keys import Keys

from ..api.conftest import failed, job
from ..exq.scene import Scene
from .conftest import Look
from .visitor import Page, Visitor

SETS = {"/retries": "retry", "/scheduled": "schedule", "/dead": "dead"}


async def fill(scene: Scene, place: str, payloads: list[bytes]) -> None:
    """Put them into a set, the first to be listed first."""
    now = time.time()
    order = -1 if place == "dead" else 1
    await scene.redis.zadd(scene.key(place), {each: now + 60 + order * at for at, each in enumerate(payloads)})


async def jids(scene: Scene, place: str) -> list[str]:
    key = scene.key(place)
    payloads = await scene.redis.lrange(key, 0, -1) if "queue" in place else await scene.redis.zrange(key, 0, -1)
    return sorted(msgspec.json.decode(payload)["jid"] for payload in payloads)


def holds(*parts: str) -> Any:
    """Whether a reference is one of those whose jid is among *parts*."""
    return lambda ref: any(f"~{part}" in ref for part in parts)


ENDS = {
    ("/retries", "Retry"): "queue:q",
    ("/retries", "Run now"): "queue:q",
    ("/retries", "Kill"): "dead",
    ("/retries", "Delete"): None,
    ("/scheduled", "Run now"): "queue:q",
    ("/scheduled", "Kill"): "dead",
    ("/scheduled", "Delete"): None,
    ("/dead", "Retry"): "queue:q",
    ("/dead", "Delete"): None,
}


@pytest.mark.parametrize(("path", "button"), ENDS)
async def test_the_chosen_jobs_go_where_the_button_says(visitor: Visitor, scene: Scene, path: str, button: str) -> None:
    place, end = SETS[path], ENDS[path, button]
    await fill(scene, place, [failed(f"j{at}") for at in range(4)])
    page = await visitor.press(path, button, "~j1", choose=holds("j1", "j3"))
    assert (page.status, page.path) == (200, path)
    done = {"Retry": "retried", "Run now": "put in their queue", "Kill": "killed", "Delete": "deleted"}[button]
    assert f"2 jobs {done}." in page.text
    assert await jids(scene, place) == ["j0", "j2"]
    if end:
        assert await jids(scene, end) == ["j1", "j3"]
    # What was said is said once.
    assert done not in (await visitor.get(path)).text


@pytest.mark.parametrize(("path", "button"), [("/retries", "Retry"), ("/scheduled", "Run now"), ("/dead", "Retry")])
async def test_the_button_of_a_row_is_for_it_alone(visitor: Visitor, scene: Scene, path: str, button: str) -> None:
    await fill(scene, SETS[path], [failed(f"j{at}") for at in range(3)])
    form = (await visitor.get(path)).form(button)
    (value,) = {value for name, value, _ in form.buttons if name == "row" and "~j1" in value}
    # Boxes that are ticked do not matter.
    await visitor.send(form.action, [*form.fields, *form.boxes, ("row", value)])
    assert await jids(scene, SETS[path]) == ["j0", "j2"]
    assert await jids(scene, "queue:q") == ["j1"]


async def test_jobs_of_a_queue_are_run_first_killed_and_deleted(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", *(job(f"j{at}") for at in range(4)))
    await visitor.press("/queues/q", "Run now", "~j3", choose=holds("j3"))
    assert [msgspec.json.decode(each)["jid"] for each in await scene.queue("q")] == ["j3", "j0", "j1", "j2"]
    await visitor.press("/queues/q", "Kill", "~j0", choose=holds("j0"))
    page = await visitor.press("/queues/q", "Delete", "~j1", choose=holds("j1"))
    assert "1 job deleted." in page.text
    assert (await jids(scene, "queue:q"), await jids(scene, "dead")) == (["j2", "j3"], ["j0"])


@pytest.mark.parametrize(("path", "button"), ENDS)
async def test_the_page_of_a_job_has_the_same_buttons(visitor: Visitor, scene: Scene, path: str, button: str) -> None:
    place, end = SETS[path], ENDS[path, button]
    await fill(scene, place, [failed("j0"), failed("j1")])
    (link,) = {link for link in (await visitor.get(path)).links if link.startswith("/job?") and "j1" in link}
    page = await visitor.press(link, button)
    assert (page.status, page.path) == (200, path)
    assert await jids(scene, place) == ["j0"]
    if end:
        assert await jids(scene, end) == ["j1"]


async def test_who_comes_too_late_is_told(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "dead", [failed("j0"), failed("j1")])
    form = (await visitor.get("/dead")).form("Retry")
    await scene.redis.zremrangebyrank(scene.key("dead"), 0, 0)
    page = await visitor.send(form.action, [*form.fields, *form.boxes, ("action", "retry")])
    assert "1 job retried; 1 had moved on." in page.text
    page = await visitor.send(form.action, [*form.fields, ("action", "retry")])
    assert "Nothing was chosen." in page.text


async def test_what_is_no_job_can_be_deleted_and_killed_but_not_run(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", b"\xff<b>")
    await fill(scene, "retry", [b"[1]"])
    page = await visitor.press("/retries", "Retry", "retry~", choose=lambda ref: True)
    assert "1 cannot be, since they are no jobs" in page.text
    await visitor.press("/retries", "Kill", "retry~", choose=lambda ref: True)
    (link,) = {link for link in (await visitor.get("/queues/q")).links if link.startswith("/job?")}
    page = await visitor.get(link)
    assert page.buttons() & {"Retry", "Run now", "Kill", "Delete"} == {"Kill", "Delete"}
    await visitor.press(link, "Delete")
    assert (await scene.queue("q"), await scene.redis.zcard(scene.key("dead"))) == ([], 1)


async def test_arguments_can_be_changed_and_a_job_put_off(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "retry", [failed("j0", args=[1, 2])])
    (link,) = {link for link in (await visitor.get("/retries")).links if link.startswith("/job?")}
    page = await visitor.press(link, "Change", typed={"args": '[{"a": 12345678901234567890}]'})
    assert "Arguments changed." in page.text
    (link,) = {link for link in (await visitor.get("/retries")).links if link.startswith("/job?")}
    page = await visitor.press(link, "Put off", typed={"at": "2031-05-06T07:08"})
    assert "Due at 2031-05-06 07:08:00 UTC." in page.text
    ((payload, score),) = await scene.redis.zrange(scene.key("retry"), 0, -1, withscores=True)
    assert (msgspec.json.decode(payload)["args"], score) == (
        [{"a": 12345678901234567890}],
        datetime(2031, 5, 6, 7, 8, tzinfo=UTC).timestamp(),
    )
    (link,) = {link for link in (await visitor.get("/retries")).links if link.startswith("/job?")}
    for typed, text in (("{}", "must be a JSON array"), ("[1", "not JSON"), ("[NaN]", "not JSON")):
        page = await visitor.press(link, "Change", typed={"args": typed})
        assert (page.status, text in page.text) == (400, True)


async def test_queues_are_paused_resumed_and_cleared(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", job("a"), job("b"))
    page = await visitor.press("/queues", "Pause", "q")
    assert "Queue q paused; 0 nodes told." in page.text
    assert await scene.redis.smembers(scene.key("paused")) == {b"q"}
    page = await visitor.press("/queues/q", "Resume")
    assert (page.path, "Queue q resumed" in page.text) == ("/queues/q", True)
    assert await scene.redis.smembers(scene.key("paused")) == set()
    page = await visitor.press("/queues/q", "Clear")
    assert (page.path, "Queue q cleared: 2 jobs deleted." in page.text) == ("/queues", True)
    assert not await scene.redis.keys(scene.key("queue*"))


@pytest.mark.usefixtures("fleet")
async def test_nodes_are_told_to_be_quiet_to_stop_and_to_cancel(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    page = await visitor.press("/busy", "Quiet", "worker-1.eu#1")
    assert "worker-1.eu#1 was told to take no more jobs." in page.text
    page = await visitor.press("/busy", "Stop", "rails-1")
    assert "was told to stop." in page.text
    await visitor.press("/busy", "Quiet all")
    page = await visitor.press("/busy", "Stop all")
    assert "5 nodes were told to stop." in page.text
    signals = {name: await scene.redis.lrange(keys.signals(name), 0, -1) for name in ("worker-1.eu#1", "elixir-1")}
    assert signals == {"worker-1.eu#1": [b"TERM", b"TSTP", b"TSTP"], "elixir-1": [b"TERM", b"TSTP"]}
    page = await visitor.press("/busy", "Cancel")
    assert "No node is there that could cancel it." in page.text


async def test_a_job_is_enqueued_by_hand(visitor: Visitor, scene: Scene) -> None:
    typed = {"worker": "W", "queue": "mail", "args": '[1, {"a": "\u00e4"}]', "max_retries": "3", "tags": "x, y,"}
    page = await visitor.press("/enqueue", "Enqueue", typed=typed)
    assert "Enqueued: " in page.text
    (payload,) = await scene.queue("mail")
    record = msgspec.json.decode(payload)
    assert (record["class"], record["args"], record["retry"], record["tags"]) == ("W", [1, {"a": "ä"}], 3, ["x", "y"])
    await visitor.press("/enqueue", "Enqueue", typed={"worker": "W", "after": "60"})
    assert await scene.redis.zcard(scene.key("schedule")) == 1


async def test_a_job_that_cannot_be_enqueued_is_told_and_what_was_typed_stays(visitor: Visitor, scene: Scene) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({"worker": " "}, "Which worker?"),
        ({"worker": "<W>", "args": "{"}, "not JSON"),
        ({"worker": "<W>", "args": "7"}, "must be a JSON array"),
        ({"worker": "<W>", "queue": "backup::x"}, "must not begin with"),
        ({"worker": "<W>", "max_retries": "many"}, "must be numbers"),
        ({"worker": "<W>", "max_retries": "-1"}, "number of retries"),
        ({"worker": "<W>", "after": "1e300"}, "number of seconds"),
    ]
    for typed, text in wrong:
        page = await visitor.press("/enqueue", "Enqueue", typed=typed)
        assert (page.status, text in page.text) == (400, True), page
        form = page.form("Enqueue")
        assert {name: value for name, value in form.fields if name in typed} == typed
    assert not await scene.redis.keys(scene.key("*"))


# All that match


async def start(visitor: Visitor, path: str, button: str) -> Page:
    """Follow the link of an action on all, and press its button."""
    (link,) = {
        link
        for link in (await visitor.get(path)).links
        if link.startswith("/bulk?") and f"={button.split()[0].lower()}" in link
    }
    return await visitor.press(link, button)


async def test_all_are_retried(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "dead", [failed(f"j{at}") for at in range(1_200)])
    page = await start(visitor, "/dead", "Retry all")
    assert (page.path, "1,200 jobs retried." in page.text) == ("/dead", True)
    assert (await scene.redis.llen(scene.key("queue:q")), await jids(scene, "dead")) == (1_200, [])


async def test_all_that_match_are_deleted_and_no_others(visitor: Visitor, scene: Scene) -> None:
    payloads = [failed(f"j{at}", args=["odd" if at % 2 else "even"]) for at in range(100)]
    await fill(scene, "retry", payloads)
    path = "/retries?text=odd&worker=Work"
    page = await visitor.get(path)
    assert "All that match" in page.text
    page = await start(visitor, path, "Delete all that match")
    assert "50 jobs deleted." in page.text
    assert await jids(scene, "retry") == sorted(f"j{at}" for at in range(0, 100, 2))


async def test_before_all_are_changed_it_shows_what_would_be(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "dead", [failed(f"j{at}", args=[f"n{at}"]) for at in range(30)])
    page = await visitor.get("/bulk?place=dead&action=delete&text=n7")
    assert "Delete every job here that matches: Text n7" in page.text
    assert '"n7"' in page.text
    assert '"n8"' not in page.text
    assert "all 30 jobs here?" in (await visitor.get("/bulk?place=dead&action=retry")).text
    assert "Nothing matches" in (await visitor.get("/bulk?place=dead&action=retry&text=none")).text
    assert len(await jids(scene, "dead")) == 30


async def test_a_script_is_told_of_every_step(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "dead", [failed(f"j{at}") for at in range(1_200)])
    form = (await visitor.get("/bulk?place=dead&action=retry")).form("Retry all")
    response = await visitor.client.post(
        "/bulk", data=dict([*form.fields, ("action", "retry")]), headers={"accept": "application/x-ndjson"}
    )
    steps = [msgspec.json.decode(line) for line in response.text.splitlines()]
    assert [step["done"] for step in steps] == [500, 1000, 1200, 1200]
    assert [step["over"] for step in steps] == [False, False, False, True]
    assert steps[-1]["total"] == 1_200


async def test_what_takes_long_is_gone_on_with(visitor: Visitor, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exq_anyio.ui.actions.PATIENCE", 0.0)
    await fill(scene, "dead", [failed(f"j{at}") for at in range(1_200)])
    page = await start(visitor, "/dead", "Retry all")
    assert "500 jobs retried so far; go on for the others." in page.text
    assert page.path == "/bulk?place=dead&action=retry"
    assert len(await jids(scene, "dead")) == 700


async def test_only_what_is_offered_for_a_place_is_done(visitor: Visitor, scene: Scene) -> None:
    await fill(scene, "dead", [failed("j0")])
    page = await visitor.get("/dead")
    token = dict(page.form("Retry").fields)["token"]
    ref = page.form("Retry").boxes[0][1]
    wrong = [
        ("/bulk", [("place", "dead"), ("action", "kill")], 400),
        ("/bulk", [("place", "nowhere"), ("action", "retry")], 400),
        ("/bulk", [("place", "dead"), ("action", "pause")], 400),
        ("/act", [("ref", ref), ("action", "kill")], 400),
        ("/act", [("ref", ref), ("action", "read")], 400),
        ("/act", [("ref", ref), ("action", "enqueue")], 400),
        ("/act", [("ref", "dead~x"), ("action", "retry")], 404),
        ("/enqueue", [("action", "retry")], 400),
    ]
    for path, fields, status in wrong:
        assert (await visitor.send(path, [("token", token), *fields])).status == status, fields
    assert await jids(scene, "dead") == ["j0"]


async def test_it_leads_back_to_our_own_pages_only(look: Look, scene: Scene) -> None:
    visitor = await look()
    page = await visitor.get("/queues/q")
    token = dict(page.form("Pause").fields)["token"]
    for back in (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:1",
        "",
        "/x\r\nSet-Cookie: a=b",
    ):
        response = await visitor.client.post(
            "/act",
            data={"token": token, "queue": "q", "action": "pause", "back": back},
            headers={"origin": "http://localhost"},
            follow_redirects=False,
        )
        assert (response.status_code, response.headers["location"]) == (303, "/")
