"""What is given to a worker is no argument of its jobs, to a type checker either; see workers.py on `ignore`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import assert_type

import exq_anyio as exq
from exq_anyio import JobSpec, Resource


class Database: ...


class Session: ...


@exq.resource
async def database() -> AsyncIterator[Database]:
    yield Database()


@exq.resource(per="job")
async def session(database: Database, job: exq.Job) -> AsyncIterator[Session]:
    yield Session()


@exq.worker
async def store(what: str, *, session: Session = exq.given) -> None: ...


class Store(exq.Worker):
    async def perform(self, what: str, *, session: Session = exq.given) -> None: ...


def use(one: Resource[..., object]) -> None: ...


assert_type(store.job("a"), JobSpec)
assert_type(Store.job("a"), JobSpec)
assert_type(database(), AbstractAsyncContextManager[Database])
use(database)
use(session)

store.job()  # type: ignore[call-arg]
session()  # type: ignore[call-arg]
exq.resource(per="request")  # type: ignore[call-overload]
