"""The laws of unique jobs, whatever the order of steps: the real scripts beside what the guide says of each job.

``EXQ_STATEFUL_STEPS`` says how many steps are made on each backend.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

import exq_anyio as exq
from exq_anyio.api.jobs import Jobs
from exq_anyio.client import outgoing
from exq_anyio.errors import JobCancelled, LostClaim
from exq_anyio.exchange import Claim, NodeSeen, SortedSet
from exq_anyio.job import Job
from exq_anyio.node.rescuer import rescue_move
from exq_anyio.node.scheduler import due_move
from exq_anyio.outcome import Policy, Settlement, judge, push_back
from exq_anyio.redis.keeper import RedisKeeper
from exq_anyio.redis.store import RedisStore
from exq_anyio.spec import UniqueUntil
from exq_anyio.upkeep import Place

from .locks import Unique, Uniques
from .steps import Stepping, run_steps
from .world import NAMESPACE, NODES

STEPS = int(os.environ.get("EXQ_STATEFUL_STEPS", "500"))
TOKENS = ("t0", "t1", "t2", "t3")
MANY_RESCUES = 1
POLICY = Policy(max_retries=2, backoff=lambda job, error: 50)
CONFIG = exq.Config(url="redis://nowhere")
SLACK_MS = 60_000
"""How long an example may take; all times that are drawn are further apart, so that the real clock decides nothing."""

AGE = """
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':unique:*')) do
  redis.call('PEXPIRE', key, redis.call('PTTL', key) - ARGV[2] * 1000)
end
for _, name in ipairs({':schedule', ':retry'}) do
  for _, member in ipairs(redis.call('ZRANGE', ARGV[1] .. name, 0, -1)) do
    redis.call('ZINCRBY', ARGV[1] .. name, -ARGV[2], member)
  end
end
"""
"""As if so many seconds passed."""

LOCKS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':unique:*')) do
  found[#found + 1] = {key, redis.call('GET', key), redis.call('PTTL', key)}
end
return found
"""

nodes, flags, indexes = st.sampled_from(NODES), st.booleans(), st.integers(0, 59)
wishes = st.tuples(
    st.sampled_from(TOKENS),
    st.sampled_from(["success", "start", "expiry"]),
    st.sampled_from([100.0, 250.0, 1_000.0]),
    st.sampled_from([None, None, None, 150.0]),
)
"""Token, until when, for how many seconds, and after how many it is due."""
ends = st.sampled_from(
    [None, None, "push back", "push back", ValueError("planned"), ValueError("planned"),
     exq.Snooze(150), exq.Dead("planned"), exq.Discard(), JobCancelled()]
)  # fmt: skip
sets = st.sampled_from(["retry", "schedule"])
acts = st.sampled_from(["delete", "delete", "kill", "retry", "retry", "run_now", "edit", "reschedule"])

KINDS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "enqueue": (8, {"wanted": st.lists(wishes, min_size=1, max_size=3)}),
    "repeat": (1, {"index": indexes}),
    "fetch": (8, {"node": nodes, "limit": st.integers(1, 3)}),
    "begin": (3, {"index": indexes}),
    "settle": (8, {"node": nodes, "ended": st.lists(ends, min_size=1, max_size=3), "again": flags}),
    "settle_late": (1, {"index": indexes}),
    "promote": (4, {"where": sets}),
    "rescue": (3, {"node": nodes}),
    "act": (4, {"what": acts, "index": indexes, "keep_lock": flags}),
    "clear": (1, {"index": indexes, "keep_locks": flags}),
    "pass_time": (3, {"seconds": st.sampled_from([60, 160, 1_200])}),
    "run_out": (1, {"index": indexes}),
}
"""Each kind of step, how often it comes, and what is drawn for it; one rule takes all, as for every job's place."""

steps = st.sampled_from([kind for kind, (often, _) in KINDS.items() for _ in range(often)]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(KINDS[kind][1]))
)


class UniqueJobs(Stepping):
    """The steps.  Each is made on the server, and what the guide says of it is noted at the job."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, connections = self.world.keys, self.world.connections
        # No dead job is trimmed: its place says nothing of its lock.
        self.store = RedisStore(connections, self.keys, dead_max_jobs=10_000, dead_timeout=1e9, max_waits=8)
        self.keeper = RedisKeeper(connections, self.keys)
        self.model = Uniques()
        self.late: list[tuple[Claim, int, list[Settlement]]] = []
        """Settles of claims that are lost."""
        self.world.raw(b"FLUSHALL")
        self.claims = {node: self.claim(node) for node in NODES}

    def claim(self, node: str) -> Claim:
        claim = Claim(node, secrets.token_hex(4))
        assert self.world.call(partial(self.store.claim, claim, {"pid": "1"}))
        return claim

    @rule(step=steps)
    def take(self, step: tuple[str, dict[str, Any]]) -> None:
        kind, drawn = step
        self.made["steps"] += 1
        getattr(self, kind)(**drawn)

    # -- the way of a job

    def enqueue(self, wanted: list[tuple[str, UniqueUntil, float, float | None]]) -> None:
        specs = [
            exq.JobSpec(worker="W").on(unique_token=token, unique_until=until, unique_for=lasts, after=after)
            for token, until, lasts, after in wanted
        ]
        jobs = [outgoing(spec, CONFIG, time.time()) for spec in specs]
        uniques = [
            Unique(
                job.jid, token, until, self.model.now + lasts + (after or 0), "queue" if after is None else "schedule"
            )
            for job, (token, until, lasts, after) in zip(jobs, wanted, strict=True)
        ]
        refused = self.world.call(partial(self.world.outbox.push, jobs))
        assert refused == self.model.enqueue(uniques)
        self.made["refused"] += len(refused)
        self.made["enqueued"] += len(jobs) - len(refused)

    def repeat(self, index: int) -> None:
        """As after an error of which nobody knows whether it was enqueued."""
        if holder := self._one(index, [job for job in self.model.jobs.values() if job.holds(self.model.now)]):
            spec = exq.JobSpec(worker="W").on(jid=holder.jid, unique_token=holder.token, unique_for=100)
            job = outgoing(spec, CONFIG, time.time())
            assert self.world.call(partial(self.world.outbox.push, [job])) == {0: holder.jid}

    def fetch(self, node: str, limit: int) -> None:
        fetched = self.world.call(partial(self.store.fetch, self.claims[node], "default", limit))
        for payload in fetched.payloads:
            job = self._of(payload)
            job.place, job.taken = node, True

    def begin(self, index: int) -> None:
        """As the performer does; also a process that does not know yet that its jobs were taken from it."""
        taken = [job for job in self.model.jobs.values() if job.taken and job.until == "start"]
        if job := self._one(index, taken):
            self.world.call(partial(self.store.unlock, job.token, job.jid))
            job.began()
            self.made["began"] += 1

    def settle(self, node: str, ended: list[object], again: bool) -> None:
        claim = self.claims[self._busy(node)]
        held = self.world.call(partial(self.store.backup, claim, "default"))
        group = [_settlement(payload, how) for payload, how in zip(held, ended, strict=False)]
        if not group:
            return
        claim.settles += 1
        settle = partial(self.store.settle, claim, claim.settles, group, time.time())
        assert self.world.call(settle) == [True] * len(group)
        for settlement in group:
            job = self._of(settlement.payload)
            job.place = _PLACES[settlement.kind]
            job.ended(settlement.kind)
            self.made[settlement.kind] += 1
        if again:  # the answer was lost
            self._check()
            assert self.world.call(settle) == [True] * len(group)

    def settle_late(self, index: int) -> None:
        """A process that was taken for dead writes what became of its jobs."""
        if self.late:
            claim, number, group = self.late[index % len(self.late)]
            with pytest.raises(LostClaim):
                self.world.call(partial(self.store.settle, claim, number, group, time.time()))

    def promote(self, where: SortedSet) -> None:
        now, payloads = self.world.call(partial(self.store.due, where, 10))
        moves = [due_move(payload, where, now, POLICY) for payload in payloads]
        if moves:
            assert self.world.call(partial(self.store.promote, where, moves, now)) == len(moves)
        for payload in payloads:
            self._of(payload).place = "queue"
        self.made["promoted"] += len(payloads)

    def rescue(self, node: str) -> None:
        """A node is killed, another one puts its jobs back, and the id is claimed again."""
        node = self._busy(node)
        old = self.claims[node]
        seen = NodeSeen(node, "", {"token": old.token})
        assert self.world.call(partial(self.store.condemn, seen, by_process=True))
        payloads = self.world.call(partial(self.store.left_page, node, "default", 100))
        now = time.time()
        moves = [rescue_move(payload, "default", now, POLICY, MANY_RESCUES) for payload in payloads]
        if moves:
            self.late.append((old, old.settles + 1, [_settlement(payload, None) for payload in payloads]))
            assert self.world.call(partial(self.store.rescue, node, "default", moves, now)) == len(moves)
        for move in moves:
            job = self._of(move.member)
            job.place = "queue" if move.queue else "dead"
            job.ended("push_back" if move.queue else "dead")
            self.made[f"rescued to {job.place}"] += 1
        self.world.call(partial(self.store.bury, node))
        self.claims[node] = self.claim(node)

    # -- what an operator does

    def act(self, what: str, index: int, keep_lock: bool) -> None:
        job = self._one(index, self.model.there("queue", "schedule", "retry", "dead"))
        if job is None or (job.place, what) in _REFUSED:
            return
        jobs, before = self._jobs(job.place), job.place
        if what == "delete":
            assert self.world.call(partial(jobs.delete, job.jid, keep_lock=keep_lock))
            job.deleted(keep_lock=keep_lock)
        elif what == "kill":
            assert self.world.call(partial(jobs.kill, job.jid, keep_lock=keep_lock))
            job.killed(keep_lock=keep_lock)
        elif what == "edit":
            assert self.world.call(partial(jobs.edit, job.jid, [index]))
        elif what == "reschedule":
            at = datetime.now(UTC) + timedelta(seconds=150)
            assert self.world.call(partial(jobs.reschedule, job.jid, at))
            job.place = "schedule" if job.place == "queue" else job.place
        else:
            assert self.world.call(partial(getattr(jobs, what), job.jid))
            job.place = "queue"
        self.made[f"{what} from {before}"] += 1

    def clear(self, index: int, keep_locks: bool) -> None:
        place = ("queue", "schedule", "retry", "dead")[index % 4]
        there = self.model.there(place)
        assert self.world.call(partial(self._jobs(place).clear, keep_locks=keep_locks)) == len(there)
        for job in there:
            job.deleted(keep_lock=keep_locks)
        self.made[f"cleared {place}"] += len(there)

    def _jobs(self, place: str) -> Jobs:
        where = Place("queue", "default") if place == "queue" else Place(place)  # type: ignore[arg-type]  # a Kind
        return Jobs(where, self.keeper, time.time, "seconds")

    # -- time

    def pass_time(self, seconds: int) -> None:
        self.world.raw(b"EVAL", AGE, 0, NAMESPACE, seconds)
        self.model.now += seconds

    def run_out(self, index: int) -> None:
        """The server itself ends a lock whose time is over."""
        if job := self._one(index, [job for job in self.model.jobs.values() if job.holds(self.model.now)]):
            lock = self.keys.unique(job.token)
            self.world.raw(b"PEXPIRE", lock, 1)
            while self.world.raw(b"EXISTS", lock):
                pass
            job.ends = self.model.now

    # -- the laws

    @invariant()
    def each_lock_is_that_of_the_one_job_that_holds_it_and_ends_when_it_says(self) -> None:
        self._check()

    def _check(self) -> None:
        holders = {token: holder for token in TOKENS if (holder := self.model.holder(token))}
        found = {key.decode(): (jid.decode(), left) for key, jid, left in self.world.raw(b"EVAL", LOCKS, 0, NAMESPACE)}
        assert {key: jid for key, (jid, _) in found.items()} == {
            self.keys.unique(token): holder.jid for token, holder in holders.items()
        }
        for token, holder in holders.items():
            most = 1_000 * (holder.ends - self.model.now)
            _, left = found[self.keys.unique(token)]
            assert most - SLACK_MS < left <= most + 1, f"{holder} has {left} ms left instead of {most}"
        self._every_job_is_where_it_should_be()

    def _every_job_is_where_it_should_be(self) -> None:
        wanted = {job.jid: job.place for job in self.model.jobs.values() if job.place != "gone"}
        dump, there = self.world.dump(), list[tuple[str, str]]()
        for name in ("schedule", "retry", "dead"):
            there += ((Job.decode(member).jid, name) for member, _ in dump.get(f"{NAMESPACE}:{name}", []))
        there += ((Job.decode(payload).jid, "queue") for payload in dump.get(self.keys.queue("default"), []))
        for node in NODES:
            there += ((Job.decode(payload).jid, node) for payload in dump.get(self.keys.backup(node, "default"), []))
        assert Counter(there) == Counter(wanted.items())

    def _busy(self, node: str) -> str:
        """The node, or the other one if that alone has jobs."""
        busy = [one for one in NODES if self.model.there(one)]
        return node if node in busy or not busy else busy[0]

    def _of(self, payload: bytes) -> Unique:
        return self.model.jobs[Job.decode(payload).jid]

    def _one(self, index: int, jobs: Sequence[Unique]) -> Unique | None:
        return jobs[index % len(jobs)] if jobs else None


_PLACES = {"done": "gone", "discarded": "gone", "dead": "dead", "retry": "retry", "schedule": "schedule"}
_PLACES["push_back"] = "queue"
_REFUSED = {("queue", "retry"), ("dead", "kill"), ("dead", "reschedule")}


def _settlement(payload: bytes, ended: object) -> Settlement:
    job = Job.decode(payload, "default")
    return push_back(job) if ended == "push back" else judge(job, ended, time.time(), 0.5, POLICY)


@pytest.mark.slow
@pytest.mark.timeout(600 + STEPS)  # of which shrinking a failure takes most
def test_a_unique_lock_is_held_by_one_job_until_its_end_and_no_longer(anyio_backend_name: str) -> None:
    run_steps(UniqueJobs, anyio_backend_name, STEPS, examples=5)
