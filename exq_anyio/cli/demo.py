"""``exq demo``: an embedded Valkey, a worker, some jobs, and an account of what became of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click

from .options import Backend, backend_option, backend_options

if TYPE_CHECKING:
    import anyio

    from ..redis.connect import Connections
    from ..redis.keys import Keys
    from .demo_account import Account
    from .demo_jobs import Kind, Ledger, Pushed
    from .demo_view import View

CHUNK = 1_000
"""Jobs in one LPUSH."""

LOOK = 0.1
"""Seconds between two looks at the counts."""


@click.command()
@backend_option
@click.option("--jobs", type=click.IntRange(30, 1_000_000), default=1_000, show_default=True, help="How many.")
def demo(backend: Backend, jobs: int) -> None:
    """See it work, with an embedded Valkey.

    A worker with three queues performs some jobs of every sort.

    The jobs are pushed as Sidekiq writes them.  In the end the figures are read back from Redis and compared with what
    was pushed: the exit status is 0 if they add up, and else 1.
    """
    import anyio

    from .demo_jobs import plan
    from .demo_view import View
    from .logs import configure

    configure("error")  # jobs that fail are part of the show, and no news
    kinds, options = plan(jobs), backend_options(backend)
    view = View(kinds, f"{backend} with uvloop" if options else backend)
    account = anyio.run(_interruptible, kinds, view, backend=backend, backend_options=options)
    if account is None:
        raise KeyboardInterrupt
    view.summary(account)
    if not account.adds_up:
        sys.exit(1)


async def _interruptible(kinds: Sequence[Kind], view: View) -> Account | None:
    """What :func:`perform` returns; None after Ctrl-C, when all has been cleared away."""
    import anyio

    account: Account | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_interrupt, tasks.cancel_scope)
        account = await perform(kinds, view)
        tasks.cancel_scope.cancel()
    return account


async def _interrupt(scope: anyio.CancelScope) -> None:
    import signal

    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def perform(kinds: Sequence[Kind], view: View) -> Account:
    """Push the jobs of *kinds*, have a worker perform them, and read back what is then in Redis.

    Raises:
        ConfigError: there is no server to start.
    """
    from .. import app
    from ..address import Address, Unix
    from ..redis.connect import open_connections
    from ..redis.dial import dialer
    from ..redis.embedded import embedded_server
    from ..redis.inspect import read_counts
    from ..redis.keys import Keys
    from .demo_account import Account
    from .demo_jobs import QUEUES, Ledger, payloads, workers

    ledger, keys = Ledger(), Keys("demo")
    async with embedded_server() as server:
        # Connections of its own, as another program's: what the worker says of itself is not what is believed here.
        address = Address(place=Unix(server.socket))
        async with open_connections(address, dialer(address, "demo", client_name="exq_demo")) as connections:
            pushed = list(payloads(kinds, time.time()))
            await push(connections, keys, pushed)
            view.begins(await _version(connections), len(pushed))
            started = time.monotonic()
            async with app.open(
                url=server.url,
                namespace="demo",
                queues=QUEUES,
                workers=workers(ledger),
                scheduler_poll_timeout=0.1,
            ) as q:
                nodes = [q.node_id or ""]
                await _watch(connections, keys, nodes, ledger, view, limit=15 + len(pushed) / 2_000)
            took = time.monotonic() - started
            counts = await read_counts(connections, keys, nodes)
            dead = await connections.commands.request(b"ZRANGE", keys.dead, 0, -1)
    return Account(tuple(pushed), tuple(kinds), counts, frozenset(cast("list[bytes]", dead)), ledger, took)


async def push(connections: Connections, keys: Keys, jobs: Sequence[Pushed]) -> None:
    """Put *jobs* in Redis with Sidekiq's own commands: SADD, LPUSH, ZADD."""
    request = connections.commands.request
    for queue in dict.fromkeys(job.kind.queue for job in jobs):
        await request(b"SADD", keys.queues, queue)
        now = [job.payload for job in jobs if job.kind.queue == queue and job.due is None]
        for at in range(0, len(now), CHUNK):
            await request(b"LPUSH", keys.queue(queue), *now[at : at + CHUNK])
    for job in jobs:
        if job.due is not None:
            await request(b"ZADD", keys.schedule, repr(job.due), job.payload)


async def _watch(
    connections: Connections, keys: Keys, nodes: Sequence[str], ledger: Ledger, view: View, limit: float
) -> None:
    """Show the counts until no job is left to be performed, or *limit* seconds have passed."""
    import anyio

    from ..redis.inspect import read_counts

    with view, anyio.move_on_after(limit):
        while True:
            counts = await read_counts(connections, keys, nodes)
            view.show(counts, ledger)
            if counts.pending == 0:
                return
            await anyio.sleep(LOOK)


async def _version(connections: Connections) -> str:
    """The server's name and version."""
    text = cast("bytes", await connections.commands.request(b"INFO", "server")).decode()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return f"Valkey {fields['valkey_version']}" if "valkey_version" in fields else f"Redis {fields['redis_version']}"
