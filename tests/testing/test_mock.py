"""What becomes of jobs under a mock: as in production, but for where they go."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import exq_anyio as exq
from exq_anyio.testing import EnqueuedJob, Mock

NOWHERE = "redis://127.0.0.1:1"
"""Nobody listens there."""

performed: list[object] = []
inherited: ContextVar[str] = ContextVar("inherited", default="nothing")


@pytest.fixture(autouse=True)
def nothing_performed() -> Iterator[None]:
    yield
    performed.clear()


@exq.worker(queue="mail", max_retries=1)
async def notes(text: str) -> str:
    performed.append(text)
    return text.upper()


@exq.worker(max_retries=1)
async def fails(text: str) -> None:
    performed.append(text)
    raise ValueError(text)


@exq.worker
async def chain(left: int) -> None:
    performed.append(left)
    if left:
        async with exq.open(config(), mode="enqueuer") as q:
            await q.push(chain.job(left - 1))


@exq.worker
def blocks(text: str) -> int:
    performed.append((text, exq.worker_job().jid, threading.get_ident()))
    return 7


@exq.worker
async def ends(verdict: str) -> object:
    return {"snooze": exq.Snooze(60), "dead": exq.Dead("no hope"), "discard": exq.Discard()}[verdict]


@exq.worker
async def wants_number(number: Decimal) -> None:
    performed.append(number)


WORKERS = (notes, fails, chain, blocks, ends, wants_number)


def config(**settings: Any) -> exq.Config:
    return exq.Config(**{"url": NOWHERE, "workers": WORKERS, **settings})


def shown(jobs: list[EnqueuedJob]) -> list[tuple[object, ...]]:
    return [(job.worker, job.args, job.queue, job.place) for job in jobs]


# Fake


async def test_jobs_are_kept_as_they_would_be_written() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            first = await q.push(notes.job("a"))
            second = await q.enqueue_in("low", 60, "Ruby::Job", [1], tags=["x"])
        one, other = mock.jobs()
    assert one.record == {
        "retry": 1, "queue": "mail", "class": "notes", "args": ["a"], "jid": first,
        "created_at": one.record["created_at"], "enqueued_at": one.record["created_at"],
    }  # fmt: skip
    assert (one.place, one.due) == ("queue", None)
    assert other.record == {
        "retry": True, "queue": "low", "class": "Ruby::Job", "args": [1], "jid": second,
        "created_at": other.record["created_at"], "tags": ["x"],
    }  # fmt: skip
    assert other.place == "schedule"
    assert other.created_at is not None
    assert other.due == other.created_at + timedelta(seconds=60)
    assert performed == []


async def test_jobs_are_chosen_by_queue_worker_and_place_and_cleared() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.enqueue_all([fails.job("a"), notes.job("b"), notes.job("c").on(queue="low", after=5)])
        assert shown(mock.jobs()) == [
            ("fails", ["a"], "default", "queue"),
            ("notes", ["b"], "mail", "queue"),
            ("notes", ["c"], "low", "schedule"),
        ]
        assert shown(mock.jobs(queue="low")) == [("notes", ["c"], "low", "schedule")]
        assert [job.args for job in mock.jobs(worker=notes)] == [["b"], ["c"]]
        assert [job.args for job in mock.jobs(worker="fails")] == [["a"]]
        assert [job.args for job in mock.jobs(place="schedule")] == [["c"]]
        assert [job.args for job in mock.enqueued(worker=notes)] == [["b"], ["c"]]
        mock.clear()
        assert (mock.jobs(), mock.enqueued(), await mock.drain()) == ([], [], [])


@pytest.mark.parametrize("mode", ["fake", "inline"])
async def test_what_fails_at_enqueue_in_production_fails_here(mode: Any) -> None:
    with Mock(mode) as mock:
        async with exq.open(config(max_payload_bytes=1000)) as q:
            with pytest.raises(exq.ArgumentError, match="object"):
                await q.enqueue("default", notes, [object()])
            with pytest.raises(exq.ArgumentError):
                await q.enqueue("default", "notes", ["one", "too many"])
            with pytest.raises(exq.InvalidQueue):
                await q.enqueue("a\nb", notes, ["a"])
            with pytest.raises(exq.PayloadTooLarge):
                await q.enqueue("default", notes, ["a" * 1000])
            with pytest.raises(exq.TooManyJobs):
                await q.enqueue_all(notes.job("a") for _ in range(10_001))
        assert mock.enqueued() == []
    assert performed == []


async def test_a_wrong_setting_is_an_error_also_here() -> None:
    with Mock(), pytest.raises(exq.ConfigError):
        async with exq.open(url=NOWHERE, concurency=1):
            pass


async def test_a_unique_job_conflicts_until_it_has_been_performed_or_its_time_is_over() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            holder = await q.enqueue("mail", notes, ["a"], unique_for=60)
            with pytest.raises(exq.Conflict) as caught:
                await q.enqueue("mail", notes, ["a"], unique_for=60)
            assert caught.value.jid == holder
            await mock.drain()
            await q.enqueue("mail", notes, ["a"], unique_for=3600, unique_until="expiry")
            await mock.drain(until=3500)
            with pytest.raises(exq.Conflict):
                await q.enqueue("mail", notes, ["a"], unique_for=60)
            await mock.drain(until=101)
            await q.enqueue("mail", notes, ["a"], unique_for=60)
    assert len(mock.enqueued()) == 3


async def test_an_instance_knows_its_queues_and_its_mode() -> None:
    with Mock():
        async with exq.open(config(queues={"mail": 5, "low": None})) as q:
            await q.subscribe("new", concurrency=2)
            await q.unsubscribe("low")
            assert q.subscriptions() == {"mail": 5, "new": 2}
            assert q.node_id is not None
            await q.unsubscribe_all()
            assert q.subscriptions() == {}
        async with exq.open(config(mode="enqueuer")) as q:
            assert (q.node_id, q.subscriptions()) == (None, {})
            with pytest.raises(exq.WrongMode):
                await q.subscribe("new")


async def test_client_middleware_wraps_the_enqueue() -> None:
    seen: list[object] = []

    @contextlib.asynccontextmanager
    async def sees(spec: exq.JobSpec) -> AsyncIterator[None]:
        seen.append(spec.args)
        yield

    with Mock():
        async with exq.open(config(client_middleware=[sees])) as q:
            await q.push(notes.job("a"))
    assert seen == [("a",)]


# Drain


async def test_drain_performs_what_is_there_in_order_and_what_that_enqueues() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.enqueue_all([chain.job(2), notes.job("a"), blocks.job("b")])
        runs = await mock.drain()
        assert mock.jobs() == []
    assert [(run.job.worker, run.outcome, run.result, run.error) for run in runs] == [
        ("chain", "done", None, None), ("notes", "done", "A", None), ("blocks", "done", 7, None),
        ("chain", "done", None, None), ("chain", "done", None, None),
    ]  # fmt: skip


async def test_drain_moves_the_clock_to_what_is_scheduled_and_to_what_is_retried() -> None:
    with Mock() as mock:
        began = mock.clock()
        async with exq.open(config()) as q:
            await q.enqueue_in("default", 3600, notes, ["late"])
            await q.push(fails.job("again"))
        runs = await mock.drain(raises=False)
        assert performed == ["again", "again", "late"]
        assert [run.outcome for run in runs] == ["retry", "dead", "done"]
        assert mock.clock() - began >= 3600
        assert shown(mock.jobs(place="dead")) == [("fails", ["again"], "default", "dead")]
        (dead,) = mock.jobs(place="dead")
        assert (dead.error_class, dead.error_message, dead.retry_count) == ("ValueError", "again", 1)
        assert mock.jobs() == []


async def test_drain_stops_at_an_instant_and_the_clock_is_then_there() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            for seconds in (1000, 2000, 3000):
                await q.enqueue_in("default", seconds, notes, [str(seconds)])
        until = datetime.fromtimestamp(mock.clock(), UTC) + timedelta(seconds=2500)
        await mock.drain(until=until)
        assert (performed, len(mock.jobs())) == (["1000", "2000"], 1)
        assert 0 <= mock.clock() - until.timestamp() < 500
        await mock.drain(until=timedelta(seconds=100))
        assert performed == ["1000", "2000"]
        await mock.drain(until=600)
        assert performed == ["1000", "2000", "3000"]


async def test_drain_raises_what_a_job_raises_and_leaves_it_as_production_does() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.enqueue_all([fails.job("a"), notes.job("b")])
        with pytest.raises(ValueError, match=r"^a$"):
            await mock.drain()
        assert shown(mock.jobs()) == [("fails", ["a"], "default", "retry"), ("notes", ["b"], "mail", "queue")]


async def test_drain_of_a_queue_leaves_the_others() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.enqueue_all([fails.job("a"), notes.job("b"), notes.job("c").on(after=5)])
        await mock.drain(queue="mail")
        assert (performed, shown(mock.jobs())) == (["b", "c"], [("fails", ["a"], "default", "queue")])


async def test_drain_ends_when_jobs_enqueue_each_other_for_ever() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            await q.push(chain.job(1_000_000))
        with pytest.raises(AssertionError, match="50 jobs were performed, the last one by 'chain', and there are more"):
            await mock.drain(limit=50)


def test_drain_for_a_test_that_blocks_performs_in_its_own_thread() -> None:
    with Mock() as mock:
        jid = exq.sync(config()).push(blocks.job("a"))
        (run,) = mock.drain_sync()
    assert (run.outcome, run.result, performed) == ("done", 7, [("a", jid, threading.get_ident())])


# Inline


async def test_a_job_is_performed_in_the_callers_task_before_its_enqueue_returns() -> None:
    tasks = []

    @exq.worker
    async def here() -> None:
        tasks.append((anyio.get_current_task().id, exq.worker_job().worker, inherited.get()))
        inherited.set("what a job sets stays in it")

    inherited.set("from the caller")
    with Mock("inline") as mock:
        async with exq.open(config(workers=[here])) as q:
            await q.push(here.job())
            await q.push(here.job().on(after=1000))
            assert tasks == [(anyio.get_current_task().id, "here", "from the caller")] * 2
        assert (mock.jobs(), len(mock.enqueued())) == ([], 2)
    assert inherited.get() == "from the caller"


async def test_what_a_job_raises_is_raised_by_the_enqueue_with_the_job_where_production_has_it() -> None:
    with Mock("inline") as mock:
        async with exq.open(config()) as q:
            with pytest.raises(ValueError, match=r"^a$"):
                await q.push(fails.job("a"))
            with pytest.raises(ValueError, match=r"^b$"):
                await q.enqueue("default", fails, ["b"], max_retries=0)
            with pytest.raises(exq.UnknownWorker):
                await q.enqueue("default", "Nobody", [])
            with pytest.raises(exq.ArgumentError):
                await q.enqueue("default", wants_number, ["no number"])
        assert [(job.worker, job.error_class, job.place) for job in mock.jobs()] == [
            ("fails", "ValueError", "retry"), ("Nobody", "UnknownWorker", "retry"),
            ("wants_number", "ArgumentError", "retry"),
        ]  # fmt: skip
        assert [job.args for job in mock.jobs(place="dead")] == [["b"]]


async def test_the_jobs_after_one_that_fails_wait() -> None:
    with Mock("inline") as mock:
        async with exq.open(config()) as q:
            with pytest.raises(ValueError, match=r"^b$"):
                await q.enqueue_all([notes.job("a"), fails.job("b"), notes.job("c")])
        assert performed == ["a", "b"]
        assert shown(mock.jobs()) == [("fails", ["b"], "default", "retry"), ("notes", ["c"], "mail", "queue")]


async def test_other_outcomes_are_no_failure() -> None:
    with Mock("inline") as mock:
        async with exq.open(config()) as q:
            for verdict in ("snooze", "dead", "discard"):
                await q.push(ends.job(verdict))
        assert [(job.args, job.place) for job in mock.jobs()] == [(["snooze"], "schedule")]
        assert [(job.args, job.error_message) for job in mock.jobs(place="dead")] == [(["dead"], "no hope")]


async def test_middleware_wraps_the_job_and_may_halt_it() -> None:
    @contextlib.asynccontextmanager
    async def halts(job: exq.Job) -> AsyncIterator[None]:
        performed.append(f"before {job.args}")
        if job.args == ["no"]:
            raise exq.Halt
        yield
        performed.append(f"after {exq.job_result()}")

    with Mock("inline") as mock:
        async with exq.open(config(middleware=[halts])) as q:
            await q.enqueue_all([notes.job("yes"), notes.job("no")])
        assert mock.jobs() == []
    assert performed == ["before ['yes']", "yes", "after YES", "before ['no']"]


async def test_a_worker_that_blocks_is_performed_in_a_thread_of_its_own_where_the_caller_does_not_block() -> None:
    with Mock("inline"):
        async with exq.open(config()) as q:
            jid = await q.push(blocks.job("a"))
    ((text, in_job, thread),) = performed  # type: ignore[misc]  # a tuple of three
    assert (text, in_job) == ("a", jid)  # type: ignore[has-type]  # set by the job
    assert thread != threading.get_ident()  # type: ignore[has-type]  # set by the job


async def test_a_job_fails_when_its_timeout_is_over() -> None:
    @exq.worker
    async def sleeps() -> None:
        await anyio.sleep(60)

    with Mock("inline"):
        async with exq.open(config(workers=[sleeps])) as q:
            with pytest.raises(exq.JobTimeout):
                await q.enqueue("default", sleeps, timeout=0.01)


async def test_who_is_cancelled_during_a_job_leaves_it_in_its_queue() -> None:
    @exq.worker
    async def sleeps() -> None:
        scope.cancel()
        await anyio.sleep(60)

    with Mock("inline") as mock:
        async with exq.open(config(workers=[sleeps])) as q:
            with anyio.CancelScope() as scope:
                await q.push(sleeps.job())
        assert scope.cancelled_caught
        assert shown(mock.jobs()) == [("sleeps", [], "default", "queue")]


# For whom it is in force


async def test_each_of_the_tests_that_run_beside_each_other_has_its_own_mode_and_jobs() -> None:
    seen: dict[str, object] = {}

    async def one_test(name: str, mode: Any, ready: anyio.Event, other: anyio.Event) -> None:
        mock.set_mode(mode)
        async with exq.open(config()) as q:
            ready.set()
            await other.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(q.push, notes.job(name))
        seen[name] = (mock.mode, [job.args for job in mock.jobs()], [job.args for job in mock.enqueued()])

    with Mock() as mock:
        first, second = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tests:
            tests.start_soon(one_test, "kept", "fake", first, second)
            tests.start_soon(one_test, "performed", "inline", second, first)
        assert (mock.mode, mock.enqueued()) == ("fake", [])
    assert seen == {"kept": ("fake", [["kept"]], [["kept"]]), "performed": ("inline", [], [["performed"]])}
    assert performed == ["performed"]


async def test_a_mode_ends_with_its_block() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            with mock.set_mode("inline"):
                await q.push(notes.job("a"))
            await q.push(notes.job("b"))
        assert (performed, [job.args for job in mock.jobs()]) == (["a"], [["b"]])


async def test_tasks_and_threads_that_the_test_starts_are_under_its_mock_and_nobody_else_is() -> None:
    """What was there before asks for the real Redis, where nobody is."""
    begun, seen = anyio.Event(), []

    async def was_there_before() -> None:
        await begun.wait()
        with pytest.raises(exq.RedisUnavailable):
            async with exq.open(config(mode="enqueuer")):
                pass
        seen.append("before")

    async with anyio.create_task_group() as others:
        others.start_soon(was_there_before)
        await anyio.lowlevel.checkpoint()
        with Mock() as mock:
            begun.set()
            await anyio.to_thread.run_sync(exq.sync(config()).push, notes.job("thread"))
            while not seen:
                await anyio.sleep(0.001)
            assert [job.args for job in mock.jobs()] == [["thread"]]
        with pytest.raises(exq.RedisUnavailable):
            async with exq.open(config(mode="enqueuer")):
                pass


async def test_a_mock_may_be_in_force_also_for_what_was_there_before() -> None:
    begun, done = anyio.Event(), anyio.Event()

    async def was_there_before() -> None:
        await begun.wait()
        async with exq.open(config()) as q:
            await q.push(notes.job("task"))
        done.set()

    async with anyio.create_task_group() as others:
        others.start_soon(was_there_before)
        await anyio.lowlevel.checkpoint()
        with Mock(everywhere=True) as mock:
            begun.set()
            await done.wait()
            thread = threading.Thread(target=exq.sync(config()).push, args=[notes.job("thread")])
            thread.start()
            await anyio.to_thread.run_sync(thread.join)
        assert [job.args for job in mock.jobs()] == [["task"], ["thread"]]


async def test_an_instance_that_names_the_mock_uses_it_wherever_it_is() -> None:
    mock = Mock()
    async with exq.open(config(queue_adapter=mock)) as q:
        await q.push(notes.job("a"))
        await mock.drain()
    await anyio.to_thread.run_sync(exq.sync(config(queue_adapter=mock)).push, notes.job("b"))
    assert (performed, [job.args for job in mock.jobs()]) == (["a"], [["b"]])


async def test_serve_performs_nothing_and_ends_as_ever() -> None:
    ended: list[bool] = []

    async def serve() -> None:
        ended.append(await exq.serve(config(queues=["mail"])))

    before = signal.getsignal(signal.SIGTERM)
    with Mock() as mock, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            while signal.getsignal(signal.SIGTERM) == before:
                await anyio.sleep(0.001)
            async with exq.open(config(mode="enqueuer")) as q:
                await q.push(notes.job("a"))
            os.kill(os.getpid(), signal.SIGTERM)
    assert (ended, performed, len(mock.jobs())) == ([True], [], 1)


async def test_two_instances_do_not_mix_their_namespaces_and_each_performs_with_its_own_workers() -> None:
    @exq.worker(name="notes")
    async def other_notes(text: str) -> None:
        performed.append(f"other {text}")

    with Mock() as mock:
        async with (
            exq.open(config()) as one,
            exq.open(config(namespace="other", workers=[other_notes])) as other,
        ):
            await one.enqueue("q", "notes", ["a"], unique_for=60, unique_token="t")
            await other.enqueue("q", "notes", ["a"], unique_for=60, unique_token="t")
        await mock.drain()
    assert performed == ["a", "other a"]


async def test_a_job_is_performed_by_an_instance_that_knows_its_worker() -> None:
    with Mock() as mock:
        async with exq.open(config(workers=[notes])) as knows, exq.open(config(workers=[blocks])) as enqueues:
            await knows.push(notes.job("a"))
            await enqueues.enqueue("q", "notes", ["b"])
        await mock.drain()
    assert performed == ["a", "b"]


async def test_an_adapter_of_the_apps_own_gets_nothing_under_a_mock() -> None:
    class Forwards:
        async def push(self, jobs: object) -> dict[int, str]:
            raise AssertionError

    with Mock() as mock:
        async with exq.open(config(queue_adapter=Forwards())) as q:
            await q.push(notes.job("a"))
    assert len(mock.jobs()) == 1


# Redis


async def test_jobs_go_to_the_server_of_the_mock_and_are_noted(valkey: Any, namespace: str) -> None:
    done = anyio.Event()

    @exq.worker
    async def tells() -> None:
        done.set()

    with Mock("redis", url=lambda: valkey.url, namespace=namespace) as mock:
        async with exq.open(config(workers=[tells], password="of another server", database=3)) as q:
            assert q.config.namespace == f"{namespace}-exq"
            await q.push(tells.job())
            with anyio.fail_after(10):
                await done.wait()
        mock.assert_enqueued(tells, count=1)
        with pytest.raises(exq.WrongMode):
            mock.jobs()
        with pytest.raises(exq.WrongMode):
            await mock.drain()


async def test_an_instance_that_was_opened_on_a_server_obeys_the_mode(valkey: Any, namespace: str) -> None:
    with Mock("redis", url=valkey.url, namespace=namespace) as mock:
        async with exq.open(config(mode="enqueuer")) as q:
            await q.push(notes.job("to the server"))
            with mock.set_mode("inline"):
                await q.push(notes.job("at once"))
    assert performed == ["at once"]


async def test_an_instance_that_was_opened_without_a_server_cannot_go_to_one() -> None:
    with Mock() as mock:
        async with exq.open(config()) as q:
            mock.set_mode("redis")
            with pytest.raises(exq.WrongMode, match="without a server"):
                await q.push(notes.job("a"))


def test_a_mode_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="fake, inline, redis, and not 'real'"):
        Mock("real")  # type: ignore[arg-type]  # on purpose
