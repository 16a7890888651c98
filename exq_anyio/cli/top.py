"""``exq top``: a live view of everything, with keys to steer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .options import api_command, ask_api

if TYPE_CHECKING:
    from ..api import Api
    from ..config import Config
    from .dashboard import Action, Cursor, Seen

FAILED = 50
"""Failed jobs that are looked at, of each of the two sets."""

RECENT = 10
"""Seconds over which the rate is taken at the first look."""

ESCAPES = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b[Z": "left"}
"""What terminals send for some keys."""


@click.command()
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Between looks.",
)
@click.option("--once", is_flag=True, help="Show it once, as text.")
@api_command
def top(config: Config, interval: float, once: bool, as_json: bool) -> None:
    """Watch all of it live, and steer.

    Throughput, latency, queues, nodes, running jobs and failures.  Keys: Tab to the next pane, arrows to a row, p to
    pause or resume a queue, Q to make a node quiet, c to cancel a running job, r to retry a failed one, q to quit.
    With --json it says the figures once for each look, one object a line.

    Examples:
      exq top
      exq top --interval 0.5
      exq top --once
    """
    if once or as_json:
        return ask_api(config, lambda api: _plain(api, interval, once=once, as_json=as_json))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this needs a terminal; --once shows it as text, --json is for programs")
    return ask_api(config, lambda api: _watch(api, interval))


async def look(api: Api, before: tuple[float, int] | None) -> tuple[Seen, tuple[float, int]]:
    """What is there, and when how many runs had ended, for the next look."""
    from .dashboard import Seen, latest_first

    stats = await api.stats()
    now = time.monotonic()
    passed = now - before[0] if before else 0.0
    retries, dead = await api.retries().page(0, FAILED), await api.dead().page(0, FAILED)
    at, seconds = datetime.now(UTC), await api.realtime(60)
    if before and passed:
        rate = max(0, stats.processed - before[1]) / passed
    else:
        rate = sum(second.processed for second in seconds[-RECENT:]) / RECENT
    seen = Seen(
        at=at,
        stats=stats,
        rate=rate,
        seconds=seconds,
        queues=await api.queues(),
        nodes=await api.nodes(),
        busy=sorted(await api.busy(), key=lambda job: job.started or at),
        failed=latest_first([*retries, *dead]),
    )
    return seen, (now, stats.processed)


async def _plain(api: Api, interval: float, *, once: bool, as_json: bool) -> None:
    import anyio

    from . import records
    from .dashboard import Cursor, draw
    from .table import Screen

    before = None
    while True:
        seen, before = await look(api, before)
        if as_json:
            said = records.stats(seen.stats)
            records.write({"at": seen.at.isoformat(), "rate": round(seen.rate, 1), **said})
            sys.stdout.flush()
        else:
            screen = Screen()
            for line in draw(seen, Cursor(row=-1), screen.width, 100)[:-1]:
                line.rstrip()
                screen.print(line, no_wrap=True, crop=False, overflow="ignore")
        if once:
            return
        await anyio.sleep(interval)


class Watch:
    """The screen, and what is behind it."""

    def __init__(self, api: Api, interval: float) -> None:
        import anyio
        from rich.live import Live

        from .dashboard import Cursor
        from .table import Screen

        self._api = api
        self._interval = interval
        self._screen = Screen()
        self._live = Live(console=self._screen, screen=True, auto_refresh=False)
        self._seen: Seen | None = None
        self._trouble = ""
        self._look = anyio.Event()
        self.cursor: Cursor = Cursor()

    def __enter__(self) -> None:
        self._live.start()
        self.show()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self) -> None:
        """Show what is known."""
        from rich.console import Group

        from .dashboard import draw

        width, height = self._screen.size
        self._live.update(Group(*draw(self._seen, self.cursor, width, height, self._trouble)), refresh=True)

    async def look_again_and_again(self) -> None:
        """Look every *interval* seconds, and when something was done; go on when Redis is away."""
        import anyio

        from ..errors import ExqError

        before = None
        while True:
            self._look = anyio.Event()
            try:
                self._seen, before = await look(self._api, before)
                self._trouble = ""
            except ExqError as error:
                self._trouble = str(error)
            self.show()
            with anyio.move_on_after(self._interval):
                await self._look.wait()

    async def obey(self, key: str) -> None:
        """Do what *key* says."""
        import attrs

        from ..errors import ExqError
        from .dashboard import press

        self.cursor, action = press(key, self.cursor, self._seen)
        if action is not None:
            try:
                told = await perform(self._api, action)
            except (ExqError, ValueError) as error:
                told = str(error)
            self.cursor = attrs.evolve(self.cursor, told=told)
            self._look.set()
        self.show()


async def perform(api: Api, action: Action) -> str:
    """Do it, and say what came of it."""
    from ..api import BusyJob, Entry, NodeInfo, QueueInfo

    match action.verb, action.target:
        case "pause", QueueInfo(name=name):
            return f"paused: {name}, {len(await api.pause(name))} told"
        case "resume", QueueInfo(name=name):
            return f"resumed: {name}, {len(await api.resume(name))} told"
        case "quiet", NodeInfo(node_id=node_id):
            return f"made quiet: {node_id}" if await api.quiet(node_id) else f"{node_id} is gone"
        case "cancel", BusyJob(jid=jid):
            return f"told {len((await api.cancel(jid)).nodes)} nodes to cancel {jid}"
        case "retry", Entry() as entry:
            done = await api.at(entry.place).retry(entry)
            return f"retried: {entry.jid}" if done else f"{entry.jid} has just left {entry.place}"
        case _:
            raise AssertionError(action)


async def _watch(api: Api, interval: float) -> None:
    import anyio

    watch = Watch(api, interval)
    with _raw_keys(), watch:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.look_again_and_again)
            while not watch.cursor.ended:
                await anyio.wait_readable(sys.stdin.fileno())
                for key in keys(os.read(sys.stdin.fileno(), 64).decode("utf-8", "ignore") or "q"):
                    await watch.obey(key)
            tasks.cancel_scope.cancel()


@contextmanager
def _raw_keys() -> Iterator[None]:
    """Have each key at once and not shown; Ctrl-C and Ctrl-Z as ever."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def keys(text: str) -> list[str]:
    """The keys in what a terminal sent."""
    found = []
    while text:
        escape = next((escape for escape in ESCAPES if text.startswith(escape)), "")
        found.append(ESCAPES.get(escape, text[0]))
        text = text[len(escape) or 1 :]
    return found
