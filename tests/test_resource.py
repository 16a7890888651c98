"""Resources: entered and left at the right moments, given by type, on a real server and under a mock."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any, NewType

import anyio
import attrs
import pytest

import exq_anyio as exq
from exq_anyio.api import Entry
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock

told: list[str] = []


@pytest.fixture(autouse=True)
def nothing_was_told() -> None:
    told.clear()


@attrs.frozen
class Database:
    name: str = "db"


@attrs.frozen
class Session:
    database: Database
    jid: str


Unheard = NewType("Unheard", str)


@exq.resource
async def database() -> AsyncIterator[Database]:
    told.append("database opens")
    try:
        yield Database()
    finally:
        told.append("database closes")


@exq.resource(per="job")
async def session(database: Database, job: exq.Job) -> AsyncIterator[Session]:
    told.append("session opens")
    try:
        yield Session(database, job.jid)
    except Exception as error:
        told.append(f"session rolls back {error!r}")
        raise
    else:
        told.append("session commits")


@exq.worker
async def store(what: str, *, session: Session = exq.given) -> str:
    told.append(f"store {what} in {session.database.name}")
    if what == "bad":
        raise ValueError(what)
    return session.jid


@exq.worker
def store_in_thread(what: str = "-", *more: str, session: Session = exq.given, db: Database = exq.given) -> None:
    assert threading.current_thread() is not threading.main_thread()
    told.append(f"thread stores {what} {more} in {session.database is db}")


class Plain(exq.Worker):
    async def perform(self, *, db: Database = exq.given) -> exq.Snooze | None:
        told.append(f"plain {db.name}")
        return None


@exq.worker
async def last() -> None:
    told.append("last")


class Wrap:
    """A middleware."""

    def __init__(self, job: exq.Job) -> None: ...

    async def __aenter__(self) -> None:
        told.append("middleware begins")

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        told.append(f"middleware ends {kind and kind.__name__}")


@pytest.fixture
def opened(valkey: EmbeddedServer, namespace: str) -> Any:
    workers = (store, store_in_thread, Plain, last)
    where: dict[str, object] = {"url": valkey.url, "redis_options": {"connect_timeout": 10}, "namespace": namespace}
    defaults = where | {"workers": workers, "resources": [database, session]}
    return lambda **settings: exq.open({**defaults, **settings})


async def until_told(what: str) -> None:
    with anyio.fail_after(10):
        while what not in told:
            await anyio.sleep(0.005)


def refuse() -> None:
    raise ConnectionError("no connection")


def error_of(entry: Entry) -> str:
    assert entry.job is not None
    return f"{entry.job.record['error_class']}: {entry.job.record['error_message']}"


# The moments


async def test_a_job_s_resource_is_inside_its_middleware_and_the_node_s_around_all(opened: Any) -> None:
    async with opened(middleware=[Wrap]) as q:
        assert told == ["database opens"]  # before the first job is there
        await q.push(store.job("a"))
        await until_told("middleware ends None")
    job = ["middleware begins", "session opens", "store a in db", "session commits", "middleware ends None"]
    assert told == ["database opens", *job, "database closes"]


async def test_a_job_that_fails_is_seen_by_its_resource_and_retried(opened: Any) -> None:
    async with opened() as q:
        await q.push(store.job("bad"))
        await until_told("session rolls back ValueError('bad')")
        with anyio.fail_after(10):
            while not (retries := [entry async for entry in q.api.retries()]):
                await anyio.sleep(0.005)
    assert error_of(retries[0]) == "ValueError: bad"


async def test_what_a_job_does_not_ask_for_is_not_made(opened: Any) -> None:
    async with opened() as q:
        await q.push(Plain.job())
        await q.push(last.job())
        await until_told("plain db")
        await until_told("last")
    assert told == ["database opens", "plain db", "last", "database closes"]


async def test_a_job_s_resource_may_need_another_one_and_is_left_before_it() -> None:
    @exq.resource(per="job")
    async def prefix(session: Session) -> AsyncIterator[Unheard]:
        yield Unheard(f"in {session.database.name}")
        told.append("prefix ends")

    @exq.worker
    async def tell(*, prefix: Unheard = exq.given) -> None:
        told.append(prefix)

    with Mock("inline"):
        async with exq.open(workers=[tell], resources=[database, session, prefix]) as q:
            await q.push(tell.job())
    assert told == ["database opens", "session opens", "in db", "prefix ends", "session commits", "database closes"]


async def test_a_thread_is_given_resources_too(opened: Any) -> None:
    async with opened() as q:
        await q.push(store_in_thread.job("a", "b"))
        await until_told("session commits")
    assert told[1:3] == ["session opens", "thread stores a ('b',) in True"]


async def test_the_node_s_resources_are_left_after_the_last_outcome(opened: Any, redis: Any, namespace: str) -> None:
    begun = anyio.Event()

    @exq.worker
    async def long(*, db: Database = exq.given) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            told.append("long is cancelled")

    @exq.resource
    async def watch() -> AsyncIterator[Unheard]:
        yield Unheard("")
        told.append(f"waiting: {await redis.llen(f'{namespace}:queue:default')}")

    async with opened(workers=[long], resources=[watch, database], shutdown_timeout=0) as q:
        await q.push(long.job())
        await begun.wait()
    assert told == ["database opens", "long is cancelled", "database closes", "waiting: 1"]


# Errors


async def test_an_error_in_entering_a_job_s_resource_is_a_failure_of_the_job(opened: Any) -> None:
    @exq.resource(per="job")
    async def broken() -> AsyncIterator[Session]:
        refuse()
        yield Session(Database(), "")

    async with opened(resources=[broken, database], max_retries=0) as q:
        await q.push(store.job("a"))
        with anyio.fail_after(10):
            while not (dead := [entry async for entry in q.api.dead()]):
                await anyio.sleep(0.005)
    assert error_of(dead[0]) == "ConnectionError: no connection"
    assert "store a in db" not in told


async def test_an_error_in_entering_the_node_s_leaves_as_itself_and_those_before_are_left(opened: Any) -> None:
    @exq.resource
    async def broken(database: Database) -> AsyncIterator[Session]:
        refuse()
        yield Session(Database(), "")

    with pytest.raises(ConnectionError, match="no connection"):
        async with opened(resources=[database, broken]):
            pytest.fail("it was opened")
    assert told == ["database opens", "database closes"]


async def test_a_resource_that_breaks_while_the_node_works_ends_the_instance_with_its_error(opened: Any) -> None:
    breaks = anyio.Event()

    async def fail() -> None:
        await breaks.wait()
        raise ConnectionError("broken pipe")

    @exq.resource
    async def pool() -> AsyncIterator[Database]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            yield Database("pool")

    with anyio.fail_after(10), pytest.raises(ConnectionError, match="broken pipe"):  # noqa: PT012
        async with opened(resources=[pool, session]) as q:
            await q.push(store.job("a"))
            await until_told("session commits")
            breaks.set()
            await anyio.sleep_forever()


async def test_a_resource_that_does_not_end_delays_the_end_for_a_while_only(
    opened: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exq_anyio.app.LEAVING", 0.2)

    @exq.resource
    async def slow() -> AsyncIterator[Database]:
        yield Database()
        await anyio.sleep_forever()

    async with opened(resources=[slow, session]):
        began = anyio.current_time()
    assert 0.2 <= anyio.current_time() - began < 30  # it would have been for ever
    assert "resources were not left in 0.2 s" in caplog.text


@exq.resource
async def second_database() -> AsyncIterator[Database]:
    yield Database("second")


@exq.resource
async def hoarder(session: Session) -> AsyncIterator[Unheard]:
    yield Unheard("")


@exq.resource
async def vague() -> AsyncIterator[Any]:
    yield None


@exq.resource
async def untyped(database) -> AsyncIterator[Unheard]:  # type: ignore[no-untyped-def]
    yield Unheard("")


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ([session, database], "session needs Database as 'database', which no resource before it gives"),
        ([database, second_database], "database and .*second_database give the same type"),
        ([database, session, hoarder], "hoarder lives as long as the node, and cannot hold Session of one job"),
        ([database, session, vague], "vague must say what it yields"),
        ([database, session, untyped], "untyped: database must have a type"),
        (["tests.test_resource:told"], "'tests.test_resource:told' is no resource"),
        (["tests.test_resource:nothing"], "cannot import 'tests.test_resource:nothing'"),
    ],
)
async def test_what_cannot_be_given_is_an_error_at_the_start(resources: Any, problem: str) -> None:
    with Mock(), pytest.raises(exq.ConfigError, match=f"resources: .*{problem}"):
        async with exq.open(workers=[store], resources=resources):
            pytest.fail("it was opened")


async def test_a_worker_that_asks_for_what_nobody_gives_is_an_error_at_the_start() -> None:
    with Mock(), pytest.raises(exq.WorkerError, match="store: no resource gives 'session' a Session; add one"):
        async with exq.open(workers=[last, store], resources=[database]):
            pytest.fail("it was opened")


@pytest.mark.parametrize("resources", [7, [7], [Database]])
def test_what_is_no_resource_is_a_wrong_setting(resources: Any) -> None:
    with pytest.raises(exq.ConfigError, match="resources: must be a list"):
        exq.Config(resources=resources)


def test_a_resource_is_an_async_generator_function() -> None:
    with pytest.raises(exq.ConfigError, match="must be an `async def` that yields"):
        exq.resource(lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(exq.ConfigError, match='per must be "node" or "job"'):
        exq.resource(per="request")(vague.__wrapped__)  # type: ignore[call-overload, attr-defined]


# Where the job is made


def positional(what: str, session: Session = exq.given) -> None: ...
def no_hint(what: str, *, session=exq.given) -> None: ...  # type: ignore[no-untyped-def]
def not_given(what: str, *, session: Session) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (positional, r"positional: what is given needs a name and a type: \*, session: Type = exq.given"),
        (no_hint, r"no_hint: what is given needs a name and a type"),
        (not_given, "not_given: session can only be given by name, .* if it is a resource, say `= exq.given`"),
    ],
)
def test_what_a_worker_is_given_is_marked_as_such(function: Any, problem: str) -> None:
    with pytest.raises(exq.WorkerError, match=problem):
        exq.worker(function)


def test_what_is_given_is_no_argument_of_the_job() -> None:
    assert store.job("a").args == ("a",)
    assert store_in_thread.job().args == ()
    assert Plain.job().args == ()
    with pytest.raises(exq.ArgumentError, match="store: takes 1 argument, 2 were given"):
        store.job("a", Session(Database(), ""))  # type: ignore[call-arg]
    with pytest.raises(exq.ArgumentError, match="unexpected keyword argument 'session'"):
        store.job("a", session=Session(Database(), ""))


async def test_a_call_of_one_s_own_passes_it() -> None:
    assert await store("a", session=Session(Database("mine"), "jid")) == "jid"
    assert told == ["store a in mine"]
    with pytest.raises(LookupError, match=r"asked for .database of what only a job is given"):
        await store("a")


async def test_who_only_enqueues_needs_no_resources() -> None:
    with Mock() as mock:
        async with exq.open(mode="enqueuer") as q:
            await q.push(store.job("a"))
        mock.assert_enqueued(store.job("a"))


# Under a mock


async def test_inline_a_job_is_given_what_the_instance_names() -> None:
    with Mock("inline"):
        async with exq.open(resources=[database, session]) as q:
            await q.push(store.job("a"))
            with pytest.raises(ValueError, match="bad"):
                await q.push(store.job("bad"))
    one = ["database opens", "session opens", "store a in db", "session commits", "database closes"]
    assert told[:5] == one
    assert told[6:8] == ["session opens", "store bad in db"]


async def test_what_one_instance_enqueues_is_performed_with_what_the_node_has() -> None:
    with Mock() as mock:
        async with (
            exq.open(mode="enqueuer") as q,
            exq.open(resources=["tests.test_resource:database", "tests.test_resource:session"]),
        ):
            await q.push(store.job("a"))
            (run,) = await mock.drain()
    assert run.result == run.job.jid


@exq.resource
async def of_the_test() -> AsyncIterator[Database]:
    yield Database("of the test")


@pytest.mark.parametrize("mode", ["fake", "inline", "redis"])
async def test_a_test_may_give_others(mode: Any, valkey: EmbeddedServer, namespace: str) -> None:
    with Mock(mode, url=valkey.url, namespace=namespace) as mock:
        mock.give(of_the_test)
        async with exq.open(resources=[database, session]) as q:
            await q.push(store.job("a"))
            if mode == "fake":
                await mock.drain()
            await until_told("session commits")
    assert told == ["session opens", "store a in of the test", "session commits"]


async def test_without_a_resource_the_job_stays_and_the_error_says_what_is_missing() -> None:
    with Mock() as mock:
        async with exq.open(mode="enqueuer") as q:
            await q.push(store.job("a"))
        with pytest.raises(exq.WorkerError, match="no resource gives 'session' a Session"):
            await mock.drain()
        assert len(mock.jobs()) == 1
        mock.give(database, session)
        assert [run.outcome for run in await mock.drain()] == ["done"]


def test_a_blocking_caller_s_job_is_given_resources_in_the_caller_s_thread() -> None:
    @exq.worker
    def here(*, db: Database = exq.given) -> None:
        told.append(f"{threading.current_thread() is threading.main_thread()} {db.name}")

    with Mock("inline") as mock:
        mock.give(database)
        exq.sync(workers=[here]).push(here.job())
    assert told == ["database opens", "True db", "database closes"]


def test_a_resource_is_made_by_hand_in_a_test() -> None:
    async def main() -> None:
        async with database() as db:
            assert db == Database()

    anyio.run(main)
    assert told == ["database opens", "database closes"]
