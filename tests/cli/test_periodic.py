"""Periodic jobs as an operator sees and steers them."""

from __future__ import annotations

import json

import pytest

from .operator import Namespace, Typed, lines


@pytest.fixture
def added(typed: Typed) -> None:
    """Two of them."""
    nightly = ("nightly", "Reports::Daily", '["eu"]', "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    assert typed("periodic", "add", *nightly) == (0, "added: nightly, 0 3 * * * (Europe/Berlin)\n", "")
    assert typed("periodic", "add", "sweep", "sweep", "--every", "36000", "--queue", "low")[0] == 0


def test_where_there_are_none_that_is_said(typed: Typed) -> None:
    assert typed("periodic", "list") == (0, "There are no periodic jobs.\n", "")


@pytest.mark.usefixtures("added")
def test_all_are_shown_with_their_times(typed: Typed) -> None:
    assert typed("periodic", "pause", "nightly") == (0, "paused: nightly\n", "")
    _, out, _ = typed("periodic", "list")
    titles, nightly, sweep = (line.split() for line in out.splitlines())

    assert titles == ["NAME", "WHEN", "WORKER", "QUEUE", "NEXT", "LAST"]
    assert nightly == [
        "nightly",
        "0",
        "3",
        "*",
        "*",
        "*",
        "(Europe/Berlin)",
        "Reports::Daily",
        "default",
        "-",
        "-",
        "paused",
    ]
    assert (sweep[:6], sweep[6][0], sweep[7:]) == (
        ["sweep", "every", "36000", "s", "sweep", "low"],
        "+",
        ["-", "added"],
    )


@pytest.mark.usefixtures("added")
def test_all_are_told_to_programs(typed: Typed) -> None:
    nightly, sweep = lines(typed("periodic", "list", "--json")[1])

    assert nightly["schedule"] == {
        "cron": "0 3 * * *", "timezone": "Europe/Berlin", "missed": "once", "limit": 100,
    }  # fmt: skip
    assert (nightly["args"], nightly["next_tick"][10:16] in ("T01:00", "T02:00")) == (["eu"], True)
    assert (sweep["declared"], sweep["paused"], sweep["last_jid"]) == (False, False, "")


@pytest.mark.usefixtures("added")
def test_one_is_run_now(typed: Typed, there: Namespace) -> None:
    status, out, _ = typed("periodic", "run", "sweep")
    (payload,) = there.client.lrange(f"{there.name}:queue:low", 0, -1)

    assert (status, out) == (0, f"enqueued: sweep, {json.loads(payload)['jid']}\n")


@pytest.mark.usefixtures("added")
def test_one_is_resumed_and_removed(typed: Typed) -> None:
    assert typed("periodic", "resume", "sweep") == (0, "resumed: sweep\n", "")
    assert typed("periodic", "remove", "--yes", "sweep", "nightly")[:2] == (0, "removed: sweep\nremoved: nightly\n")
    assert typed("periodic", "list")[1] == "There are no periodic jobs.\n"


@pytest.mark.parametrize("command", ["pause", "resume", "run"])
def test_one_that_is_not_there_is_named(command: str, typed: Typed) -> None:
    status, out, err = typed("periodic", command, "nobody")

    assert (status, out, err.startswith("exq: there is no periodic job 'nobody'")) == (3, "", True)


def test_a_schedule_that_cannot_be_is_one_line(typed: Typed) -> None:
    assert typed("periodic", "add", "a", "w", "--cron", "x") == (
        *(1, "", "exq: cron: 'x' cannot be: wrong number of fields\n"),
    )
    assert typed("periodic", "add", "a", "w")[0] == 1
