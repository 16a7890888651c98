"""Takes jobs from one queue: asks its dequeuer how many, fetches as many in one round trip, or waits for the next one.

A fetch is never cut short, since the server would move the job all the same: to stop, the line is marked as ending
and the blocking wait is ended on the server.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from time import monotonic

import anyio
import attrs

from ..errors import LostClaim, MalformedPayload, RedisError, RedisUnavailable
from ..exchange import Claim, Move
from ..job import Job, encode, new_jid
from ..outcome import Policy, Settlement, malformed, push_back
from .reserving import Dequeuer, Reserving
from .settler import Settler
from .shared import Shared, ask_all
from .store import Store

logger: logging.Logger = logging.getLogger("exq_anyio")

RECHECK = 1.0
"""Seconds after which a dequeuer that had no room, or a paused queue, is asked again."""

NEAR = 100
"""Entries within which the end that a payload is looked for from makes no difference."""

MOST = 1_000
"""Most jobs that one fetch takes, however many slots are free."""


LOOK = 60.0
"""Seconds for which a queue that was seen empty is only waited for: a look costs the server five times as much.

Whatever else may have changed meanwhile is told: a pause by a signal, a claim that is lost by the heartbeat."""


NEVER = ("", -math.inf)
"""Stands for a look that has not been taken."""


class LocalLimit:
    """The dequeuer that a queue has by default: at most *concurrency* of its jobs at a time on this node."""

    def __init__(self, concurrency: float) -> None:
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._beyond: set[Job] = set()

    def resize(self, concurrency: float) -> None:
        """At most *concurrency* from now on; those that run already go on, and count."""
        self._limiter.total_tokens = concurrency

    async def available(self) -> int:
        """Free slots, 1,000 when there is no limit."""
        return int(min(self._limiter.available_tokens, MOST))

    def dispatched(self, job: Job) -> None:
        """Takes a slot."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(job)
        except anyio.WouldBlock:
            self._beyond.add(job)  # the limit was lowered while the job was on its way

    def processed(self, job: Job) -> None:
        """Frees the slot."""
        if job in self._beyond:
            self._beyond.discard(job)
        else:
            self._limiter.release_on_behalf_of(job)

    failed = processed

    async def stop(self) -> None:
        """Nothing is left to free."""


@attrs.define(eq=False)
class Line:
    """What a node knows of one queue that it takes from."""

    queue: str
    """Name of the queue."""
    dequeuer: Dequeuer
    """Says how many jobs may be taken."""
    concurrency: float = math.inf
    """Its limit as process entries show it; inf when there is none."""
    held: OrderedDict[int, Job] = attrs.field(factory=OrderedDict)
    """The jobs whose payloads should be in the backup queue, by number, the oldest first."""
    unsettled: OrderedDict[int, None] = attrs.field(factory=OrderedDict)
    """The numbers of those whose outcome is not yet on its way to the backup queue, the oldest first."""
    newest: int = 0
    """Number of the job taken last."""
    freed: anyio.Event = attrs.field(factory=anyio.Event)
    """Set when a job has ended."""
    ending: bool = False
    """True when no more jobs are to be taken."""
    idle: anyio.Event = attrs.field(factory=anyio.Event)
    """Set when the poller has ended."""
    stale: bool = False
    """True when the queue may have been paused since it was last asked."""
    resumed: anyio.Event = attrs.field(factory=anyio.Event)
    """Set when a paused queue is to be asked again."""
    limits: tuple[Shared, ...] = ()
    """The limits that it shares with other lines."""
    place: str = attrs.field(default=attrs.Factory(lambda self: self.queue, takes_self=True))
    """What it stands under in its group: its own name, or the pattern that found it first."""
    pattern: str = ""
    """The pattern that it is there for; ``""`` when the queue is subscribed by its own name."""
    used: float = -math.inf
    """When its queue was last seen with jobs, or with running ones (seconds of the event loop); for a pattern."""
    turned: float = attrs.field(factory=monotonic)
    """When its poller last began to look (monotonic seconds)."""
    dry: tuple[str, float] = NEVER
    """The claim under which it was seen empty, and when; nothing has come since (seconds of the event loop)."""
    shaken: float = -math.inf
    """When taking jobs last failed: for a while a command that we gave up may still be executed."""

    def recheck(self) -> None:
        """Have the poller ask the queue again before it waits, or goes on to wait, for anything."""
        self.stale = True
        self.resumed.set()

    @property
    def is_full(self) -> bool:
        """Whether a limit that it shares has no slot for one more job, which came at the end of a wait."""
        return not all(limit.admits(self) for limit in self.limits)

    def needs_look(self, claim: Claim) -> bool:
        """Whether the queue is to be asked before it is waited for."""
        (token, since), now = self.dry, anyio.current_time()
        told = token == claim.token and not self.stale and not self.limits
        return not told or now - since > LOOK or now - self.shaken < LOOK

    def take(self, job: Job) -> int:
        """Note that *job* is in the backup queue; its number."""
        for limit in self.limits:
            limit.take(self)
        self.newest += 1
        self.held[self.newest] = job
        self.unsettled[self.newest] = None
        return self.newest

    def release(self, number: int) -> None:
        """Note that the job with *number* has been settled, or is no longer ours."""
        self.unsettled.pop(number, None)
        if self.held.pop(number, None) is not None:
            self.freed.set()
            for limit in self.limits:
                limit.release()

    def step_back(self) -> None:
        """Let others have the slots, while nothing can be taken."""
        for limit in self.limits:
            limit.step_back(self)

    def trouble(self) -> None:
        """Note that taking jobs has failed."""
        self.shaken, self.dry = anyio.current_time(), NEVER
        self.step_back()

    def near_head(self, number: int) -> bool:
        """Whether the payload of job *number* is far from the tail and nearer to the head, where the newest are.

        Its outcome goes out now; those that went out before it, as when thousands end at once, will be gone by then.
        """
        self.unsettled.pop(number, None)
        if not self.unsettled:
            return False
        older, newer = number - next(iter(self.unsettled)), next(reversed(self.unsettled)) - number
        return older > NEAR and newer < older


Start = Callable[[Line, Job, int], None]
"""Starts a job in a task of its own, without waiting for it."""


@attrs.frozen(eq=False)
class Source:
    """What every poller of a node works with."""

    store: Store
    claim: Claim
    settler: Settler
    policy: Policy
    clock: Callable[[], float]
    start: Start
    on_lost: Callable[[str], None]
    poll_timeout: float
    max_read_bytes: int


async def poll(line: Line, source: Source) -> None:
    """Take jobs from the line's queue and start them, until the line is ending."""
    noted = ""
    while not line.ending:
        line.turned = monotonic()
        try:
            if noted != source.claim.token:
                noted = source.claim.token
                await source.store.taking(source.claim, line.queue)
            await _turn(line, source)
        except RedisUnavailable:
            line.trouble()
            await source.store.available()
        except LostClaim:
            line.trouble()
            source.on_lost(noted)
            await anyio.sleep(RECHECK)
        except RedisError as error:
            line.trouble()
            logger.error("cannot take jobs: queue=%s error=%s", line.queue, error)
            await anyio.sleep(RECHECK)
            noted = ""
    line.step_back()
    line.idle.set()


async def _turn(line: Line, source: Source) -> None:
    """One fetch, and a wait if the queue is empty; the wait alone where that is known."""
    freed = line.freed = anyio.Event()  # before the question, so that no job that ends meanwhile is missed
    free = await _granted(line) if line.limits else await _free(line)
    if free < 1:
        with anyio.move_on_after(line.dequeuer.again if isinstance(line.dequeuer, Reserving) else RECHECK):
            await freed.wait()
        return
    if line.needs_look(source.claim) and not await _look(line, source, free):
        return
    if not (line.ending or line.stale):
        await _wait(line, source)


async def _look(line: Line, source: Source, free: int) -> bool:
    """Take up to *free* jobs that are there; whether none was, and the next one is to be waited for."""
    token, began, held = source.claim.token, anyio.current_time(), len(line.held)
    line.stale, line.resumed = False, anyio.Event()
    fetched = await source.store.fetch(source.claim, line.queue, min(free, MOST))
    await _receive(line, source, fetched.payloads)
    if isinstance(line.dequeuer, Reserving):
        await line.dequeuer.returned()
    for limit in line.limits:
        limit.fetched(line, dry=not fetched.payloads)
    if fetched.held - len(fetched.payloads) > held:
        await audit(line, source)
    if fetched.payloads or line.ending or line.stale:
        return False
    if fetched.paused:
        with anyio.move_on_after(RECHECK):
            await line.resumed.wait()
        return False
    line.dry = (token, began)
    return True


async def _wait(line: Line, source: Source) -> None:
    """Wait for one job, and start it."""
    if isinstance(line.dequeuer, Reserving):
        await line.dequeuer.returned()
        if line.ending or line.stale:
            return  # told so meanwhile, when there was no wait that could be ended
    claim = source.claim
    token, node_id = claim.token, claim.node_id
    began = anyio.current_time()
    payload = await source.store.wait(claim, line.queue, source.poll_timeout)
    if payload is None:
        if not 0.9 <= (anyio.current_time() - began) / source.poll_timeout <= 2:
            line.dry = NEVER  # something ended the wait, or we were frozen: there may be something to see
        return
    line.dry = NEVER
    if token == claim.token or (claim.token and node_id == claim.node_id):
        if isinstance(line.dequeuer, Reserving) and not await _admitted(line.dequeuer, line):
            await source.settler.settle([Settlement("push_back", line.queue, payload, payload)])
            return
        await _receive(line, source, [payload])
        return
    # The claim was lost meanwhile, and the old backup queue, which nobody may look at any more, got a job.
    logger.warning("job came for a claim that is lost, it goes back: queue=%s", line.queue)
    await source.store.rescue(node_id, line.queue, [Move(payload, payload, line.queue)], source.clock())


async def _admitted(dequeuer: Reserving, line: Line) -> bool:
    """Whether the job that was waited for may begin; while Redis is away it goes back, as soon as it can."""
    try:
        return await dequeuer.admit()
    except (RedisError, LostClaim) as error:
        logger.warning("limit cannot be asked, a job goes back: queue=%s error=%s", line.queue, error)
        return False


async def _granted(line: Line) -> int:
    """How many jobs may be taken now under the limits that the line shares; they wake it if none."""
    for limit in line.limits:
        limit.stir(line)
    if not isinstance(line.dequeuer, Reserving):
        free = await _free(line)
        if free < 1:
            line.step_back()
            return 0
        return ask_all(line.limits, line, min(free, MOST))
    # Its turn comes first: who waits for one must not reserve what other nodes could use meanwhile.
    granted = ask_all(line.limits, line, MOST)
    free = min(granted, await _free(line)) if granted else 0
    if granted and free < 1:
        line.step_back()
    return free


async def _free(line: Line) -> int:
    """How many jobs the line's own dequeuer allows."""
    try:
        return await line.dequeuer.available()
    except Exception:
        # The user's own dequeuer, which may ask a service that is away.
        logger.exception("dequeuer failed, its queue is asked for again: queue=%s", line.queue)
        return 0


async def _receive(line: Line, source: Source, payloads: list[bytes]) -> None:
    """Start the jobs in *payloads*, the oldest first; what is no job goes to the dead set."""
    garbage: list[Settlement] = []
    nameless: list[Job] = []
    for payload in payloads:
        try:
            job = _read(payload, line.queue, source.max_read_bytes)
        except MalformedPayload as error:
            logger.error("no job, moved to dead: queue=%s bytes=%d reason=%s", line.queue, len(payload), error.reason)
            now = source.clock()
            garbage.append(
                malformed(payload, line.queue, error.reason, is_json=error.is_json, now=now, policy=source.policy)
            )
            continue
        if not job.jid:
            nameless.append(job)
        else:
            garbage += _begin(line, source, job)
    if nameless:
        for job in await _name(line, source, nameless):
            garbage += _begin(line, source, job)
    await source.settler.settle(garbage)


def _begin(line: Line, source: Source, job: Job) -> list[Settlement]:
    """Start *job*; what sends it back instead when the line has begun to end meanwhile, or others took the slot."""
    if line.ending or (line.limits and line.is_full):
        return [push_back(job)]
    source.start(line, job, line.take(job))
    return []


async def _name(line: Line, source: Source, jobs: list[Job]) -> list[Job]:
    """Give a jid to jobs that have none (Resque's), in the backup queue before they run."""
    named: list[Job] = []
    for job in jobs:
        record = {**job.record, "jid": new_jid()}
        named.append(Job(record, encode(record), line.queue))
    pairs = [(old.payload, new.payload) for old, new in zip(jobs, named, strict=True)]
    await source.store.rename(source.claim, line.queue, pairs)
    return named


def _read(payload: bytes, queue: str, max_bytes: int) -> Job:
    if len(payload) > max_bytes:
        raise MalformedPayload(f"larger than max_read_bytes ({max_bytes})")
    return Job.decode(payload, queue)


async def audit(line: Line, source: Source) -> None:
    """Send back what lies in our backup queue and is held by nobody here.

    A reply that was lost, or a command that a hung server executed after we had given up on it, leaves jobs there.
    The poller calls this between its fetches, when no job can be on its way; byte-equal payloads are counted.
    """
    held = Counter(job.payload for job in line.held.values())
    stranded: list[bytes] = []
    for payload in await source.store.backup(source.claim, line.queue):
        if held[payload] > 0:
            held[payload] -= 1
        else:
            stranded.append(payload)
    if stranded:
        logger.warning("jobs held by nobody go back: queue=%s jobs=%d", line.queue, len(stranded))
    # The newest go first, so that the oldest is taken next.
    await source.settler.settle([Settlement("push_back", line.queue, payload, payload) for payload in stranded])
