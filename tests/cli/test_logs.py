"""Which job a line was written in, and lines that programs read; in the process, and with structlog."""

from __future__ import annotations

import io
import json
import logging
import signal
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.cli.logs import OneLine
from exq_anyio.logs import JobFilter, JSONFormatter, add_job, fields
from exq_anyio.redis.embedded import EmbeddedServer

from .conftest import Client, Shell, Worker, until
from .test_processes import enqueue

Start = Callable[..., Worker]

app = logging.getLogger("app")


@pytest.fixture
def written() -> Iterator[Callable[[logging.Formatter], io.StringIO]]:
    """Have everything written with a formatter."""
    root, handlers = logging.getLogger(), []

    def write(formatter: logging.Formatter) -> io.StringIO:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.addFilter(JobFilter())
        handler.setFormatter(formatter)
        root.addHandler(handler)
        handlers.append(handler)
        return stream

    level = root.level
    root.setLevel(logging.INFO)
    yield write
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


@exq.worker(name="Says")
async def says(what: str) -> None:
    app.info("said %s", what, extra={"size": len(what)})
    if what == "fail":
        raise ZeroDivisionError("by zero")


@exq.worker(name="SaysInAThread")
def says_in_a_thread(what: str) -> None:
    app.warning("said %s", what)


async def perform(server: EmbeddedServer, namespace: str, *jobs: exq.JobSpec) -> list[str]:
    """Have *jobs* performed; their jids."""
    async with exq.open(url=server.url, namespace=namespace, workers=[says, says_in_a_thread]) as q:
        jids = [await q.push(job) for job in jobs]
        with anyio.fail_after(20):
            while (await q.api.stats()).processed < len(jobs):
                await anyio.sleep(0.01)
    return jids


async def test_lines_of_the_users_own_name_the_job_and_ours_say_how_it_ended(
    valkey: EmbeddedServer, namespace: str, written: Callable[[logging.Formatter], io.StringIO]
) -> None:
    stream = written(JSONFormatter({"host": "h"}))
    well, badly, threaded = await perform(
        valkey, namespace, says.job("well"), says.job("fail"), says_in_a_thread.job("so")
    )
    app.info("outside")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    own = {line["message"]: line for line in lines if line["logger"] == "app"}
    assert {key: value for key, value in own["said well"].items() if key != "time"} == {
        "level": "info", "logger": "app", "message": "said well", "host": "h", "jid": well, "worker": "Says", "size": 4,
    }  # fmt: skip
    assert (own["said so"]["jid"], own["said so"]["worker"]) == (threaded, "SaysInAThread")
    assert "jid" not in own["outside"]
    ends = {line["jid"]: line for line in lines if line["message"].startswith("job ")}
    assert (ends[well]["worker"], ends[well]["queue"]) == ("Says", "default")
    assert isinstance(ends[well]["seconds"], float)
    assert (ends[badly]["level"], ends[badly]["reason"]) == ("warning", "ZeroDivisionError")
    assert ends[badly]["error"] == "ZeroDivisionError('by zero')"
    assert 'raise ZeroDivisionError("by zero")' in ends[badly]["traceback"]


async def test_a_line_for_people_ends_with_the_job(
    valkey: EmbeddedServer, namespace: str, written: Callable[[logging.Formatter], io.StringIO]
) -> None:
    stream = written(OneLine(tracebacks=False, process=3))
    (jid,) = await perform(valkey, namespace, says.job("well"))
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.endswith(f" INFO    [3] app: said well jid={jid} worker=Says")]
    assert [line for line in lines if f"exq_anyio: job done: jid={jid} worker=Says queue=default seconds=" in line]


async def test_structlog_has_the_job_and_its_own_context(valkey: EmbeddedServer, namespace: str) -> None:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    seen: list[dict[str, Any]] = []

    def keep(logger: object, method: str, event: dict[str, Any]) -> None:
        seen.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[structlog.contextvars.merge_contextvars, add_job, keep]
    )

    bound, all_bound = list[int](), anyio.Event()

    @exq.worker(name="Binds")
    async def binds(user: int) -> None:
        structlog.contextvars.bind_contextvars(user=user)
        bound.append(user)
        if len(bound) == 3:
            all_bound.set()
        await all_bound.wait()
        log.info("bound")

    async with exq.open(url=valkey.url, namespace=namespace, workers=[binds]) as q:
        jids = [await q.push(binds.job(user)) for user in range(3)]
        with anyio.fail_after(20):
            while len(seen) < 3:
                await anyio.sleep(0.01)
    log.info("outside")
    assert sorted(seen[:3], key=lambda event: int(event["user"])) == [
        {"event": "bound", "user": user, "jid": jid, "worker": "Binds"} for user, jid in enumerate(jids)
    ]
    assert seen[3] == {"event": "outside"}


@pytest.mark.parametrize(
    ("message", "args", "found"),
    [
        ("job done: jid=%s seconds=%.6f", ("a", 0.5), {"jid": "a", "seconds": 0.5}),
        ("%d%% of %s, left=%d", (5, "all", 3), {"left": 3}),
        ("left=%d", ({"left": 1},), {}),
        ("nothing=here", (), {}),
        ("too few: a=%s b=%s", ("x",), {"a": "x", "b": None}),
    ],
)
def test_the_values_of_a_message_keep_their_types(message: str, args: tuple[Any, ...], found: dict[str, Any]) -> None:
    assert dict(fields(logging.LogRecord("exq_anyio", 20, "", 1, message, args, None))) == found


def test_what_json_cannot_say_is_said_as_text() -> None:
    record = logging.LogRecord("app", 20, "", 1, "one\ntwo", (), None)
    record.where = object
    line = JSONFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["where"] == "<class 'object'>"
    record.msg = "no UTF-8: \udcff"
    assert json.loads(JSONFormatter().format(record))["message"] == record.msg


def test_exq_run_writes_json(start: Start, shell: Shell, client: Client, namespace: str) -> None:
    worker = start("--log-format", "json")
    enqueue(client, namespace, "fail")
    until(lambda: "job retry" in worker.log(), "the job has failed")
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0
    lines = [json.loads(line) for line in worker.log().splitlines()]
    (own,) = [line for line in lines if line["logger"] == "app"]
    (ended,) = [line for line in lines if line["message"].startswith("job retry")]
    assert own["message"] == "one\n  two \x1b[31m"
    assert own["jid"] == ended["jid"]
