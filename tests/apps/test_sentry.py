"""What Sentry is sent of jobs that are given up, by its own client."""

from __future__ import annotations

import json
from typing import Any

from .receiver import receiver
from .test_apps import run


def test_the_jobs_that_are_given_up_are_reported_without_their_arguments() -> None:
    events: list[dict[str, Any]] = []

    def take(path: str, _: str, body: bytes) -> bool:
        items = body.splitlines()[1:]  # of pairs of lines: what it is, and that
        sent = zip(items[::2], items[1::2], strict=False)
        events.extend(json.loads(item) for header, item in sent if json.loads(header)["type"] == "event")
        return path == "/api/7/envelope/"

    with receiver(take) as port:
        ended = run("sentry", "reported.py", SENTRY_DSN=f"http://key@127.0.0.1:{port}/7")

    assert (ended.stdout.splitlines()[-1], ended.returncode) == ("given up: divide ship", 0), ended.stderr
    by_worker = {event["tags"]["worker"]: event for event in events}
    assert (len(events), set(by_worker)) == (2, {"divide", "ship"})
    failed, hopeless = by_worker["divide"], by_worker["ship"]
    (raised,) = failed["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ZeroDivisionError", "division by zero")
    assert raised["stacktrace"]["frames"][-1]["function"] == "divide"
    assert not any("vars" in frame for frame in raised["stacktrace"]["frames"])
    assert (failed["contexts"]["job"]["retries"], failed["tags"]["queue"]) == (1, "default")
    assert (hopeless["message"], hopeless["level"]) == ("Dead: there is no such order", "error")
