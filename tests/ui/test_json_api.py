"""The JSON API: everything that the pages show and do, in the form that its document says."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
import pytest

from exq_anyio import ui
from exq_anyio.redis.keys import Keys
from exq_anyio.ui.json_api import ENDPOINTS

from ..api.conftest import failed, job
from ..exq.scene import Scene
from .conftest import Look
from .visitor import Visitor


async def fill(scene: Scene, keys: Keys, number: int = 3) -> None:
    now = time.time()
    await scene.push("mail", *(job(f"q{at}") for at in range(number)))
    for key in (keys.retry, keys.schedule, keys.dead):
        await scene.redis.zadd(key, {failed(f"{key[-5:]}{at}", args=[at]): now + at for at in range(number)})


@pytest.mark.usefixtures("fleet")
async def test_every_answer_has_the_type_that_the_document_says(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    listed = (await visitor.json("GET", "/dead"))[1]
    ref = listed["jobs"][0]["ref"]
    retry = (await visitor.json("GET", "/retries"))[1]["jobs"][0]["ref"]
    bodies: dict[str, Any] = {
        "/jobs/edit": {"ref": ref, "args": [1]},
        "/jobs/reschedule": {"ref": retry, "at": "2031-01-01T00:00:00Z"},
        "/jobs": {"queue": "q", "worker": "W", "args": [1]},
        "/nodes/quiet": {"node": "elixir-1"},
        "/nodes/stop": {},
        "/cancel": {"jid": "x"},
        "/periodic/run": {"name": "nightly report"},
        "/periodic/pause": {"name": "nightly report"},
        "/periodic/resume": {"name": "nightly report"},
        "/periodic/remove": {"name": "nightly report"},
    }
    for one in ENDPOINTS:
        path = one.path.replace("{queue:path}", "mail")
        body = bodies.get(path, {"refs": [ref]} if path.startswith("/jobs/") else {"place": "dead"})
        if one.takes is None or path.startswith("/queues/"):
            body = {}
        query = {
            "/job": f"?ref={listed['jobs'][1]['ref']}",
            "/find": "?jid=none",
            "/metrics/worker": "?worker=Resize",
        }.get(path, "")
        response = await visitor.client.request(
            one.method, f"/api{path}{query}", json=body if one.method == "POST" else None
        )
        expected = 400 if path == "/all/kill" else 200
        assert response.status_code == expected, (path, response.text)
        if expected == 200:
            msgspec.json.decode(response.content, type=one.answers)


async def test_the_document_describes_every_endpoint_and_each_of_its_references_leads_somewhere(
    visitor: Visitor,
) -> None:
    status, document = await visitor.json("GET", "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    operations = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert operations == {(one.method, f"/api{one.path.replace(':path', '')}") for one in ENDPOINTS}
    text = msgspec.json.encode(document).decode()
    schemas = document["components"]["schemas"]
    assert set(re.findall("#/components/schemas/(\\w+)", text)) == set(schemas)
    names = [found["operationId"] for path in document["paths"].values() for found in path.values()]
    assert len(set(names)) == len(names)
    for path, found in document["paths"].items():
        given = {name["name"] for each in found.values() for name in each["parameters"] if name["in"] == "path"}
        assert given == set(re.findall("{(\\w+)}", path))
    described = schemas["Stats"]["description"] + schemas["JobRecord"]["description"]
    assert "figures" in described


async def test_a_list_is_read_part_by_part(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await fill(scene, keys, 12)
    for path in ("/queues/mail/jobs", "/retries", "/scheduled", "/dead"):
        jids = list[str]()
        start: int | None = 0
        while start is not None:
            status, part = await visitor.json("GET", f"{path}?size=5&from={start}")
            assert (status, part["total"], part["looked"]) == (200, 12, None)
            jids += [one["jid"] for one in part["jobs"]]
            start = part["next"]
        assert len(jids) == len(set(jids)) == 12


async def test_a_list_is_searched(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await scene.redis.zadd(
        keys.dead,
        {
            failed("a", worker="Mail::Send", error_class="Timeout", tags=["vip"], args=["needle"]): 1e9,
            failed("b", worker="Mail::Send", error_class="ValueError"): 1e9 + 3600,
            job("c", "Other"): 1e9 + 7200,
        },
    )
    found = {
        "worker=Mail": ["b", "a"],
        "error=Time": ["a"],
        "text=needle": ["a"],
        "tag=vip": ["a"],
        "since=2001-09-09T02:00:00Z": ["c", "b"],
        "until=2001-09-09T01:50:00": ["a"],
        "worker=Mail&until=2001-09-09T05:00:00%2B02:00": ["b", "a"],
        "worker=mail": [],
        "worker=+&error=": ["c", "b", "a"],
    }
    for query, jids in found.items():
        part = (await visitor.json("GET", f"/dead?{query}"))[1]
        assert [one["jid"] for one in part["jobs"]] == jids, query
        assert (part["looked"] is None) == (query == "worker=+&error=")


async def test_a_search_looks_at_a_bounded_number_and_goes_on(
    visitor: Visitor, scene: Scene, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exq_anyio.ui.asked.LOOK_AT", 100)
    payloads = (failed(str(at), tags=["x"] if at % 50 == 7 else []) for at in range(250))
    jobs: dict[str | bytes, float] = {payload: float(at) for at, payload in enumerate(payloads)}
    await scene.redis.zadd(keys.retry, jobs)
    parts: list[object] = []
    start: int | None = 0
    while start is not None:
        _, part = await visitor.json("GET", f"/retries?tag=x&from={start}")
        parts.append(([one["jid"] for one in part["jobs"]], part["looked"], part["next"]))
        start = part["next"]
    assert parts == [(["7", "57"], 100, 100), (["107", "157"], 100, 200), (["207"], 50, None)]
    parts, start = [], 0
    while start is not None:
        _, part = await visitor.json("GET", f"/retries?tag=x&size=1&from={start}")
        parts += [one["jid"] for one in part["jobs"]]
        start = part["next"]
    assert parts == ["7", "57", "107", "157", "207"]
    page = await visitor.get("/retries?tag=x")
    assert "2 found in 100 of 250 looked at" in page.text
    assert "Look further" in page.text
    assert "Nothing found yet 100 of 250" in (await visitor.get("/retries?tag=y")).text


async def test_jobs_are_acted_upon(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await fill(scene, keys)
    _, part = await visitor.json("GET", "/dead")
    refs = [one["ref"] for one in part["jobs"]]
    assert await visitor.json("POST", "/jobs/retry", {"refs": refs[:2]}) == (200, {"done": 2, "moved": 0, "refused": 0})
    assert await visitor.json("POST", "/jobs/delete", {"refs": refs}) == (200, {"done": 1, "moved": 2, "refused": 0})
    status, progress = await visitor.json("POST", "/all/delete", {"place": "queue", "queue": "mail"})
    assert (status, progress["done"]) == (200, 3)
    status, progress = await visitor.json("POST", "/all/kill", {"place": "retry", "text": "retry1"})
    assert (status, progress["done"], await scene.redis.zcard(keys.dead)) == (200, 1, 1)


async def test_one_job_is_shown_changed_put_off_and_found(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await fill(scene, keys, 1)
    _, part = await visitor.json("GET", "/retries")
    (one,) = part["jobs"]
    assert (await visitor.json("GET", f"/job?ref={one['ref']}"))[1] == one
    _, moved = await visitor.json("POST", "/jobs/edit", {"ref": one["ref"], "args": [{"a": None}]})
    assert moved["job"]["job"]["args"] == [{"a": None}]
    assert (await visitor.json("POST", "/jobs/edit", {"ref": one["ref"], "args": []}))[1] == {"job": None}
    at = {"ref": moved["job"]["ref"], "at": "2031-01-01T00:00:00+01:00"}
    _, moved = await visitor.json("POST", "/jobs/reschedule", at)
    assert moved["job"]["at"] == "2030-12-31T23:00:00Z"
    _, found = await visitor.json("GET", f"/find?jid={one['jid']}")
    assert found["job"]["ref"] == moved["job"]["ref"]
    assert (await visitor.json("GET", "/find?jid=none"))[1] == {"job": None}


async def test_queues_are_controlled(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await scene.push("a/b", job("a"))
    assert await visitor.json("POST", "/queues/a%2Fb/pause", {}) == (200, {"nodes": []})
    _, queue = await visitor.json("GET", "/queues/a/b")
    assert (queue["name"], queue["paused"], queue["size"]) == ("a/b", True, 1)
    await visitor.json("POST", "/queues/a/b/resume", {})
    assert await visitor.json("POST", "/queues/a/b/clear", {}) == (200, {"deleted": 1})
    assert (await visitor.json("GET", "/queues"))[1] == []


async def test_what_is_wrong_is_said_in_json(visitor: Visitor) -> None:
    wrong: list[tuple[str, str, object, int, str]] = [
        ("GET", "/nowhere", None, 404, "no such page"),
        ("GET", "/queues/backup::x", None, 404, "must not begin"),
        ("GET", "/dead?size=0", None, 400, "size must be"),
        ("GET", "/history?days=x", None, 400, "days must be"),
        ("GET", "/job", None, 404, "names no job"),
        ("POST", "/jobs/retry", [], 400, "must be a JSON object"),
        ("POST", "/jobs/retry", {}, 400, "missing required field `refs`"),
        ("POST", "/jobs/retry", {"refs": "x"}, 400, "Expected `array`"),
        ("POST", "/jobs/retry", {"refs": [], "more": 1}, 400, "no field 'more' in Refs"),
        ("POST", "/jobs/reschedule", {"ref": "x", "at": "soon"}, 400, "Invalid RFC3339"),
        ("POST", "/all/retry", {"place": "nowhere"}, 400, "Invalid enum value"),
        ("POST", "/all/retry", {"place": "queue", "queue": "q"}, 400, "retry:"),
        ("POST", "/jobs", {"queue": "", "worker": "W", "args": []}, 400, "must not be empty"),
        ("POST", "/stats", {}, 405, "for something else"),
    ]
    for method, path, body, status, text in wrong:
        found, answer = await visitor.json(method, path, body)
        assert (found, sorted(answer)) == (status, ["detail", "error"]), (path, answer)
        assert text in answer["detail"], (path, answer)


async def test_what_cannot_be_done_to_a_job_is_said(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await scene.redis.zadd(keys.dead, {failed("a"): 1e9, b"[1]": 1e9 - 1})
    await scene.push("q", job("b"))
    good, garbage = [one["ref"] for one in (await visitor.json("GET", "/dead"))[1]["jobs"]]
    queued = (await visitor.json("GET", "/queues/q/jobs"))[1]["jobs"][0]["ref"]
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("/jobs/edit", {"ref": garbage, "args": []}, "cannot be changed: the entry is no job"),
        ("/jobs/reschedule", {"ref": good, "at": "2031-01-01T00:00:00Z"}, "a dead job is due at no time"),
        ("/jobs/reschedule", {"ref": queued, "at": "2031-01-01T00:00:00"}, "needs a time zone"),
        ("/jobs/retry", {"refs": [queued]}, "the job is in its queue already"),
        ("/jobs/kill", {"refs": [good]}, "the job is dead already"),
    ]
    for path, body, text in wrong:
        status, answer = await visitor.json("POST", path, body)
        assert (status, text in answer["detail"]) == (400, True), answer
    response = await visitor.client.post("/api/jobs/retry", content="{", headers={"content-type": "application/json"})
    assert (response.status_code, "not JSON" in response.text) == (400, True)


async def test_every_step_of_an_action_on_all_is_told_to_who_asks_for_lines(
    visitor: Visitor, scene: Scene, keys: Keys
) -> None:
    await scene.redis.zadd(keys.dead, {failed(str(at)): float(at) for at in range(600)})
    response = await visitor.client.post(
        "/api/all/retry", json={"place": "dead"}, headers={"accept": "application/x-ndjson"}
    )
    steps = [msgspec.json.decode(line) for line in response.text.splitlines()]
    assert [(step["done"], step["over"]) for step in steps] == [(500, False), (600, False), (600, True)]


async def test_what_is_not_allowed_is_said_in_json(look: Look) -> None:
    visitor = await look(authorize=lambda request, action: request.headers.get("authorization") == "Bearer good")
    assert (await visitor.json("GET", "/stats"))[0] == 403
    response = await visitor.client.get("/api/stats", headers={"authorization": "Bearer good"})
    assert response.status_code == 200
    assert ui.Action is not None
