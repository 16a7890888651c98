"""Every page in every form: nothing to complain of, for axe and for the console; pictures of all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .conftest import Fleet, Open, Serve

AXE = (Path(__file__).parent.parent / "axe" / "axe.min.js").read_text(encoding="utf-8")

PAGES = {
    "dashboard": "/",
    "queues": "/queues",
    "queue": "/queues/mail",
    "busy": "/busy",
    "retries": "/retries",
    "scheduled": "/scheduled",
    "dead": "/dead",
    "search": "/dead?worker=charge&error=Card",
    "job": "",
    "periodic": "/periodic",
    "metrics": "/metrics",
    "worker": "/metrics/worker?worker=charge_card",
    "bulk": "/bulk?place=dead&action=retry&worker=charge",
    "enqueue": "/enqueue",
    "nothing": "/retries?worker=none",
}

FORMS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "wide": 390, "high": 844, "has_touch": True, "is_mobile": True},
    "phone-dark": {"color_scheme": "dark", "wide": 390, "high": 844, "has_touch": True, "is_mobile": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_page_is_accessible_and_fits(fleet: Fleet, serve: Serve, open_page: Open, form: str) -> None:
    fleet.fill()
    address, shots = serve("--allow-enqueue"), os.environ.get("EXQ_UI_SHOTS")
    for name, path in PAGES.items():
        page = open_page(f"{address}{path or '/dead'}", **FORMS[form])
        if name == "job":
            page.locator("a.worker").first.click()
            page.get_by_role("heading", name="Facts").wait_for()
        if page.locator("[data-block=live]").count():
            page.locator("#live.on").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen"
        if shots:
            page.screenshot(path=f"{shots}/{name}-{form}.png", full_page="phone" in form and name != "dead")
        check(page, f"{name} {form}")
        page.context.close()


def check(page: Any, name: str) -> None:
    """No rule of axe is broken, and none is left out."""
    # By the way of a tool, past the policy of the page, which forbids scripts within it.
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": AXE})
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [
        (name, violation["id"], [(node["html"][:200], node["failureSummary"]) for node in violation["nodes"]][:3])
        for violation in found["violations"]
    ] == []
    assert found["testEngine"]["name"] == "axe-core"


def test_pages_of_nothing_are_accessible(serve: Serve, open_page: Open) -> None:
    address = serve()
    for path in ("/", "/queues", "/busy", "/retries", "/scheduled", "/dead", "/queues/none"):
        page = open_page(f"{address}{path}")
        page.locator("#live.on").wait_for()
        check(page, path)


def test_pages_of_what_went_wrong_are_accessible(serve: Serve, chromium: Any) -> None:
    # Not by `open_page`: Chromium itself complains of such a status in its console.
    address = serve()
    context = chromium.new_context()
    for path in ("/nowhere", "/find?jid=x", "/job?ref=dead~1.5~0~x", "/dead?size=x"):
        page = context.new_page()
        page.goto(f"{address}{path}")
        check(page, path)
    context.close()
