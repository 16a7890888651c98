"""What people do on the pages, with a mouse, with keys, with and without a script."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from benchmarks.chaos.proxy import Network

from ...api.conftest import failed, job
from .conftest import Fleet, Open, Serve


def dead(fleet: Fleet, number: int, **fields: Any) -> None:
    """Dead jobs, the first the latest."""
    now = time.time()
    for at in range(0, number, 5_000):
        group = range(at, min(number, at + 5_000))
        jobs = {failed(f"j{each}", args=[f"n{each}"], **fields): now - each for each in group}
        fleet.client.zadd(fleet.keys.dead, jobs)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def box(page: Page, name: str) -> Any:
    return page.locator(f'input[name=ref][value*="~{name}"]')


def jids(fleet: Fleet, key: str) -> list[str]:
    found = fleet.client.zrange(key, 0, -1) if "queue" not in key else fleet.client.lrange(key, 0, -1)
    return sorted(json.loads(payload)["jid"] for payload in found)


def test_rows_are_chosen_and_acted_upon_and_the_page_stays(
    fleet: Fleet, serve: Serve, open_page: Open, backend: str
) -> None:
    dead(fleet, 60)
    page = open_page(f"{serve('--backend', backend)}/dead?size=50", high=500)
    retry = page.locator("button[data-chosen]", has_text="Retry")
    expect(retry).to_be_disabled()
    box(page, "j2~").or_(box(page, "j2")).first.check()
    expect(retry).to_be_enabled()
    page.evaluate("window.stays = true; scrollTo(0, 300)")
    box(page, "j5").first.check()
    page.keyboard.down("Shift")
    box(page, "j8").first.click()
    page.keyboard.up("Shift")
    assert page.locator("input[name=ref]:checked").count() == 5
    assert page.evaluate("document.getElementById('pick-all').indeterminate")
    scrolled = page.evaluate("scrollY")
    assert scrolled > 100
    page.evaluate("document.querySelector('button[data-chosen]').click()")
    expect(page.locator("#said")).to_have_text("5 jobs retried.")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator("#counts")).to_contain_text("55")
    assert jids(fleet, fleet.keys.queue("q")) == ["j2", "j5", "j6", "j7", "j8"]
    assert page.evaluate("window.stays")
    assert abs(page.evaluate("scrollY") - scrolled) < 60
    page.locator("#pick-all").check()
    assert page.locator("input[name=ref]:checked").count() == 50
    page.locator("button[data-chosen]", has_text="Delete").click()
    expect(page.get_by_text("Delete the chosen jobs for good?")).to_be_visible()
    page.keyboard.press("Escape")
    assert len(jids(fleet, fleet.keys.dead)) == 55
    page.locator("button[data-chosen]", has_text="Delete").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#said")).to_have_text("50 jobs deleted.")
    assert len(jids(fleet, fleet.keys.dead)) == 5


def test_live_updates_leave_alone_what_is_chosen_typed_open_and_scrolled(
    fleet: Fleet, serve: Serve, open_page: Open, backend: str
) -> None:
    dead(fleet, 40)
    page = open_page(f"{serve('--backend', backend)}/dead", high=500)
    page.locator("#every").select_option("1")
    box(page, "j3").first.check()
    page.get_by_role("textbox", name="Worker").fill("half of a na")
    page.get_by_text("More").click()
    page.evaluate("scrollTo(0, 250)")
    row = page.locator("tr", has=box(page, "j3").first)
    row.evaluate("element => element.mark = 'the same'")
    fleet.client.zadd(fleet.keys.dead, {failed("newer", args=["newer"]): time.time() + 9})
    expect(page.get_by_text('"newer"')).to_be_visible()
    assert row.evaluate("element => element.mark") == "the same"
    assert page.locator("input[name=ref]:checked").count() == 1
    expect(box(page, "j3").first).to_be_checked()
    expect(page.get_by_role("textbox", name="Worker")).to_have_value("half of a na")
    expect(page.get_by_label("Tag")).to_be_visible()
    assert page.evaluate("scrollY") == 250
    fleet.client.zremrangebyscore(fleet.keys.dead, "-inf", "+inf")
    expect(page.get_by_text("Nothing is dead")).to_be_visible()


def test_live_updates_pause_and_go_on_and_the_choice_is_kept(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    address = serve()
    page = open_page(f"{address}/queues")
    expect(page.locator("#live.on")).to_be_visible()
    page.locator("#every").select_option("0")
    fleet.client.sadd(fleet.keys.queues, "later")
    page.wait_for_timeout(2_500)
    expect(page.get_by_text("later")).to_have_count(0)
    page.reload()
    expect(page.locator("#every")).to_have_value("0")
    page.locator("#every").select_option("1")
    fleet.client.sadd(fleet.keys.queues, "at last")
    expect(page.get_by_text("at last")).to_be_visible()


def test_charts_are_drawn_move_and_tell(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.fill(10)
    page = open_page(serve())
    expect(page.locator(".chart canvas")).to_have_count(2)
    page.locator("[data-chart=days] .u-over").hover()
    expect(page.locator("[data-chart=days] .tip")).to_contain_text("processed")
    before = page.locator("[data-chart=seconds]").get_attribute("data-points")
    expect(page.locator("[data-chart=seconds]")).not_to_have_attribute("data-points", before or "")
    expect(page.locator(".chart canvas")).to_have_count(2)
    expect(page.locator("[data-chart=days] .tip")).to_contain_text("processed")
    page.get_by_label("180 days").click()
    expect(page.get_by_role("heading", name="The last 180 days")).to_be_visible()
    expect(page.locator(".chart canvas")).to_have_count(2)


def test_the_first_update_too_leaves_alone_what_is_open_and_drawn(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.fill(10)
    page = open_page(serve())
    page.get_by_label("Live updates").select_option("Paused")
    page.reload()
    expect(page.locator(".chart canvas")).to_have_count(2)
    page.get_by_text("As a table").click()
    page.evaluate("window.before = [...document.querySelectorAll('#live-part > *, .chart canvas')]")
    points = page.locator("[data-chart=seconds]").get_attribute("data-points")
    page.get_by_label("Live updates").select_option("Live · 1 s")
    expect(page.locator("[data-chart=seconds]")).not_to_have_attribute("data-points", points or "")
    expect(page.get_by_role("columnheader", name="Day (UTC)")).to_be_visible()
    assert page.evaluate("before.length === 6 && before.every((element) => element.isConnected)")


def test_the_theme_is_chosen_and_kept(serve: Serve, open_page: Open) -> None:
    page = open_page(serve(), color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="As the system").click()
    page.reload()
    assert page.evaluate(colour) == light


def test_times_are_local_and_exact_on_hover(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.client.zadd(fleet.keys.schedule, {job("a"): 1_900_000_000.25})
    page = open_page(f"{serve()}/scheduled")
    moment = page.locator("tbody time")
    expect(moment).to_have_text(re.compile(r"in \d+ d"))
    expect(moment).to_have_attribute("title", "2030-03-17 18:46:40.250 CET · 2030-03-17T17:46:40.250Z")
    page.locator("a.worker").click()
    expect(page.locator(".steps")).to_contain_text("2030-03-17 18:46:40.250 CET")


def test_all_that_match_are_retried_while_a_bar_shows_how_far_it_is(
    fleet: Fleet, serve: Serve, open_page: Open, backend: str
) -> None:
    dead(fleet, 10_000, worker="Mail::Send")
    fleet.client.zadd(fleet.keys.dead, {failed(f"k{at}", worker="Other"): 1e9 + at for at in range(3_000)})
    page = open_page(f"{serve('--backend', backend)}/dead?worker=Mail")
    page.get_by_role("link", name="Retry…").click()
    page.evaluate("""() => {
        window.seen = [];
        const bar = document.getElementById("bar");
        new MutationObserver(() => window.seen.push(bar.value / bar.max)).observe(bar, {attributes: true});
    }""")
    began = time.monotonic()
    page.get_by_role("button", name="Retry all that match").click()
    expect(page.locator("#progress-text")).to_have_text("10,000 retried. That was all.", timeout=30_000)
    took = time.monotonic() - began
    seen = page.evaluate("window.seen")
    assert len([share for share in seen if 0 < share < 1]) >= 5
    assert seen == sorted(seen)
    assert fleet.client.llen(fleet.keys.queue("q")) == 10_000
    assert fleet.client.zcard(fleet.keys.dead) == 3_000
    print(f"10,000 of 13,000 dead jobs retried in {took:.1f} s ({backend})")
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_text("All 3,000")).to_be_visible()


def test_a_bulk_action_stops_when_it_is_told_to(network: Network, fleet: Fleet, serve: Serve, open_page: Open) -> None:
    dead(fleet, 40_000)
    proxy = network.proxy(fleet.url.removeprefix("unix://"))
    page = open_page(f"{serve(url=f'redis://127.0.0.1:{proxy.port}')}/bulk?place=dead&action=retry")
    proxy.delay = 0.03  # so that it takes much longer than to press a button
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#progress-text")).to_contain_text("looked at")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#progress-text")).to_contain_text("Stopped.")
    proxy.delay = 0.0
    left, before = moved(fleet), None
    while left != before:
        page.wait_for_timeout(1_000)  # good for many steps
        left, before = moved(fleet), left
    assert 0 < left < 40_000


def moved(fleet: Fleet) -> int:
    """How many are still dead; all others are in their queue."""
    with fleet.client.pipeline(transaction=True) as pipe:
        left, back = pipe.zcard(fleet.keys.dead).llen(fleet.keys.queue("q")).execute()
    assert left + back == 40_000
    return int(left)


def test_queues_nodes_and_running_jobs_are_controlled(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.fill(10)
    page = open_page(f"{serve()}/queues")
    page.get_by_role("button", name="Pause mail").click()
    expect(page.locator("#said")).to_have_text("Queue mail paused; 0 nodes told.")
    page.get_by_role("button", name="Resume mail").click()
    expect(page.locator("#said")).to_contain_text("resumed")
    page.get_by_role("button", name="Clear search").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#said")).to_have_text("Queue search cleared: 18 jobs deleted.")
    page.get_by_role("link", name="Busy").click()
    page.get_by_role("button", name="Quiet worker-1.eu#1").click()
    expect(page.locator("#said")).to_contain_text("worker-1.eu#1 was told")
    page.get_by_role("button", name="Stop worker-2.eu#1").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#said")).to_contain_text("worker-2.eu#1 was told to stop")
    for button in ("Quiet all", "Stop all"):
        page.get_by_role("button", name=button).click()
        page.get_by_role("button", name="Yes").click()
        expect(page.locator("#said")).to_contain_text("5 nodes were told")
    page.get_by_role("button", name=re.compile("^Cancel send_welcome")).first.click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#said")).to_contain_text("No node is there that could cancel it")
    assert fleet.client.lrange(fleet.keys.signals("worker-1.eu#1"), 0, -1) == [b"TERM", b"TSTP", b"TSTP"]
    page.get_by_role("link", name="send_welcome").first.click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()


def test_a_job_is_changed_put_off_run_killed_and_found(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.client.zadd(fleet.keys.retry, {failed("abc"): time.time() + 500})
    page = open_page(f"{serve()}/retries")
    for step in ("Change", "Put off", "Kill", "Retry"):
        page.get_by_label("Find a job by its id").fill("abc")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Facts")).to_be_visible()
        if step == "Change":
            page.get_by_text("Change the arguments").click()
            page.get_by_label("A JSON array").fill('["new"]')
        if step == "Put off":
            page.get_by_text("Put it off").click()
            page.get_by_label("Due at (UTC)").fill("2031-01-01T00:00")
        page.get_by_role("button", name=step, exact=True).click()
        expect(page.locator("#said")).not_to_be_empty()
    (payload,) = fleet.client.lrange(fleet.keys.queue("q"), 0, -1)
    assert json.loads(payload)["args"] == ["new"]


def test_a_job_is_enqueued_by_hand(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    page = open_page(f"{serve('--allow-enqueue')}/enqueue")
    page.get_by_role("textbox", name="Worker").fill("W")
    page.get_by_label("Arguments").fill("[1]")
    page.get_by_role("button", name="Enqueue").click()
    expect(page.locator("#said")).to_contain_text("Enqueued: ")
    assert fleet.client.llen(fleet.keys.queue("default")) == 1


def test_it_works_without_a_script(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    fleet.fill(60)
    page = open_page(f"{serve('--allow-enqueue')}/", java_script_enabled=False)
    expect(page.locator("svg.bars")).to_have_count(2)
    page.get_by_role("link", name="Dead").click()
    page.locator("input[name=ref]").first.check()
    page.get_by_role("button", name="Retry", exact=True).first.click()
    expect(page.locator("#said")).to_have_text("1 job retried.")
    page.get_by_role("textbox", name="Worker").fill("charge")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete all that match").click()
    expect(page.locator("#said")).to_contain_text("deleted.")
    page.get_by_role("link", name="Queues").click()
    page.get_by_role("button", name="Pause mail").click()
    expect(page.locator("#said")).to_contain_text("Queue mail paused")


def test_nothing_in_a_payload_runs(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>\"'"
    fields: dict[str, Any] = {
        "error_class": evil,
        "error_message": evil,
        "tags": [evil],
        "error_backtrace": [evil],
    }
    fleet.client.zadd(fleet.keys.dead, {failed("a", worker=evil, args=[evil], **fields): time.time()})
    fleet.client.lpush(fleet.keys.queue(evil), job("b", worker=evil))
    fleet.client.sadd(fleet.keys.queues, evil)
    page = open_page(f"{serve()}/dead")
    page.locator("#live.on").wait_for()
    page.locator("a.worker").click()
    expect(page.locator("pre.payload")).to_contain_text("<img src=x onerror=alert(2)>")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#said")).to_have_text("1 job retried.")
    page.get_by_role("link", name="Queues").click()
    page.locator("#live.on").wait_for()
    page.locator("a.worker").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("alert")


def test_keys_are_enough(fleet: Fleet, serve: Serve, open_page: Open) -> None:
    dead(fleet, 3)
    page = open_page(f"{serve()}/dead")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    reached = list[str]()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
    assert {"worker", "error", "text", "More", "Search", "ref", "Worker", "Retry…", "row"} <= set(reached), reached
    box(page, "j1").first.focus()
    page.keyboard.press("Space")
    expect(box(page, "j1").first).to_be_checked()
    page.locator("button[data-chosen]", has_text="Delete").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Back")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("1 job deleted.")


def test_a_redis_that_goes_and_comes_back_is_shown_so(private_valkey: Any, serve: Serve, open_page: Open) -> None:
    server = private_valkey()
    page = open_page(f"{serve(url=server.url)}/queues")
    expect(page.locator("#live.on")).to_be_visible()
    server.stop()
    expect(page.locator("#trouble")).to_contain_text("What stands here is from before.", timeout=15_000)
    server.start()
    expect(page.locator("#trouble")).to_be_hidden(timeout=15_000)
    expect(page.locator("#live.on")).to_be_visible()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_who_wants_no_motion(serve: Serve, open_page: Open, motion: str) -> None:
    page = open_page(serve(), reduced_motion=motion)
    page.locator("#live.on").wait_for()
    name = page.evaluate("getComputedStyle(document.getElementById('pulse')).animationName")
    assert name == ("none" if motion == "reduce" else "pulse")
