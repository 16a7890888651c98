"""The live view: what it shows, what its keys do, and that the terminal is as it was when it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from exq_anyio.api import BusyJob, Entry, NodeInfo, QueueInfo, Second, Stats
from exq_anyio.cli.dashboard import COLUMNS, Action, Cursor, Seen, bars, draw, press, share
from exq_anyio.cli.top import keys
from exq_anyio.job import Job
from exq_anyio.upkeep import Place, Raw

from ..conftest import PrivateValkey
from .conftest import Shell, Terminal, until
from .operator import Namespace, Typed, jid, lines

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def payload(number: int, **fields: object) -> bytes:
    record = {"class": "Mail", "args": [], "jid": jid(number), "error_class": "Oops", "error_message": "no", **fields}
    return json.dumps(record).encode()


def seen(**changed: Any) -> Seen:
    """A look at two of each."""
    job = Job.decode(payload(1))
    node = NodeInfo(
        node_id="web-1#1", host="h", pid=1, started=NOW, beat=NOW, queues=("mail",), concurrency=10, busy=2,
        quiet=False, rss=51200, rtt=None, tag="", version="", labels=(),
    )  # fmt: skip
    queue = QueueInfo(name="mail", size=1234, latency=42.0, paused=False, known=True)
    busy = BusyJob(node_id="web-1#1", thread="t", queue="mail", started=NOW - timedelta(60), job=job, payload=b"")
    dead = Entry.read(Place("dead"), Raw(payload(2, failed_at=NOW.timestamp() - 60), "1.0", 0), 0)
    retry = Entry.read(Place("retry"), Raw(payload(3, failed_at=NOW.timestamp() - 5), repr(NOW.timestamp() + 30), 0), 0)
    fields: dict[str, Any] = {
        "at": NOW,
        "stats": Stats(processed=99, failed=7, enqueued=5, scheduled=4, retry=3, dead=2, busy=2, nodes=2),
        "rate": 1234.5,
        "seconds": [Second(NOW, number, number % 2) for number in range(60)],
        "queues": [queue, attrs.evolve(queue, name="low", paused=True)],
        "nodes": [node, attrs.evolve(node, node_id="web-2#1", quiet=True)],
        "busy": [busy, attrs.evolve(busy, thread="u")],
        "failed": [retry, dead],
    }
    return Seen(**{**fields, **changed})


def typed_keys(*pressed: str, look: Seen) -> tuple[Cursor, Action | None]:
    cursor, action = Cursor(), None
    for key in pressed:
        cursor, action = press(key, cursor, look)
    return cursor, action


# What the keys mean


@pytest.mark.parametrize(
    ("pressed", "asks"),
    [
        (["p"], "pause queue mail"),
        (["down", "p"], "resume queue low"),
        (["\t", "Q"], "quiet node web-1#1"),
        (["\t", "\t", "c"], f"cancel {jid(1)} (Mail)"),
        (["left", "down", "down", "down", "r"], f"retry {jid(2)} (Mail)"),
    ],
)
def test_a_key_asks_first_and_acts_upon_yes(pressed: list[str], asks: str) -> None:
    look = seen()
    cursor, action = typed_keys(*pressed, look=look)
    assert (str(cursor.asked), action) == (asks, None)
    assert f"{asks}? [y/N]" in "\n".join(map(str, draw(look, cursor, 80, 24)))
    cursor, action = typed_keys(*pressed, "y", look=look)
    assert (cursor.asked, str(action)) == (None, asks)
    cursor, action = typed_keys(*pressed, "n", look=look)
    assert (cursor.asked, action, cursor.told) == (None, None, "nothing was done")


def test_a_key_of_another_pane_says_where_it_belongs() -> None:
    cursor, action = typed_keys("c", look=seen())
    assert (cursor.told, cursor.asked, action) == ("c is for a running job: go there with Tab", None, None)
    cursor, _ = typed_keys("\t", "Q", look=seen(nodes=[]))
    assert cursor.asked is None


def test_q_ends_it_but_at_a_question_only_that() -> None:
    assert typed_keys("q", look=seen())[0].ended
    cursor, action = typed_keys("p", "q", look=seen())
    assert (cursor.ended, cursor.asked, action) == (False, None, None)


def test_what_a_terminal_sends_is_read_key_by_key() -> None:
    assert keys("\x1b[A\x1b[Bq\t\x1b[Z\x1b") == ["up", "down", "q", "\t", "left", "\x1b"]


# What is shown


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [5, 12, 24, 60])
def test_the_screen_is_never_too_wide_or_too_high(width: int, height: int) -> None:
    look = seen(busy=[*seen().busy] * 40)
    for pane in COLUMNS:
        shown = draw(look, Cursor(pane=pane, row=3), width, height)
        assert len(shown) <= height
        assert max(line.cell_len for line in shown) <= width


def test_the_row_of_the_cursor_is_always_among_those_that_are_shown() -> None:
    look = seen(queues=[attrs.evolve(seen().queues[0], name=f"queue{number}") for number in range(100)])
    for row in (0, 50, 99):
        shown = draw(look, Cursor(row=row), 80, 24)
        (chosen,) = [line for line in shown if any("reverse" in str(span.style) for span in line.spans)]
        assert chosen.plain.startswith(f"queue{row} ")


def test_the_figures_are_there() -> None:
    text = "\n".join(line.plain for line in draw(seen(), Cursor(), 100, 40))
    for part in (
        "1,234 jobs/s",
        "longest wait 42s",
        "5 failures in 10 s",
        "processed 99",
        "paused",
        "quiet",
        "Oops: no",
    ):
        assert part in text


def test_bars_are_as_high_as_their_values() -> None:
    assert bars([0, 1, 4, 8], 80) == " ▁▄█"
    assert bars([0, 0], 80) == "  "
    assert bars(range(100), 10).endswith("█")
    assert len(bars(range(100), 10)) == 10


def test_lines_are_shared_out() -> None:
    assert share([3, 3, 50, 1], 12) == [3, 3, 5, 1]
    assert share([2, 2], 100) == [2, 2]


# As a program


def test_it_is_shown_once_as_text(typed: Typed, there: Namespace) -> None:
    there.queue("mail", there.job(1))
    there.node("web-1#1")
    there.runs("web-1#1", 8)
    there.put("dead", {there.failed(3): 1e9})
    status, out, err = typed("top", "--once")
    assert (status, err) == (0, "")
    for part in ("QUEUE", "mail", "web-1#1", jid(8), jid(3), "TimeoutError"):
        assert part in out
    (record,) = lines(typed("top", "--once", "--json")[1])
    assert (record["enqueued"], record["nodes"], record["rate"]) == (1, 1, 0.0)


def test_without_a_terminal_it_says_what_else_there_is(typed: Typed) -> None:
    status, _, err = typed("top")
    assert status == 2
    assert "this needs a terminal; --once shows it as text" in err


def test_keys_at_a_terminal_pause_a_queue_and_retry_a_job(shell: Shell, there: Namespace) -> None:
    there.queue("mail", there.job(1))
    there.put("dead", {there.failed(3): 1e9})
    shown = Terminal(shell, "top", "--interval", "0.1")
    shown.until("mail")
    shown.type("p")
    shown.until("pause queue mail? [y/N]")
    shown.type("y")
    shown.until("paused: mail")
    assert there.client.sismember(f"{there.name}:paused", "mail")
    shown.type("\x1b[Dr")
    shown.until(f"retry {jid(3)} (Mail)? [y/N]")
    shown.type("y")
    until(lambda: there.jids("queue:default") == [jid(3)], "the job is back")
    shown.type("q")
    assert shown.ends() == 0
    assert shown.said.endswith("\x1b[?25h\x1b[?1049l")  # the cursor and the screen are as they were


def test_while_redis_is_away_it_says_so_and_goes_on(shell: Shell, private_valkey: Callable[..., PrivateValkey]) -> None:
    server = private_valkey()
    shown = Terminal(shell, "top", "--interval", "0.1", "--redis-url", server.url)
    shown.until("QUEUE")
    server.kill()
    shown.until("Redis at unix:")
    server.start()
    shown.said = ""
    while "Redis at unix:" in (shown.said.split("\x1b[H")[1:-1] or ["Redis at unix:"])[-1]:  # the last whole screen
        shown.more()
    shown.process.send_signal(signal.SIGINT)
    assert shown.ends() == 130
