"""Who may look, who may act, and what keeps others from acting in their name."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.requests import Request

import exq_anyio as exq
from exq_anyio import ui

from ..api.conftest import failed, job
from ..exq.scene import Scene
from .conftest import Look
from .test_pages import PAGES
from .visitor import Visitor, asking

BUTTONS = {
    "/queues": {"pause": "Pause", "delete": "Clear"},
    "/queues/q": {"run": "Run now", "kill": "Kill", "delete": "Delete", "pause": "Pause"},
    "/retries": {"retry": "Retry", "run": "Run now", "kill": "Kill", "delete": "Delete"},
    "/scheduled": {"run": "Run now", "kill": "Kill", "delete": "Delete"},
    "/dead": {"retry": "Retry", "delete": "Delete"},
    "/enqueue": {"enqueue": "Enqueue"},
    "/busy": {"quiet": "Quiet", "stop": "Stop", "cancel": "Cancel"},
}
"""Where the button of each action is."""


@pytest.fixture
async def filled(scene: Scene, fleet: None) -> None:
    await scene.push("q", job("a"))
    for key in ("retry", "schedule", "dead"):
        await scene.redis.zadd(scene.key(key), {failed("b"): 2e9})


# Who may look


async def test_without_a_hook_only_this_machine_may_look_and_by_its_own_name(q: exq.Exq) -> None:
    app = ui.create_app(q)
    allowed = {
        ("http://localhost", "127.0.0.1"): 200,
        ("http://localhost:8000", "127.0.0.1"): 200,
        ("http://127.0.0.1:8000", "127.0.0.9"): 200,
        ("http://[::1]:8000", "::1"): 200,
        ("http://exq.localhost", "127.0.0.1"): 200,
        ("http://localhost", "10.0.0.7"): 403,
        ("http://10.0.0.1", "127.0.0.1"): 403,
        ("http://evil.example", "127.0.0.1"): 403,
        ("http://localhost.evil.example", "127.0.0.1"): 403,
        ("http://127.0.0.1.evil.example", "127.0.0.1"): 403,
    }
    async with asking(app, "/", headers={"host": "[::1"}) as answer:
        assert answer.status == 403
    for (base, client), status in allowed.items():
        async with Visitor(app, base, (client, 50_000)) as visitor:
            for path in ("/", "/api/stats", "/events?page=/nowhere", "/payload", "/bulk", "/find?jid=a"):
                found = (await visitor.get(path)).status
                assert (found == 403) == (status == 403), (base, client, path, found)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host"])
async def test_without_a_hook_nobody_may_come_through_a_proxy(visitor: Visitor, header: str) -> None:
    page = await visitor.get("/", **{header: "203.0.113.7"})
    assert page.status == 403
    assert "Nobody has said who may see this" in page.text


async def test_the_opt_out_is_explicit(q: exq.Exq) -> None:
    async with Visitor(ui.create_app(q, authorize=ui.allow_all), "http://exq.example", ("203.0.113.7", 1)) as visitor:
        assert (await visitor.get("/")).status == 200


async def test_a_hook_that_fails_or_says_something_else_than_true_lets_nobody_in(look: Look) -> None:
    for answer in (False, None, 1, "yes"):
        visitor = await look(authorize=lambda request, action, answer=answer: answer)
        assert (await visitor.get("/")).status == 403

    def fails(request: Request, action: ui.Action) -> bool:
        raise LookupError("no session")

    visitor = await look(authorize=fails)
    with pytest.raises(LookupError):
        await visitor.get("/")


async def test_a_mistake_of_ours_is_a_page_that_gives_nothing_away(q: exq.Exq) -> None:
    def fails(request: Request, action: ui.Action) -> bool:
        raise LookupError("a secret")

    app = ui.create_app(q, authorize=fails)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/", "/api/stats"):
            response = await client.get(path)
            assert (response.status_code, "Something went wrong" in response.text) == (500, True)
            assert "secret" not in response.text
            assert "content-security-policy" in response.headers


# Who may act


@pytest.mark.usefixtures("filled")
async def test_each_action_has_a_permission_of_its_own(look: Look) -> None:
    for path, buttons in BUTTONS.items():
        for action, button in buttons.items():

            async def authorize(request: Request, wanted: ui.Action, action: str = action) -> bool:
                return wanted in ("read", action)

            page = await (await look(authorize=authorize, allow_enqueue=True)).get(path)
            assert page.status == 200
            every = {label for labels in BUTTONS.values() for label in labels.values()} | {"Clear", "Quiet all"}
            offered = page.buttons() & every
            assert offered - {"Delete", "Clear", "Quiet all"} <= {button}, (path, action)
            assert button in page.buttons()


@pytest.mark.usefixtures("filled")
async def test_a_button_that_is_not_offered_does_nothing_when_it_is_sent(look: Look, scene: Scene) -> None:
    visitor = await look(allow_enqueue=True)
    refused = await look(authorize=lambda request, action: action == "read", allow_enqueue=True)
    before = await state(scene)
    for path, buttons in BUTTONS.items():
        page = await visitor.get(path)
        for button in buttons.values():
            form = page.form(button)
            name, value = next((name, value) for name, value, text in form.buttons if text.strip() == button)
            fields = [*form.fields, *form.boxes, (name, value)]
            token = dict(fields)["token"]
            page_refused = await refused.send(form.action, fields, cookie=f"exq_token={token}")
            assert (page_refused.status, "You may not do this" in page_refused.text) == (403, True), (path, button)
    for path in ("retry", "delete"):
        status, _ = await refused.json("POST", f"/all/{path}", {"place": "dead"})
        assert status == 403
    assert await state(scene) == before


@pytest.mark.usefixtures("filled")
async def test_a_read_only_ui_has_no_buttons_and_obeys_none(look: Look, scene: Scene) -> None:
    visitor = await look(read_only=True, allow_enqueue=True)
    before = await state(scene)
    for path in PAGES:
        page = await visitor.get(path)
        if path == "/enqueue":
            assert page.status == 403
            continue
        assert "read-only" in page.text
        posts = [form for form in page.forms if form.method == "post" and form.buttons]
        assert posts == []
        assert not [link for link in page.links if "/bulk" in link or "/enqueue" in link]
    other = await look()
    page = await other.get("/dead")
    form = page.form("Retry")
    token = dict(form.fields)["token"]
    fields = [*form.fields, *form.boxes, ("action", "retry")]
    assert (await visitor.send("/act", fields, cookie=f"exq_token={token}")).status == 403
    assert (await visitor.json("POST", "/all/delete", {"place": "dead"}))[0] == 403
    assert await state(scene) == before


async def test_enqueueing_by_hand_has_to_be_allowed(look: Look, scene: Scene) -> None:
    visitor = await look()
    page = await visitor.get("/enqueue")
    assert (page.status, "allow_enqueue=True" in page.text) == (403, True)
    assert "/enqueue" not in (await visitor.get("/")).links
    assert (await visitor.json("POST", "/jobs", {"queue": "q", "worker": "W", "args": []}))[0] == 403
    assert not await scene.redis.keys(scene.key("*"))


async def state(scene: Scene) -> dict[bytes, object]:
    names = sorted(await scene.redis.keys(scene.key("*")))
    return {name: await scene.redis.dump(name) for name in names}


# In whose name


async def test_a_form_of_another_site_changes_nothing(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", job("a"))
    form = (await visitor.get("/queues")).form("Clear")
    fields = [*form.fields, ("action", "delete")]
    without = [(name, value) for name, value in fields if name != "token"]
    attempts: list[tuple[list[tuple[str, str]], dict[str, str], int]] = [
        (without, {}, 403),
        ([*without, ("token", "")], {}, 403),
        ([*without, ("token", "guessed")], {}, 403),
        ([*without, ("token", "\u00e4")], {}, 403),
        (fields, {"origin": "http://evil.example"}, 403),
        (fields, {"origin": "null"}, 403),
        (fields, {"origin": "http://[::1"}, 403),
        (fields, {"origin": "localhost"}, 403),
        (fields, {"sec-fetch-site": "cross-site"}, 403),
        (fields, {"sec-fetch-site": "same-site"}, 403),
        (fields, {"content-type": "text/plain"}, 415),
    ]
    for sent, headers, status in attempts:
        assert (await visitor.send("/act", sent, **headers)).status == status, (sent, headers)
    for _, headers, status in attempts[4:10]:
        response = await visitor.client.post("/api/queues/q/clear", json={}, headers=headers)
        assert response.status_code == status
    visitor.client.cookies.clear()
    assert (await visitor.send("/act", fields)).status == 403
    assert await scene.redis.llen(scene.key("queue:q")) == 1
    # And a get changes nothing either.
    for path in ("/act", "/act?action=delete&queue=q", "/bulk?action=delete&place=queue&queue=q", "/api/all/delete"):
        await visitor.get(path)
    assert await scene.redis.llen(scene.key("queue:q")) == 1


async def test_the_api_takes_only_json_which_no_form_can_send(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", job("a"))
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""):
        headers = {"content-type": kind} if kind else {}
        response = await visitor.client.post("/api/queues/q/clear", content="{}", headers=headers)
        assert response.status_code == 415
    assert await scene.redis.llen(scene.key("queue:q")) == 1


async def test_a_form_is_for_the_browser_that_got_it(look: Look, scene: Scene) -> None:
    await scene.push("q", job("a"))
    one, other = await look(), await look()
    form = (await one.get("/queues")).form("Clear")
    await other.get("/queues")
    assert (await other.send("/act", [*form.fields, ("action", "delete")])).status == 403
    assert (await one.send("/act", [*form.fields, ("action", "delete")])).status == 200


async def test_a_form_that_is_too_large_or_has_too_many_fields_is_refused(visitor: Visitor, q: exq.Exq) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    parts = [b"a=" + b"x" * 1_000_000] * 3
    async with asking(ui.create_app(q), "/act", method="POST", headers=form, body=parts) as answer:
        assert answer.status == 413
    assert (await visitor.send("/act", [("a", "x")] * 1_001)).status == 400


# What a page gives away


@pytest.mark.usefixtures("filled")
async def test_every_answer_keeps_to_itself(look: Look) -> None:
    visitor = await look()
    for path in (*PAGES, "/nowhere", "/api/stats", "/api/nowhere", "/api/openapi.json", "/job?ref=x"):
        headers = (await visitor.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.usefixtures("filled")
async def test_no_page_has_a_script_or_style_within_it_or_names_another_host(visitor: Visitor) -> None:
    for path in (*PAGES, "/nowhere", "/bulk?place=dead&action=retry"):
        page = await visitor.get(path)
        for tag, given in page.tags:
            assert "style" not in given, (path, tag)
            assert tag != "style"
            assert not [name for name in given if name.startswith("on")]
            assert tag != "script" or given["src"]
            for name in ("src", "href", "action"):
                assert not re.match("[a-z]+:|//", given.get(name) or ""), (path, given)


async def test_cookies_are_for_this_site_alone_and_for_no_script(visitor: Visitor) -> None:
    header = (await visitor.get("/")).headers["set-cookie"]
    assert {part.strip().lower() for part in header.split(";")[1:]} == {"httponly", "path=/", "samesite=strict"}
    visitor.client.base_url = "https://localhost"
    visitor.client.cookies.clear()
    assert "Secure" in (await visitor.get("/")).headers["set-cookie"]


async def test_a_password_is_on_no_page(scene: Scene) -> None:
    await scene.redis.acl_setuser("ops", "on", ">s3cr3t-word", "allkeys", "+@all")
    try:
        async with (
            scene.open(mode="api", username="ops", password="s3cr3t-word") as q,
            Visitor(ui.create_app(q, allow_enqueue=True)) as visitor,
        ):
            for path in (*PAGES, "/api/server", "/api/openapi.json"):
                page = await visitor.get(path)
                assert page.status == 200
                assert "s3cr3t" not in page.html
                assert "ops@" not in page.html
    finally:
        await scene.redis.acl_deluser(["ops"])
