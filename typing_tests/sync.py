"""exq.sync takes what an instance takes, and a type checker says so; see workers.py on what an `ignore` means."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

import exq_anyio as exq
from exq_anyio import Conflict, Sync


@exq.worker
async def greet(name: str) -> None: ...


q = exq.sync(url="redis://localhost")
assert_type(q, Sync)
assert_type(q.push(greet.job("a")), str)
assert_type(q.enqueue("mail", greet, ["a"], max_retries=3, tags=["t"]), str)
assert_type(q.enqueue_in("mail", timedelta(hours=1), "Greet", ["a"]), str)
assert_type(q.enqueue_at("mail", datetime.now(UTC), greet, ["a"]), str)
assert_type(q.enqueue_all([greet.job("a")]), list[str | Conflict])
with q as same:
    assert_type(same, Sync)

q.push("greet")  # type: ignore[arg-type]
q.enqueue("mail", greet, ["a"], retries=3)  # type: ignore[call-arg]
q.enqueue("mail")  # type: ignore[call-arg]
