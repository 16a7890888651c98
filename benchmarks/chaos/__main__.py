"""See :mod:`benchmarks.chaos`."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import valkey

from .account import Account, Remains, Run, gather
from .cast import Cast
from .faults import Faults
from .proxy import Network

SETTLE = 90.0
"""Seconds after the last fault within which every job must have come to its end."""

LONG = 10.0
"""Minutes from which on each fault must have been made ten times."""

NAMESPACE = "exq:"


def main() -> None:
    """Make chaos, and give account."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", default=None, help="what decides the jobs and the faults; random by default")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--rate", type=float, default=40, help="calls to enqueue a second, about three jobs each")
    parser.add_argument("--keep", action="store_true", help="keep what the processes wrote, also when all is well")
    asked = parser.parse_args()
    seed = asked.seed or secrets.token_hex(4)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave no process behind
    print(f"seed={seed} backend={asked.backend} minutes={asked.minutes:g}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="exq-chaos-"))
    problems = run(directory, seed, asked.backend, asked.minutes, asked.rate)
    for problem in problems:
        print(f"PROBLEM {problem}")
    if problems or asked.keep:
        print(f"what the processes wrote is in {directory}")
    else:
        shutil.rmtree(directory)
    sys.exit(bool(problems))


def run(directory: Path, seed: str, backend: str, minutes: float, rate: float) -> list[str]:
    """One run: print its table, and return what is wrong."""
    with Network() as network:
        cast = Cast(directory, network, backend, seed, rate)
        try:
            faults = Faults(cast, random.Random(seed))
            faults.make(minutes * 60)
            problems = cast.stop_producers()
            settled = settle(cast)
            for worker in cast.workers:
                faults.stop(worker)
            problems += [problem for worker in cast.workers for problem in worker.ended_badly]
            remains = look(cast)
        finally:
            cast.kill()
        account = gather(directory, remains)
        print(table(account, faults, cast, settled))
        return problems + check(account, faults, minutes)


def settle(cast: Cast) -> float:
    """Wait until no job is on its way any more, at most :data:`SETTLE` seconds; how long it took."""
    started = time.monotonic()
    for proxy in cast.proxies:
        proxy.heal()
    while time.monotonic() - started < SETTLE:
        for worker in cast.workers:
            worker.revive()
        if not look(cast).pending:
            break
        time.sleep(0.2)
    return time.monotonic() - started


def look(cast: Cast) -> Remains:
    """What Redis holds, by way of no proxy."""
    with valkey.Valkey(unix_socket_path=cast.server.socket, decode_responses=True) as client:
        reader: Any = client
        keys = [key.removeprefix(NAMESPACE) for key in reader.scan_iter(f"{NAMESPACE}*", count=1000)]
        pending = {key: reader.llen(NAMESPACE + key) for key in keys if key.startswith("queue:")}
        pending |= {key: reader.zcard(NAMESPACE + key) for key in ("schedule", "retry")}
        return Remains(
            processed=int(reader.get(f"{NAMESPACE}stat:processed") or 0),
            failed=int(reader.get(f"{NAMESPACE}stat:failed") or 0),
            dead=Counter(json.loads(member)["jid"] for member in reader.zrange(f"{NAMESPACE}dead", 0, -1)),
            pending={key: count for key, count in pending.items() if count},
            locks=frozenset(key.removeprefix("unique:") for key in keys if key.startswith("unique:token-")),
            nodes=frozenset(key for key in keys if "#" in key or key in ("leases", "processes", "heartbeats")),
        )


def check(account: Account, faults: Faults, minutes: float) -> list[str]:
    """What is wrong."""
    remains = account.remains
    wrong = [
        ("lost", account.lost),
        ("ran although the enqueue surely failed", account.unwanted),
        ("run again without a reason", [f"{_told(run)} then {_told(after)}" for run, after in account.unexcused]),
        ("accounted more than once", account.miscounted),
        ("not accounted although the claim was kept", [_told(run) for run in account.refused]),
        ("stops that took too long", [f"{took:.2f} s" for took in faults.late]),
        ("still pending", [f"{key}: {count}" for key, count in remains.pending.items()]),
        ("left in Redis", sorted(remains.nodes | remains.locks)),
    ]
    problems = [f"{what}: {len(found)}: {', '.join(found[:5])}" for what, found in wrong if found]
    for name, wanted, found in (
        ("processed", account.processed, remains.processed),
        ("failed", account.failed, remains.failed),
    ):
        if wanted != found:
            problems.append(f"{name}: {wanted} were, Redis says {found}")
    if minutes >= LONG:
        problems += [f"made only {count} times: {kind}" for kind, count in faults.made.items() if count < 10]
    if not account.existing:
        problems.append("nothing was done at all")
    return problems


def table(account: Account, faults: Faults, cast: Cast, settled: float) -> str:
    """What happened, in figures."""
    told = Counter(job.told for job in account.jobs.values())
    void = Counter(run.void for job in account.jobs.values() for run in job.runs if run.void)
    remains = account.remains
    rows: list[tuple[str, object]] = [
        *sorted(faults.made.items()),
        ("workers that found no Redis at their start", sum(worker.refused_starts for worker in cast.workers)),
        ("longest stop after SIGTERM, seconds", f"{max(faults.stop_times):.2f}"),
        ("claims lost", account.events["lost"]),
        ("nodes rescued", account.events["rescued"]),
        ("jobs enqueued", told["accepted"]),
        ("enqueues refused: surely not done", told["failed"]),
        ("enqueues refused: the lock is held", told["conflict"]),
        ("enqueues that may have happened", told["uncertain"] + told["sent"]),
        ("  of them did", sum(bool(job.runs) for job in account.jobs.values() if job.told in ("uncertain", "sent"))),
        ("runs", sum(len(job.runs) for job in account.jobs.values())),
        *((f"  not accounted: {why}", count) for why, count in sorted(void.items())),
        ("seconds until all was settled", f"{settled:.1f}"),
        ("LOST", len(account.lost)),
        ("run to the end twice, as promise 2 allows", len(account.twice)),
        ("RUN TWICE WITHOUT A REASON", len(account.unexcused)),
        ("processed: were / counted", f"{account.processed} / {remains.processed}"),
        ("failed: were / counted", f"{account.failed} / {remains.failed}"),
        ("left in queues, backups, schedule, retry", sum(remains.pending.values())),
    ]
    return "\n".join(f"{name:<48} {value!s:>16}" for name, value in rows)


def _told(run: Run) -> str:
    over = "never" if run.over is None else f"{run.over:.3f}"
    return f"{run.jid}@{run.step} in {run.process} taken {run.taken:.3f} how={run.how} over {over}"


if __name__ == "__main__":
    main()
