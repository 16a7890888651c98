"""What is enqueued, and how it ends: from few values, so that payloads are often equal byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from exq_anyio.errors import JobCancelled, MalformedPayload
from exq_anyio.exchange import Outgoing
from exq_anyio.job import JSON, Job, Record, encode
from exq_anyio.outcome import Dead, Discard, Policy, Settlement, Snooze, judge, malformed, push_back

QUEUES = ("a", "b")
POLICY = Policy(max_retries=2, backoff=lambda job, error: 0 if job.retry_count == 0 else 1e6)


def _record(number: int, queue: str, retry: JSON, **more: JSON) -> bytes:
    fields: Record = {"class": "W", "args": [f"job-{number}"], "jid": f"j{number}", "retry": retry, "queue": queue}
    return encode({**fields, "n": 7**99, **more})


@attrs.frozen
class Shape:
    """A job to be enqueued, but for the time."""

    queue: str
    payload: bytes
    jid: str
    wait: float | None
    """Seconds until it is due; None: now."""
    token: str | None = None

    def at(self, now: float) -> Outgoing:
        due = None if self.wait is None else now + self.wait
        return Outgoing(self.queue, self.payload, self.jid, due, None if self.token is None else (self.token, 3600.0))


def _plain(number: int, retry: JSON, wait: float | None) -> Iterator[Shape]:
    for queue in QUEUES:
        yield Shape(queue, _record(number, queue, retry), f"j{number}", wait)


def _unique(number: int, token: str, until: str) -> Iterator[Shape]:
    payload = _record(number, "a", True, unique_token=token, unique_until=until)
    for wait in (None, -100.0):
        yield Shape("a", payload, f"j{number}", wait, token)


NAMELESS = b'{"class":"R","args":["resque"]}'
"""As Resque writes a job, without a jid."""

_ODD = (
    NAMELESS,
    b"\xff{no json",
    b"[1]",
    b'{"class":"W","args":["traceless"],"dead":false,"retry":0}',
)

SHAPES: tuple[Shape, ...] = (
    *(shape for number in range(3) for retry in (True, False, 0, 1) for shape in _plain(number, retry, None)),
    *(shape for number in range(3) for wait in (-100.0, -100.0, 1e6) for shape in _plain(number, True, wait)),
    *(shape for number in (4, 5) for token in ("t0", "t1") for shape in _unique(number, token, "success")),
    *(shape for until in ("start", "expiry") for shape in _unique(6, "t1", until)),
    *(Shape(queue, payload, "", None) for queue in QUEUES for payload in _ODD),
)

GHOST = _record(9, "a", True)
"""A payload that nobody ever put in."""

PUSH_BACK = "push back"
ENDINGS: tuple[object, ...] = (
    None, None, PUSH_BACK, PUSH_BACK, ValueError("planned"), ValueError("planned"),
    Snooze(0), Snooze(1e6), Dead("planned"), Discard(), JobCancelled(),
)  # fmt: skip


def settlement(payload: bytes, queue: str, ended: object, now: float) -> Settlement:
    try:
        job = Job.decode(payload, queue)
    except MalformedPayload as error:
        return malformed(payload, queue, error.reason, is_json=error.is_json, now=now, policy=POLICY)
    return push_back(job) if ended is PUSH_BACK else judge(job, ended, now, 0.5, POLICY)
