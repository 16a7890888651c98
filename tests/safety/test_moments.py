"""At whatever moment and in whatever way an instance ends, no job is lost, and each run is counted once.

Each moment is planned from a seed, which a failure shows; ``EXQ_MOMENT=<seed>`` repeats that plan, as often as there
would be moments.  ``EXQ_MOMENTS`` says how many there are.
"""

from __future__ import annotations

import logging
import math
import os
import random
import secrets
import time
from collections.abc import Sequence
from enum import Enum
from typing import Literal

import anyio
import anyio.lowlevel
import attrs
import coredis
import pytest

import exq_anyio as exq
from exq_anyio.job import encode
from exq_anyio.node import node
from exq_anyio.redis.embedded import EmbeddedServer

from .ledger import Ledger, Record, Remains, remains

MOMENTS = int(os.environ.get("EXQ_MOMENTS", "80"))
ONE = os.environ.get("EXQ_MOMENT")
LANES = 4
"""Moments at a time: one spends most of its time waiting."""

NODE = "moment"
QUEUES = ("fast", "slow", "odd")


class Way(Enum):
    LEAVE = "the block is left"
    CANCEL = "the caller is cancelled"
    RAISE = "the body raises"
    SIGNAL = "TERM is sent to the node"


class Boom(Exception):
    """What the body raises."""


@attrs.frozen(kw_only=True)
class Plan:
    """One moment."""

    seed: str
    way: Way
    early: bool
    """Whether the time runs from before the instance is opened, and not from when its first job has begun."""
    after: float
    """Seconds until the end."""
    shutdown_timeout: float
    timestamps: Literal["seconds", "milliseconds"]
    queues: dict[str, float]
    waiting: list[tuple[str, bytes]]
    """Queue and payload of what is there before."""
    pushed: list[list[exq.JobSpec]]
    """What is enqueued meanwhile, call by call."""


# The plan

_LONG = encode({"class": "sleeping", "args": ["waiting-0", 10], "retry": True, "jid": "jid-waiting-0"})
"""First in its queue, and in progress from then on."""


def plan(seed: str) -> Plan:
    rng = random.Random(seed)
    return Plan(
        seed=seed,
        way=rng.choice(list(Way)),
        early=rng.random() < 0.12,
        after=rng.triangular(0, 0.15, 0.03),
        shutdown_timeout=rng.choice([0, 0.002, 0.01, 0.05]),
        timestamps=rng.choice(["seconds", "milliseconds"]),
        queues={queue: rng.choice([1, 3, 20, float("inf")]) for queue in QUEUES},
        waiting=[(rng.choice(QUEUES), _LONG), *(_waiting(rng, number) for number in range(1, rng.randint(5, 40)))],
        pushed=[
            [_spec(rng, f"pushed-{call}-{number}") for number in range(rng.choice([1, 1, 2, 20]))]
            for call in range(rng.randint(0, 30))
        ],
    )


def _waiting(rng: random.Random, number: int) -> tuple[str, bytes]:
    """What another program has put in."""
    name, queue = f"waiting-{number}", rng.choice(QUEUES)
    if rng.random() < 0.05:
        return queue, rng.choice([f"no JSON {name}", f'["no object {name}"]']).encode()
    worker, args, more = rng.choice(_KINDS)(rng, name)
    more.pop("unique", None)
    more.pop("after", None)
    record: Record = {"class": worker, "args": args, "retry": True, "jid": f"jid-{name}", "queue": queue, **more}
    if rng.random() < 0.2:  # as Resque writes it
        record = {"class": worker, "args": args}
    return queue, encode(record)


def _spec(rng: random.Random, name: str) -> exq.JobSpec:
    worker, args, more = rng.choice(_KINDS)(rng, name)
    spec = exq.JobSpec(worker=worker, args=tuple(args)).on(queue=rng.choice(QUEUES), jid=f"jid-{name}")
    if "retry" in more:
        spec = spec.on(max_retries=more["retry"])
    if "unique" in more:
        spec = spec.on(unique_token=more["unique"], unique_for=60)
    return spec.on(after=more["after"]) if "after" in more else spec


def _quick(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "quick", [name], {}


def _sleeping(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "sleeping", [name, rng.choice([rng.triangular(0, 0.1, 0.01), 10])], {}


def _failing(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "failing", [name, rng.choice([0, 0.005])], {"retry": rng.choice([False, 0, 1, True])}


def _flaky(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "flaky", [name], {}


def _snoozing(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "snoozing", [name], {}


def _threaded(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "threaded", [name, rng.triangular(0, 0.03, 0.001)], {}


def _scheduled(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    return "quick", [name], {"after": rng.triangular(0.001, 0.3, 0.02)}


def _unique(rng: random.Random, name: str) -> tuple[str, list[object], Record]:
    worker = rng.choice(["quick", "sleeping", "flaky", "snoozing"])
    args: list[object] = [name, 0.01] if worker == "sleeping" else [name]
    return worker, args, {"unique": f"token-{rng.randint(0, 5)}"}


_KINDS = (_quick, _quick, _sleeping, _failing, _flaky, _snoozing, _threaded, _scheduled, _unique)


def _workers(ledger: Ledger) -> list[object]:
    """Workers that write down in *ledger*, as their last act, how they end."""

    @exq.worker(name="quick")
    async def quick(name: str) -> None:
        ledger.done[name] += 1

    @exq.worker(name="sleeping")
    async def sleeping(name: str, seconds: float) -> None:
        with ledger.run():
            await anyio.sleep(seconds)
            ledger.done[name] += 1

    @exq.worker(name="failing")
    async def failing(name: str, seconds: float) -> None:
        with ledger.run():
            if seconds:
                await anyio.sleep(seconds)
            ledger.failed[name] += 1
            raise ValueError("as planned")

    @exq.worker(name="flaky")
    async def flaky(name: str) -> None:
        with ledger.run():
            await anyio.lowlevel.checkpoint()
            if exq.worker_job().attempt < 3:
                ledger.failed[name] += 1
                raise ValueError("not yet")
            ledger.done[name] += 1

    @exq.worker(name="snoozing")
    async def snoozing(name: str) -> exq.Snooze | None:
        with ledger.run():
            await anyio.lowlevel.checkpoint()
            if exq.worker_job().snooze_count < 2:
                ledger.snoozed[name] += 1
                return exq.Snooze(0.003)
            ledger.done[name] += 1
            return None

    @exq.worker(name="threaded")
    def threaded(name: str, seconds: float) -> None:
        time.sleep(seconds)
        ledger.done[name] += 1

    return [quick, sleeping, failing, flaky, snoozing, threaded]


# The moment


async def _moment(plan: Plan, url: str, redis: coredis.Redis[bytes], namespace: str) -> tuple[Ledger, Remains]:
    """Live through *plan*: what the jobs wrote down, and what is left."""
    ledger = Ledger()
    for number, (queue, payload) in enumerate(plan.waiting):
        await redis.sadd(f"{namespace}:queues", [queue])
        await redis.lpush(f"{namespace}:queue:{queue}", [payload])
        ledger.accepted.add(payload.decode() if b'"class"' not in payload else f"waiting-{number}")
    arrived: BaseException | None = None
    with anyio.CancelScope() as caller:
        if plan.early:
            _set_end(plan, ledger, caller)
        try:
            async with exq.open(
                url=url,
                namespace=namespace,
                node_identifier=NODE,
                workers=_workers(ledger),
                queues=plan.queues,
                shutdown_timeout=plan.shutdown_timeout,
                timestamps=plan.timestamps,
                scheduler_poll_timeout=0.01,
                heartbeat_interval=0.05,
                redis_options={"connect_timeout": 10},
                backoff=lambda job, error: 0.004,
            ) as instance:
                if not plan.early:
                    with anyio.fail_after(10):
                        await ledger.begun.wait()
                    _set_end(plan, ledger, caller)
                await _body(plan, instance, ledger, redis, namespace)
        except BaseException as error:
            arrived = error
            if not isinstance(error, Boom):
                raise
    _check_what_arrived(plan, arrived, caller)
    return ledger, await remains(redis, namespace)


def _set_end(plan: Plan, ledger: Ledger, caller: anyio.CancelScope) -> None:
    ledger.end = anyio.current_time() + plan.after
    if plan.way is Way.CANCEL:
        caller.deadline = ledger.end


async def _body(plan: Plan, instance: exq.Exq, ledger: Ledger, redis: coredis.Redis[bytes], namespace: str) -> None:
    try:
        with anyio.CancelScope(deadline=math.inf if plan.way is Way.CANCEL else ledger.end):
            for call in plan.pushed:
                await _push(instance, call, ledger)
                await anyio.sleep(0.002)
            await anyio.sleep_forever()
    finally:
        ledger.in_progress = ledger.running
    if plan.way is Way.RAISE:
        raise Boom
    if plan.way is Way.SIGNAL:
        await redis.lpush(f"{namespace}:{instance.node_id}-signals", ["TERM"])
        with anyio.fail_after(10):
            while instance.subscriptions():
                await anyio.sleep(0.001)


async def _push(instance: exq.Exq, call: Sequence[exq.JobSpec], ledger: Ledger) -> None:
    names = [str(spec.args[0]) for spec in call]
    ledger.uncertain.update(names)
    answers = await instance.enqueue_all(call)
    ledger.uncertain.difference_update(names)
    for name, answer in zip(names, answers, strict=True):
        (ledger.refused if isinstance(answer, exq.Conflict) else ledger.accepted).add(name)


def _check_what_arrived(plan: Plan, arrived: BaseException | None, caller: anyio.CancelScope) -> None:
    if plan.way is Way.CANCEL:
        assert caller.cancelled_caught
        assert isinstance(arrived, anyio.get_cancelled_exc_class())
    elif plan.way is Way.RAISE:
        assert type(arrived) is Boom
    else:
        assert arrived is None


# The proof


def _check(plan: Plan, ledger: Ledger, left: Remains) -> None:
    """Every job is in exactly one place, and what was counted is what was run."""
    processed = failed = 0
    for name in ledger.accepted | ledger.uncertain | ledger.refused | left.jobs.keys():
        places = left.jobs.get(name, [])
        over = ledger.done[name] + _vanished(plan, name, ledger, bool(places))
        copies = over + len(places)
        wanted = {1} if name in ledger.accepted else {0, 1} if name in ledger.uncertain else {0}
        assert copies in wanted, f"{name}: ended {over} times, and is in {places}"
        counted = _failures_counted(places, ledger.failed[name])
        sent_back = any(place.startswith("queue:") for place, _ in places)
        assert ledger.failed[name] - counted in ({0, 1} if sent_back else {0}), (
            f"{name}: {ledger.failed[name]} {places}"
        )
        processed += ledger.done[name] + ledger.snoozed[name] + counted
        failed += counted
        assert ledger.snoozed[name] == (places[0][1].get("snooze_count", 0) if places else ledger.snoozed[name]), name
    assert left.counters == (processed, failed)
    _check_keys(left)
    _check_locks(left)


def _vanished(plan: Plan, name: str, ledger: Ledger, is_there: bool) -> int:
    """1 for a job that failed once and was to leave no trace."""
    return 1 if not is_there and ledger.failed[name] == 1 and name in _traceless(plan) else 0


def _traceless(plan: Plan) -> set[str]:
    specs = {str(spec.args[0]) for call in plan.pushed for spec in call if spec.options.max_retries is False}
    return specs | {f"waiting-{at}" for at, (_, payload) in enumerate(plan.waiting) if b'"retry":false' in payload}


def _failures_counted(places: Sequence[tuple[str, Record]], raised: int) -> int:
    """Failures of which the record tells, or all where there is no record any more."""
    if not places:
        return raised
    count = places[0][1].get("retry_count")
    return 0 if count is None or places[0][1].get("error_class") == "MalformedPayload" else int(count) + 1


def _check_keys(left: Remains) -> None:
    """Nothing is left of the node, above all no backup queue."""
    assert not [key for key in left.keys if NODE in key]
    assert not left.keys & {"leases", "processes", "heartbeats"}


def _check_locks(left: Remains) -> None:
    """A lock is there exactly as long as the job that holds it."""
    holders = {
        record["unique_token"]: record["jid"]
        for places in left.jobs.values()
        for place, record in places
        if "unique_token" in record and place != "dead"
    }
    assert left.locks == holders


@pytest.mark.slow
async def test_nothing_is_lost_at_whatever_moment_an_instance_ends(
    valkey: EmbeddedServer,
    redis: coredis.Redis[bytes],
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.ERROR, "exq_anyio")
    # A node that is out of time leaves the rest to others; here it is to leave nothing, however slow the machine is.
    monkeypatch.setattr(node, "CLEANUP", 30.0)
    base = secrets.token_hex(4)
    seeds = [ONE or f"{base}-{number}" for number in range(MOMENTS)]
    in_progress: list[bool] = []

    async def lane(first: int) -> None:
        for number in range(first, MOMENTS, LANES):
            planned = plan(seeds[number])
            try:
                with anyio.fail_after(60):
                    ledger, left = await _moment(planned, valkey.url, redis, f"{namespace}-{number}")
                _check(planned, ledger, left)
            except Exception as error:
                error.add_note(
                    f"repeat with EXQ_MOMENT={planned.seed} ({planned.way.value} after {planned.after:.4f} s)"
                )
                raise
            in_progress.append(bool(ledger.in_progress))

    async with anyio.create_task_group() as lanes:
        for first in range(LANES):
            lanes.start_soon(lane, first)
    assert "does not end" not in caplog.text
    assert len(in_progress) == MOMENTS
    assert sum(in_progress) >= 0.75 * MOMENTS, f"jobs were in progress at {sum(in_progress)} of {MOMENTS} moments"
