"""exq.sync: jobs from code that blocks, in threads, after forks, and at the end of a process."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import coredis
import pytest

import exq_anyio as exq
from exq_anyio.client import Client
from exq_anyio.job import Job
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock

from .conftest import PrivateValkey

pytestmark = pytest.mark.long


@exq.worker(queue="mail")
async def greet(name: str) -> None: ...


@pytest.fixture
def q(valkey: EmbeddedServer, namespace: str) -> Iterator[exq.Sync]:
    with exq.sync(url=valkey.url, namespace=namespace, workers=[greet]) as q:
        yield q


@pytest.fixture
def jobs(redis: coredis.Redis[bytes], namespace: str) -> Callable[..., Any]:
    async def jobs(queue: str) -> list[Job]:
        return [Job.decode(one, queue) for one in reversed(await redis.lrange(f"{namespace}:queue:{queue}", 0, -1))]

    return jobs


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "exq.sync"]


def run(code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_it_has_every_method_that_enqueues_with_the_same_parameters_and_words() -> None:
    theirs = {
        name: method
        for name, method in vars(Client).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    ours = {name: getattr(exq.Sync, name) for name in theirs}
    assert {name: (inspect.signature(method), method.__doc__) for name, method in ours.items()} == {
        name: (inspect.signature(method), method.__doc__) for name, method in theirs.items()
    }
    assert [name for name, method in ours.items() if inspect.iscoroutinefunction(method)] == []


async def test_each_method_enqueues_as_that_of_an_instance_does(
    q: exq.Sync, jobs: Callable[..., Any], redis: coredis.Redis[bytes], namespace: str
) -> None:
    now = datetime.now(UTC)
    jids = [
        q.enqueue("mail", greet, ["a"], max_retries=3),
        q.push(greet.job("b")),
        *q.enqueue_all([greet.job("c"), greet.job("d")]),
    ]
    later = [
        q.enqueue_in("mail", timedelta(hours=1), greet, ["e"]),
        q.enqueue_at("mail", now + timedelta(1), greet, ["f"]),
    ]
    assert [(job.jid, job.args, job.retry) for job in await jobs("mail")] == [
        (jids[0], ["a"], 3), (jids[1], ["b"], True), (jids[2], ["c"], True), (jids[3], ["d"], True),
    ]  # fmt: skip
    scheduled = await redis.zrange(f"{namespace}:schedule", 0, -1)
    assert [Job.decode(one).jid for one in scheduled] == later


def test_errors_are_those_of_an_instance(q: exq.Sync) -> None:
    with pytest.raises(exq.ArgumentError):
        q.enqueue("mail", greet, [object()])
    with pytest.raises(exq.InvalidQueue):
        q.enqueue("", greet, ["a"])
    holder = q.enqueue("mail", greet, ["a"], unique_for=60)
    with pytest.raises(exq.Conflict) as caught:
        q.enqueue("mail", greet, ["a"], unique_for=60)
    assert caught.value.jid == holder


def test_nothing_happens_before_the_first_call_but_a_wrong_setting_is_told_at_once() -> None:
    before = threads()
    q = exq.sync(url="redis://127.0.0.1:1", workers=["no_such_module"])
    assert threads() == before
    with pytest.raises(exq.ConfigError, match="no_such_module"):
        q.enqueue("mail", "greet")
    assert threads() == before
    with pytest.raises(exq.ConfigError, match="concurency"):
        exq.sync(concurency=1)


def test_a_server_that_cannot_be_reached_is_asked_again_by_the_next_call(
    private_valkey: Callable[..., PrivateValkey],
) -> None:
    server = private_valkey()
    server.kill()
    with exq.sync(url=server.url) as q:
        for _ in range(2):
            with pytest.raises(exq.RedisUnavailable):
                q.enqueue("mail", "A")
        server.start()
        assert q.enqueue("mail", "A", jid="first") == "first"
        server.kill()
        with pytest.raises(exq.RedisUnavailable):
            q.enqueue("mail", "A")
        server.start()
        deadline = time.monotonic() + 15
        while True:
            try:
                assert q.enqueue("mail", "A", jid="second") == "second"
                break
            except exq.RedisUnavailable:
                assert time.monotonic() < deadline


async def test_many_threads_share_one_connection_thread(q: exq.Sync, jobs: Callable[..., Any]) -> None:
    before = len(threads())
    with ThreadPoolExecutor(20) as pool:
        jids = list(pool.map(lambda number: q.push(greet.job(str(number))), range(300)))
    assert len(threads()) == before + 1
    assert sorted(job.jid for job in await jobs("mail")) == sorted(jids)


def test_close_ends_the_thread_and_the_next_call_begins_anew(q: exq.Sync) -> None:
    before = threads()
    q.push(greet.job("a"))
    assert len(threads()) == len(before) + 1
    q.close()
    q.close()
    assert threads() == before
    q.push(greet.job("b"))
    assert len(threads()) == len(before) + 1


def test_close_lets_calls_that_are_under_way_end(q: exq.Sync) -> None:
    stop = threading.Event()
    done: list[str] = []

    def enqueue() -> None:
        while not stop.is_set():
            done.append(q.push(greet.job("a")))

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(enqueue) for _ in range(4)]
        for _ in range(10):
            while len(done) < 5:
                time.sleep(0.001)
            q.close()
        stop.set()
    assert [call.exception() for call in calls] == [None] * 4
    assert len(set(done)) == len(done) >= 5


def test_close_waits_also_for_a_call_that_has_not_reached_the_loop() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Mock):
        def wait(self, start: Callable[[], Future[Any]]) -> Any:
            begun.set()
            go_on.wait(20)
            return super().wait(start)

    mock = Slow()
    q = exq.sync(workers=[greet], queue_adapter=mock)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(q.push, greet.job("a"))
        assert begun.wait(20)
        close = pool.submit(q.close)
        assert wait([close], 0.2).done == set()
        go_on.set()
        jid = call.result(20)
        close.result(20)
    assert [job.jid for job in mock.jobs()] == [jid]


def test_what_nobody_holds_any_more_ends_its_thread(valkey: EmbeddedServer, namespace: str) -> None:
    before = threads()
    q = exq.sync(url=valkey.url, namespace=namespace)
    q.enqueue("mail", "A")
    (thread,) = set(threads()) - set(before)
    del q
    assert not thread.is_alive()


FORKS = """
import os, signal, sys, threading, warnings
import exq_anyio as exq

# What Python 3.12 and newer says of every fork beside threads; that it works here all the same is what is tested.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

q = exq.sync(url=sys.argv[1], namespace=sys.argv[2])
q.enqueue("q", "A", ["parent, before"])
stop = threading.Event()

def busy():
    while not stop.is_set():
        q.enqueue("q", "A", ["parent, meanwhile"])

threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        signal.alarm(50)  # one that hangs must not outlive the test
        q.enqueue("q", "A", [f"child {number}"])
        q.close()
        q.enqueue("q", "A", [f"child {number} again"])
        sys.exit(0)  # not os._exit: also what is done at the end of a process must leave the parent alone
    children.append(child)
held, let_go = threading.Event(), threading.Event()

def hold():
    with q._turn():
        held.set()
        let_go.wait()

threads.append(threading.Thread(target=hold))
threads[-1].start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(50)  # one that hangs must not outlive the test
    q.enqueue("q", "A", ["child of a moment at which another thread was about to enqueue"])
    sys.exit(0)
children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
let_go.set()
stop.set()
for thread in threads:
    thread.join()
q.enqueue("q", "A", ["parent, after"])
print(len([thread for thread in threading.enumerate() if thread.name == "exq.sync"]))
"""


async def test_a_fork_leaves_both_processes_with_a_connection_of_their_own(
    valkey: EmbeddedServer, namespace: str, jobs: Callable[..., Any]
) -> None:
    ended = run(FORKS, valkey.url, namespace)
    assert (ended.stdout.splitlines(), ended.stderr, ended.returncode) == ([str([0] * 9), "1"], "", 0)
    said = [job.args[0] for job in await jobs("q")]
    assert sorted(word for word in said if word != "parent, meanwhile") == sorted(
        [
            "parent, before", "parent, after", "child of a moment at which another thread was about to enqueue",
            *(f"child {n}" for n in range(8)), *(f"child {n} again" for n in range(8)),
        ]
    )  # fmt: skip


ENDS = """
import sys
import exq_anyio as exq
q = exq.sync(url=sys.argv[1], namespace=sys.argv[2])
q.enqueue("q", "A")
print("done")
"""


def test_a_program_that_closes_nothing_ends_at_once_and_without_a_word(valkey: EmbeddedServer, namespace: str) -> None:
    ended = run(ENDS, valkey.url, namespace)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)


async def test_it_may_be_used_where_an_event_loop_runs(q: exq.Sync, jobs: Callable[..., Any]) -> None:
    """It blocks that loop, and is not for that; but a program that is half one and half the other works."""
    jid = q.push(greet.job("a"))
    assert [job.jid for job in await jobs("mail")] == [jid]


# Under a mock


def test_jobs_are_kept_and_performed_as_those_of_an_instance() -> None:
    with Mock() as mock, exq.sync(url="redis://127.0.0.1:1", workers=[greet]) as q:
        jid = q.push(greet.job("a"))
        assert [(job.jid, job.args) for job in mock.jobs()] == [(jid, ["a"])]
        with pytest.raises(exq.ArgumentError):
            q.enqueue("mail", greet, [object()])


def test_a_worker_that_blocks_is_performed_inline_in_the_callers_own_thread() -> None:
    seen: list[object] = []

    @exq.worker
    def outer() -> None:
        seen.append(("outer", threading.get_ident(), exq.worker_job().worker))
        app.push(inner.job())

    @exq.worker
    def inner() -> None:
        seen.append(("inner", threading.get_ident(), exq.worker_job().worker))
        raise ValueError("from within")

    app = exq.sync(url="redis://127.0.0.1:1", workers=[outer, inner])
    with Mock("inline"), pytest.raises(ValueError, match="from within"):
        app.push(outer.job())
    assert seen == [("outer", threading.get_ident(), "outer"), ("inner", threading.get_ident(), "inner")]


def test_each_of_the_threads_that_test_beside_each_other_has_its_own_mock() -> None:
    together = threading.Barrier(4)

    def one_test(name: str) -> list[object]:
        with Mock() as mock:
            together.wait(10)
            for _ in range(20):
                app.push(greet.job(name))
            return [job.args for job in mock.jobs()]

    with exq.sync(url="redis://127.0.0.1:1", workers=[greet]) as app, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one_test, "abcd")) == [[[name]] * 20 for name in "abcd"]


def test_after_the_mock_the_server_is_used_again(q: exq.Sync, valkey: EmbeddedServer, namespace: str) -> None:
    before = len(threads())
    q.push(greet.job("a"))
    with Mock() as mock:
        q.push(greet.job("b"))
        assert len(mock.jobs()) == 1
    with Mock("redis", url=valkey.url, namespace=f"{namespace}-other") as mock:
        q.push(greet.job("c"))
    q.push(greet.job("d"))
    assert len(mock.enqueued()) == 1
    assert len(threads()) == before + 1
