"""Every job is in exactly one place, whatever the order of steps: the real scripts beside a model of them.

``EXQ_STATEFUL_STEPS`` says how many steps are made on each backend.
"""

from __future__ import annotations

import copy
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from exq_anyio.errors import LostClaim, RedisError, RedisFull, WrongType
from exq_anyio.exchange import Beat, Claim, Fetched, Move, NodeSeen, SortedSet
from exq_anyio.node.rescuer import finish_rescue, rescue_move
from exq_anyio.node.scheduler import due_move
from exq_anyio.outcome import Settlement

from .ledger import name_of
from .model import SCORED, Broken, Full, Late, Lease, Lost, Model, Refusal
from .shapes import ENDINGS, GHOST, NAMELESS, POLICY, QUEUES, SHAPES, Shape, settlement
from .steps import Stepping, run_steps
from .world import DEAD_MAX, DEAD_TIMEOUT, NAMESPACE, NODES, Dump

STEPS = int(os.environ.get("EXQ_STATEFUL_STEPS", "600"))
MANY_RESCUES = 2
Action = Callable[[], Awaitable[Any]]
Effect = Callable[[Model], Any]
PAGES = 4
"""Pages read and not yet acted on that are remembered."""

nodes, queues, limits = st.sampled_from(NODES), st.sampled_from(QUEUES), st.integers(1, 5)
places = st.tuples(nodes, queues)
flags, seldom = st.booleans(), st.sampled_from([*[False] * 9, True])
indexes = st.integers(0, 59)
"""Of something that is there: taken modulo how many there are."""
cuts = st.sampled_from([*[None] * 20, 0, 1, 2, 3, 5, 8])
"""After how many turns of the loop the connection breaks; None: it does not."""

ends = st.lists(st.tuples(indexes, st.sampled_from(ENDINGS), flags), min_size=1, max_size=6)
agos = st.sampled_from([0.0, 0.0, 0.0, 0.25, 2 * DEAD_TIMEOUT])
lives = st.sampled_from(["claim", "claim", "taking", "beat", "beat"])
repairs = st.sampled_from(["settle again", "settle again", "unlock", "rename", "trim"])
troubles = st.sampled_from(
    ["full", "free", "free", "break", "break", "mend", "mend", "mend", "pause", "go on", "go on", "crash"]
)

KINDS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "enqueue": (8, {"shapes": st.lists(st.sampled_from(SHAPES), min_size=1, max_size=8), "cut": cuts}),
    "fetch": (10, {"node": nodes, "queue": queues, "limit": limits, "stale": seldom, "cut": cuts}),
    "wait": (2, {"node": nodes, "queue": queues, "stale": seldom}),
    "settle": (12, {"node": nodes, "ends": ends, "ago": agos, "stale": seldom, "cut": cuts}),
    "due": (6, {"retry": flags, "limit": limits, "look": flags, "index": indexes, "keep": flags, "cut": cuts}),
    "condemn": (1, {"index": indexes, "fresh": flags, "by_process": flags}),
    "left": (5, {"place": places, "limit": limits, "look": flags, "index": indexes, "keep": flags, "cut": cuts}),
    "leave": (2, {"node": nodes, "bury": flags, "stale": seldom}),
    "live": (3, {"node": nodes, "queue": queues, "what": lives, "stale": seldom}),
    "tidy": (4, {"node": nodes, "queue": queues, "what": repairs, "index": indexes}),
    "trouble": (2, {"what": troubles, "index": indexes}),
}  # fmt: skip
"""Each kind of step, how often it comes, and what is drawn for it.

One rule takes them all: of separate rules Hypothesis switches many off for a whole run, so that hardly a job would come
all the way.  Nothing that is drawn depends on what has happened, since a cut connection makes that a matter of chance.
"""

steps = st.sampled_from([kind for kind, (often, _) in KINDS.items() for _ in range(often)]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(KINDS[kind][1]))
)


class OnePlace(Stepping):
    """The steps.  Each is made on the server and on the model, and must give the same answer, or the same refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = self.world.keys
        self.model = Model(self.keys, DEAD_MAX, DEAD_TIMEOUT)
        self.store = self.world.store
        self.now = time.time() - 5
        self.claims = {node: Claim(node, "none yet") for node in NODES}
        self.old_claims: list[Claim] = []
        self.settled: list[tuple[Claim, int, list[Settlement], float]] = []
        self.due_pages: list[tuple[SortedSet, list[Move], float]] = []
        self.left_pages: list[tuple[str, str, list[Move], float]] = []
        self.seen: list[NodeSeen] = []
        self.world.raw(b"FLUSHALL")
        for node in NODES:
            self.claim(node)

    @rule(step=steps)
    def take(self, step: tuple[str, dict[str, Any]]) -> None:
        kind, drawn = step
        self.made["steps"] += 1
        getattr(self, kind)(**drawn)

    # -- how a step is made

    def step(self, action: Action, effect: Effect) -> Any:
        """Make one step on both sides; the answer, None when it was refused."""
        try:
            wanted = effect(self.model)
        except Refusal as refusal:
            self.made[f"{_name(action)} {type(refusal).__name__}"] += 1
            self._refused(action, refusal)
            return None
        answer = self.world.call(action)
        assert answer == wanted
        self.made[f"{_name(action)} {_outcome(answer)}"] += 1
        return answer

    def _refused(self, action: Action, refusal: Refusal) -> None:
        error = self._error_of(action)
        assert isinstance(error, _ERRORS[type(refusal)]), f"{error!r} instead of {refusal!r}"
        if isinstance(refusal, Broken) and refusal.named:
            assert isinstance(error, WrongType)
            assert error.key in refusal.keys

    def _error_of(self, action: Action) -> Exception | None:
        try:
            self.world.call(action)
        except (RedisError, LostClaim) as error:
            return error
        return None

    def step_without_answer(self, action: Action, effect: Effect, turns: int) -> None:
        """Make a step whose connection breaks after *turns* of the loop: it has happened whole or not at all."""
        after = copy.deepcopy(self.model)
        try:
            effect(after)
        except Refusal:
            return
        self.world.cut(action, turns)
        if self._differs(after) is None:
            self.model = after

    def make(self, action: Action, effect: Effect, cut: int | None) -> Any:
        if cut is None:
            return self.step(action, effect)
        self.step_without_answer(action, effect, cut)
        return None

    def claim_of(self, node: str, stale: bool) -> Claim:
        old = [claim for claim in self.old_claims if claim.node_id == node]
        return old[-1] if stale and old else self.claims[node]

    # -- the way of a job

    def enqueue(self, shapes: list[Shape], cut: int | None) -> None:
        jobs = [shape.at(self.now) for shape in shapes]
        self.make(partial(self.world.outbox.push, jobs), lambda model: model.push(jobs), cut)

    def fetch(self, node: str, queue: str, limit: int, stale: bool, cut: int | None) -> None:
        claim = self.claim_of(node, stale)
        self.make(partial(self.store.fetch, claim, queue, limit), lambda model: model.fetch(claim, queue, limit), cut)

    def wait(self, node: str, queue: str, stale: bool) -> None:
        # Under a stale claim too: a wait that was under way when the node was taken for dead.
        claim = self.claim_of(node, stale)
        self.step(partial(self.store.wait, claim, queue, 0.01), lambda model: model.wait(claim, queue))

    def settle(self, node: str, ends: list[tuple[int, object, bool]], ago: float, stale: bool, cut: int | None) -> None:
        busy = [one for one in NODES if self.model.lives(one) and self._held(one)]
        node = node if node in busy or not busy else busy[0]
        claim, now, held = self.claim_of(node, stale), self.now - ago, self._held(node)
        held.append(("b", GHOST))
        group = []
        for index, ended, near_head in ends:
            queue, payload = held[index % len(held)]
            group.append(attrs.evolve(settlement(payload, queue, ended, now), near_head=near_head))
        claim.settles += 1
        self._settle(claim, claim.settles, group, now, cut)

    def _held(self, node: str) -> list[tuple[str, bytes]]:
        return [(queue, payload) for queue in QUEUES for payload in self.model.lists[self.keys.backup(node, queue)]]

    def _settle(self, claim: Claim, number: int, group: list[Settlement], now: float, cut: int | None) -> None:
        settle = partial(self.store.settle, claim, number, group, now)
        if cut is not None:
            self.world.cut(settle, cut)
        # After a lost answer the settler repeats itself, until it has one; that it was done before must not matter.
        self.step(settle, lambda model: model.settle(claim, number, group, now))
        self.settled = [*self.settled[-PAGES:], (claim, number, group, now)]

    def _settle_again(self, index: int) -> None:
        if self.settled:
            self._settle(*self.settled[index % len(self.settled)], None)

    # -- time

    def due(self, retry: bool, limit: int, look: bool, index: int, keep: bool, cut: int | None) -> None:
        if look or not self.due_pages:
            self._look_for_due("retry" if retry else "schedule", limit)
        else:
            self._promote(index, keep, cut)

    def _look_for_due(self, where: SortedSet, limit: int) -> None:
        now: list[float] = []

        async def due() -> list[bytes]:
            at, payloads = await self.store.due(where, limit)
            now.append(at)
            return payloads

        payloads = self.step(due, lambda model: model.due(where, time.time(), limit))
        if payloads:
            moves = [due_move(payload, where, now[0], POLICY) for payload in payloads]
            self.due_pages = [*self.due_pages[-PAGES:], (where, moves, now[0])]

    def _promote(self, index: int, keep: bool, cut: int | None) -> None:
        where, moves, now = page = self.due_pages[index % len(self.due_pages)]
        if not keep:  # if it is kept, another node may act on the same page
            self.due_pages.remove(page)
        promote = partial(self.store.promote, where, moves, now)
        self.make(promote, lambda model: model.promote(where, moves, now), cut)

    # -- the death of a node

    def condemn(self, index: int, fresh: bool, by_process: bool) -> None:
        if not self.model.broken & {self.keys.heartbeats, self.keys.leases} and (fresh or not self.seen):
            _, found = self.world.call(self.store.nodes)
            assert {node.node_id for node in found} == self.model.listed | self.model.beating
            self.seen = [*self.seen[-PAGES:], *found]
        if not self.seen:
            return
        seen = self.seen[-1 - index % len(self.seen)]
        by_process = "token" in seen.lease and (by_process or not seen.score)
        if not by_process and not seen.score:
            return
        # Equal texts are equal numbers, which the observer is told.
        score = self.world.raw(b"ZSCORE", self._where(self.keys.heartbeats), seen.node_id)
        now = seen.score if score is not None and float(score) == float(seen.score or 0) else ""
        condemn = partial(self.store.condemn, seen, by_process=by_process)
        self.step(condemn, lambda model: model.condemn(seen, now, by_process=by_process))

    def left(self, place: tuple[str, str], limit: int, look: bool, index: int, keep: bool, cut: int | None) -> None:
        if look or not self.left_pages:
            self._look_at_what_is_left(*place, limit)
        else:
            self._rescue(index, keep, cut)

    def _look_at_what_is_left(self, node: str, queue: str, limit: int) -> None:
        orphaned = [
            (dead, its)
            for dead in NODES
            for its in QUEUES
            if self.model.lists[self.keys.backup(dead, its)] and not self.model.lives(dead)
        ]
        node, queue = orphaned[-1] if orphaned else (node, queue)
        payloads = self.step(
            partial(self.store.left_page, node, queue, limit),
            lambda model: model.backup(Claim(node, ""), queue)[:limit],
        )
        if payloads:
            moves = [rescue_move(payload, queue, self.now, POLICY, MANY_RESCUES) for payload in payloads]
            self.left_pages = [*self.left_pages[-PAGES:], (node, queue, moves, self.now)]

    def _rescue(self, index: int, keep: bool, cut: int | None) -> None:
        node, queue, moves, now = page = self.left_pages[index % len(self.left_pages)]
        if not keep:
            self.left_pages.remove(page)
        rescue = partial(self.store.rescue, node, queue, moves, now)
        self.make(rescue, lambda model: model.rescue(node, queue, moves, now), cut)

    def leave(self, node: str, bury: bool, stale: bool) -> None:
        left = self.step(partial(self.store.left_behind, node), lambda model: model.left_behind(node))
        if left != {}:
            return
        if bury:
            self.step(partial(self.store.bury, node), lambda model: model.bury(node))
        else:
            claim = self.claim_of(node, stale)
            self.step(partial(self.store.leave, claim), lambda model: model.leave(node, claim.token))

    # -- what happens now and then

    def live(self, node: str, queue: str, what: str, stale: bool) -> None:
        claim = self.claim_of(node, stale)
        if what == "claim":
            self.claim(node)
        elif what == "taking":
            self.step(partial(self.store.taking, claim, queue), lambda model: model.taking(claim, queue))
        else:
            entry = Beat({"busy": "0"}, [])
            self.step(partial(self.store.beat, claim, entry), lambda model: model.beat(claim))

    def claim(self, node: str) -> None:
        claim = Claim(node, secrets.token_hex(4))
        if self.step(partial(self.store.claim, claim, {"pid": "1"}), lambda model: model.claim(claim)):
            self.old_claims.append(self.claims[node])
            self.claims[node] = claim

    def tidy(self, node: str, queue: str, what: str, index: int) -> None:
        if what == "settle again":
            self._settle_again(index)
        elif what == "unlock":
            token, jid = f"t{index % 2}", f"j{4 + index % 3}"
            self.step(partial(self.store.unlock, token, jid), lambda model: model.unlock(token, jid))
        elif what == "trim":
            limit = 1 + index % 3
            trim = partial(self.store.trim_dead, limit)
            self.step(trim, lambda model: model.trim_dead(time.time(), limit))
        else:
            claim, old = self.claims[node], NAMELESS
            pairs = [(old, b'{"jid":"r",' + old[1:])] * 2
            rename = partial(self.store.rename, claim, queue, pairs)
            self.step(rename, lambda model: model.rename(claim, queue, pairs))

    def trouble(self, what: str, index: int) -> None:
        if what in ("full", "free"):
            self._fill(what == "full")
        elif what == "break":
            self._break(index)
        elif what == "crash":
            self.made["crash"] += 1
            self.world.crash()
            self._fill(self.model.full)  # a setting that the server forgot
        elif what == "mend" and self.model.broken:
            self._mend(sorted(self.model.broken)[index % len(self.model.broken)])
        elif what in ("pause", "go on") and self.keys.paused not in self.model.broken and not self.model.full:
            queue, pause = QUEUES[index % 2], what == "pause"
            (self.model.paused.add if pause else self.model.paused.discard)(queue)
            self.world.raw(b"SADD" if pause else b"SREM", self.keys.paused, queue)

    def _fill(self, full: bool) -> None:
        self.model.full = full
        self.world.raw(b"CONFIG SET", "maxmemory", 1 if full else 0)

    def _break(self, index: int) -> None:
        """Put a wrong type in the place of a key."""
        keys = self.keys
        names = [
            keys.queue("a"), keys.queue("b"), keys.backup(NODES[0], "a"), keys.backup(NODES[1], "b"), keys.retry,
            keys.schedule, keys.dead, keys.queues, keys.paused, keys.leases, keys.heartbeats, keys.processes,
            keys.lease(NODES[0]), keys.unique("t0"), *keys.stats(self.now)[:4],
        ]  # fmt: skip
        key = names[index % len(names)]
        if self.model.full or len(self.model.broken) >= 2 or key in self.model.broken:
            return
        if self.world.raw(b"EXISTS", key):
            self.world.raw(b"RENAME", key, _aside(key))
        if key in (keys.unique("t0"), *keys.stats(self.now)):
            self.world.raw(b"HSET", key, "wrong", "type")
        else:
            self.world.raw(b"SET", key, "wrong type")
        self.model.broken.add(key)

    def _mend(self, key: str) -> None:
        self.world.raw(b"DEL", key)
        if self.world.raw(b"EXISTS", _aside(key)):
            self.world.raw(b"RENAME", _aside(key), key)
        self.model.broken.discard(key)

    # -- the law

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        problem = self._differs(self.model)
        assert problem is None, problem

    def _differs(self, model: Model) -> str | None:
        """What is wrong, None if nothing is; if so, the model learns how the server tells equal members apart."""
        dump = self.world.dump()
        for key in model.broken:
            dump.pop(key, None)
        found = {key.removesuffix(":aside"): value for key, value in dump.items()}
        wanted = self._wanted(model)
        scored = {key: found.pop(key, []) for key in (self.keys.schedule, self.keys.retry, self.keys.dead)}
        for name in SCORED:
            there = scored[getattr(self.keys, name)]
            if Counter(map(_told_alike, there)) != Counter(map(_told_alike, model.scored[name])):
                return f"{name}: {there} instead of {model.scored[name]}"
        if found != wanted:
            return f"{found} instead of {wanted}"
        alive = Counter(name_of(member)[0] for entries in scored.values() for member, _ in entries)
        lists = (value for key, value in found.items() if key.startswith(f"{NAMESPACE}:queue:"))
        alive.update(name_of(payload)[0] for members in lists for payload in members)
        if alive != +model.alive:
            return f"the jobs are {alive} instead of {model.alive}"
        for name in SCORED:
            model.scored[name] = scored[getattr(self.keys, name)]
        return None

    def _wanted(self, model: Model) -> Dump:
        keys = self.keys
        wanted: Dump = {key: members for key, members in model.lists.items() if members}
        wanted |= {keys.unique(token): jid for token, jid in model.locks.items()}
        wanted |= {key: str(count) for key, count in model.counters.items()}
        wanted |= {keys.lease(node): _lease(lease) for node, lease in model.leases.items()}
        wanted |= {keys.taken(node): names for node, names in model.taken.items() if names}
        wanted |= {keys.process(node): "an entry" for node in model.shown}
        sets = {keys.queues: model.queues, keys.paused: model.paused, keys.leases: model.listed}
        sets |= {keys.processes: model.shown}
        wanted |= {key: members for key, members in sets.items() if members}
        return wanted | ({keys.heartbeats: model.beating} if model.beating else {})

    # -- the end: whatever has happened, everything can be worked off

    def teardown(self) -> None:
        try:
            self._fill(False)
            for key in sorted(self.model.broken):
                self._mend(key)
            self.world.raw(b"DEL", self.keys.paused)
            self.world.call(self._work_off)
            left = {key for key in self.world.dump() if key.startswith(f"{NAMESPACE}:queue:")}
            assert left == set()
        finally:
            self.world.raw(b"CONFIG SET", "maxmemory", 0)

    async def _work_off(self) -> None:
        """Rescue what dead nodes hold, claim every id anew, send back what lies in its backup, and do all jobs."""
        for node in (await self.store.nodes())[1]:
            if node.score or "token" in node.lease:
                assert await self.store.condemn(node, by_process=not node.score)
            await finish_rescue(self.store, node.node_id, POLICY, 100)
        for node_id in NODES:
            claim = Claim(node_id, secrets.token_hex(4))
            assert await self.store.claim(claim, {})
            for queue in QUEUES:
                for back in (True, False):
                    held = await self.store.backup(claim, queue)
                    if not back:
                        held += (await self.store.fetch(claim, queue, 1_000)).payloads
                    kind = "push_back" if back else "done"
                    group = [Settlement(kind, queue, payload, payload) for payload in held]  # type: ignore[arg-type]  # a Kind, drawn as a string
                    claim.settles += 1
                    if group:
                        assert all(await self.store.settle(claim, claim.settles, group, self.now))

    def _where(self, key: str) -> str:
        return _aside(key) if key in self.model.broken else key


_ERRORS: dict[type[Refusal], type[Exception]] = {Lost: LostClaim, Late: RedisError, Full: RedisFull, Broken: RedisError}


def _name(action: Callable[..., object]) -> str:
    name: str = getattr(action, "func", action).__name__
    return name


def _outcome(answer: object) -> bool:
    return bool(answer.payloads if isinstance(answer, Fetched) else any(answer) if isinstance(answer, list) else answer)


def _aside(key: str) -> str:
    return f"{key}:aside"


def _told_alike(entry: tuple[bytes, float]) -> tuple[bytes, float]:
    """A member without the white space that keeps equal ones apart."""
    return entry[0].rstrip(), entry[1]


def _lease(lease: Lease) -> dict[str, str]:
    if lease.token is None:
        return {"condemned": "1"}
    fields = {"token": lease.token, "pid": "1"}
    if lease.number is not None:
        fields |= {"number": str(lease.number), "answer": "".join("01"[there] for there in lease.answer)}
    return fields


@pytest.mark.slow
@pytest.mark.timeout(600 + STEPS)  # of which shrinking a failure takes most
def test_every_job_is_in_exactly_one_place(anyio_backend_name: str) -> None:
    run_steps(OnePlace, anyio_backend_name, STEPS, examples=10)
