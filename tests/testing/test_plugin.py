"""The pytest plugin, in suites of its own that are run as people run theirs."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "testing"

SHUFFLE = """
import os, random

def pytest_collection_modifyitems(items):
    random.Random(os.environ["SEED"]).shuffle(items)
"""


# Without the plugins that take longer to load than a suite takes, and one that changes the order.
OTHERS = [
    option for plugin in ("cacheprovider", "hypothesispytest", "faker", "randomly") for option in ("-p", f"no:{plugin}")
]
OPTIONS = ("-W", "error", "--strict-markers", *OTHERS)


class ClosesApp:
    """Ends the thread of the app's blocking client, as the end of the process does where a suite has one of its own."""

    def pytest_sessionfinish(self) -> None:
        if "app" in sys.modules:
            sys.modules["app"].q.close()


@attrs.frozen
class Suite:
    """A directory with tests."""

    path: Path
    pytester: pytest.Pytester

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.path / f"{name}.py").write_text(dedent(text), encoding="utf-8")

    def run(self) -> tuple[dict[str, int], str]:
        """How many tests ended how, and what pytest said; within this process, which takes a tenth of the time."""
        ended = self.pytester.runpytest_inprocess(*OPTIONS, plugins=[ClosesApp()])
        outcomes = {how.removesuffix("s"): count for how, count in ended.parseoutcomes().items()}
        return outcomes, "\n".join(ended.outlines + ended.errlines)

    def run_as_people_do(self, *args: str, seed: int = 0) -> tuple[dict[str, int], str]:
        """Likewise, in a process of its own."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "PYTEST_"))}
        command = [sys.executable, "-m", "pytest", *OPTIONS, *args]
        ended = subprocess.run(
            command, cwd=self.path, env={**environ, "SEED": str(seed)}, capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip
        said = ended.stdout + ended.stderr
        counts = re.findall(r"(\d+) (passed|failed|error)", said.strip().splitlines()[-1])
        return {how: int(count) for count, how in counts}, said


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    pytester.makeini("[pytest]\n")
    return Suite(pytester.path, pytester)


@pytest.mark.slow
def test_the_suite_of_an_app_passes_in_random_order_and_in_two_processes(suite: Suite) -> None:
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, suite.path)
    suite.write(conftest=SHUFFLE)
    counts, said = suite.run_as_people_do("-n", "2", seed=secrets.randbelow(1_000))
    assert counts == {"passed": 11}, said


def test_it_costs_nothing_where_it_is_not_used(suite: Suite) -> None:
    suite.write(
        test_nothing="""
        import sys

        def test_nothing_is_imported(request):
            assert request.config.pluginmanager.hasplugin("exq_anyio")
            assert [name for name in sys.modules if name.partition(".")[0] in ("exq_anyio", "coredis", "cattrs")] == []
        """
    )
    counts, said = suite.run_as_people_do()
    assert counts == {"passed": 1}, said


APP = """
import exq_anyio as exq

q = exq.sync(url="redis://127.0.0.1:1")
done = []

@exq.worker
def note(text: str) -> None:
    done.append(text)
"""


def test_each_fixture_and_each_marker_chooses_the_mode(suite: Suite) -> None:
    suite.write(
        app=APP,
        test_modes="""
        import unittest
        import pytest
        import app

        @pytest.fixture(autouse=True)
        def nothing_done():
            app.done.clear()

        def test_fake(exq_mock):
            app.q.push(app.note.job("a"))
            assert (exq_mock.mode, len(exq_mock.jobs()), app.done) == ("fake", 1, [])

        def test_inline(exq_inline, exq_mock):
            app.q.push(app.note.job("a"))
            assert (exq_inline, exq_mock.mode, app.done) == (exq_mock, "inline", ["a"])

        def test_redis(exq_redis):
            app.q.push(app.note.job("a"))
            assert (exq_redis.mode, len(exq_redis.enqueued())) == ("redis", 1)

        def test_a_mode_may_be_set(exq_mock):
            for mode in ("inline", "redis", "fake"):
                exq_mock.set_mode(mode)
                app.q.push(app.note.job(mode))
            assert (app.done, [job.args for job in exq_mock.jobs()]) == (["inline"], [["fake"]])

        @pytest.mark.exq
        def test_marked():
            app.q.push(app.note.job("a"))
            assert app.done == []

        @pytest.mark.exq(mode="redis")
        @pytest.mark.parametrize("number", [1, 2])
        def test_marked_as_redis(number, exq_mock):
            app.q.push(app.note.job("a"))
            assert exq_mock.mode == "redis"

        @pytest.mark.exq(mode="inline")
        class TestMarked:
            def test_method(self):
                app.q.push(app.note.job("a"))
                assert app.done == ["a"]

        @pytest.mark.exq(mode="inline")
        class Case(unittest.TestCase):
            def test_method(self):
                app.q.push(app.note.job("a"))
                assert app.done == ["a"]
        """,
    )
    counts, said = suite.run()
    assert counts == {"passed": 9}, said


def test_a_mode_that_is_not_clear_is_an_error(suite: Suite) -> None:
    suite.write(
        test_unclear="""
        import pytest

        @pytest.mark.exq(mode="inline")
        def test_marker_and_fixture(exq_redis): ...

        @pytest.mark.exq
        def test_bare_marker_and_fixture(exq_inline): ...

        def test_two_fixtures(exq_inline, exq_redis): ...

        @pytest.mark.exq("inline")
        def test_no_name(): ...

        @pytest.mark.exq(mod="inline")
        def test_wrong_name(): ...

        @pytest.mark.exq(mode="real")
        def test_wrong_mode(): ...
        """
    )
    counts, said = suite.run()
    assert counts == {"error": 6}, said
    for complaint in (
        "test_marker_and_fixture wants jobs to be treated in two ways: 'inline' (the marker) and 'redis' (exq_redis)",
        "wants jobs to be treated in two ways: 'fake' (the marker) and 'inline' (exq_inline)",
        "test_two_fixtures wants jobs to be treated in two ways: 'inline' (exq_inline) and 'redis' (exq_redis)",
        "a mock has the modes fake, inline, redis, and not 'real'",
    ):
        assert complaint in said
    # Of the failures alone: pytest's summary repeats as much as its line holds, and all where CI is set.
    assert len(re.findall(r"^E +pytest.UsageError: the marker exq has one argument, by name", said, re.M)) == 2


def test_nothing_of_a_test_is_left_for_the_next_one(suite: Suite) -> None:
    suite.write(
        app=APP,
        test_one_after_the_other="""
        import pathlib, socket
        import pytest
        import app
        import exq_anyio as exq
        from exq_anyio.testing import Mock

        pytestmark = pytest.mark.anyio
        seen = []

        @pytest.fixture(scope="session", autouse=True)
        def whole_session():
            with Mock(everywhere=True) as mock:
                yield mock

        @pytest.fixture(scope="module")
        async def one_runner(anyio_backend):
            yield  # as long as it is there, AnyIO has all async tests in one task

        def test_sync_sets(whole_session):
            whole_session.set_mode("inline")

        def test_sync_sees(whole_session):
            assert whole_session.mode == "fake"

        async def test_async_sets(whole_session, one_runner):
            whole_session.set_mode("inline")

        async def test_async_sees(whole_session, one_runner):
            assert whole_session.mode == "fake"

        def test_writes(exq_redis):
            app.q.push(app.note.job("a"))
            config = exq_redis.settings(app.q.config)
            seen.append((config.url.removeprefix("unix://"), config.namespace))
            pathlib.Path("socket").write_text(seen[0][0])
            assert len(keys()) == 2

        def keys():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(seen[0][0])
                client.sendall(b"KEYS *\\r\\n")
                return [line for line in client.recv(10_000).split(b"\\r\\n") if line.startswith(b"test-")]

        def test_finds_nothing(exq_redis):
            assert keys() == []
            config = exq_redis.settings(app.q.config)
            assert config.url.removeprefix("unix://") == seen[0][0]
            assert config.namespace != seen[0][1]
        """,
    )
    counts, said = suite.run()
    assert counts == {"passed": 8}, said
    assert not Path((suite.path / "socket").read_text()).exists()


def test_a_thread_that_was_there_before_and_an_async_test_are_under_the_mock_of_the_test(suite: Suite) -> None:
    suite.write(
        app=APP,
        test_threads="""
        import queue, threading
        import anyio
        import pytest
        import app
        import exq_anyio as exq

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module")
        async def pusher(anyio_backend):
            # Its task, and the task in which AnyIO runs all tests of this file, are older than any mock.
            send, receive = anyio.create_memory_object_stream(10)
            back, done = anyio.create_memory_object_stream(10)
            async def push():
                async for text in receive:
                    async with exq.open(app.q.config) as q:
                        await back.send(await q.push(app.note.job(text)))
            async with anyio.create_task_group() as tasks, send, receive, back, done:
                tasks.start_soon(push)
                yield send, done
                tasks.cancel_scope.cancel()

        @pytest.fixture(scope="module")
        def thread():
            todo, done = queue.SimpleQueue(), queue.SimpleQueue()
            def push():
                while (text := todo.get()) is not None:
                    done.put(app.q.push(app.note.job(text)))
            thread = threading.Thread(target=push)
            thread.start()
            yield todo, done
            todo.put(None)
            thread.join()

        @pytest.mark.parametrize("number", [1, 2])
        async def test_a_task(pusher, exq_mock, number):
            send, done = pusher
            await send.send("task")
            jid = await done.receive()
            assert [job.jid for job in exq_mock.jobs()] == [jid]

        @pytest.mark.parametrize("number", [1, 2])
        def test_a_thread(thread, exq_mock, number):
            todo, done = thread
            todo.put("thread")
            jid = done.get(timeout=10)
            assert [job.jid for job in exq_mock.jobs()] == [jid]

        async def test_this_task(pusher, exq_inline):
            async with exq.open(app.q.config) as q:
                await q.push(app.note.job("here"))
            assert app.done[-1] == "here"
        """,
    )
    counts, said = suite.run()
    assert counts == {"passed": 8}, said
