"""Every example for a framework runs as its header says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from exq_anyio.redis.embedded import EmbeddedServer

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(directory: str, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *command], cwd=EXAMPLES / directory, env={**ours, **environ}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("example", "passed"), [("fastapi", 3), ("litestar", 6), ("quart_trio", 3), ("testing", 11)])
def test_the_suite_of_an_example_passes(example: str, passed: int) -> None:
    options = ("-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider")  # without this repository's settings
    ended = run(example, "-m", "pytest", *options, ".")
    assert f"{passed} passed" in ended.stdout, ended.stdout


def test_hypercorn_serves_the_quart_application_under_trio(valkey: EmbeddedServer, namespace: str) -> None:
    environ = {**os.environ, "EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace}
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", "127.0.0.1:0", "web:create_app()"]
    place = EXAMPLES / "quart_trio"
    with subprocess.Popen(command, cwd=place, env=environ, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Running on" in line)
        address = line.partition("Running on ")[2].partition(" ")[0]
        try:
            with urlopen(Request(f"{address}/users/7/welcome", method="POST"), timeout=20) as answer:
                assert answer.status == 202
            deadline = time.monotonic() + 20
            while urlopen(f"{address}/welcomed", timeout=20).read().strip() != b"[7]":
                assert time.monotonic() < deadline
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
        finally:
            server.kill()


def test_jobs_with_a_database_never_wait_for_a_connection() -> None:
    ended = run("sqlalchemy", "orders.py")
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.splitlines()[-1] == "20 of 20 invoices, with 3 connections"


def test_the_suite_of_the_django_shop_passes() -> None:
    ended = run("django", "-W", "error", "manage.py", "test")
    assert ended.stderr.splitlines()[-2:] == ["OK", "Destroying test database for alias 'default'..."], ended.stderr
    assert ended.returncode == 0


@pytest.fixture
def manage(valkey: EmbeddedServer, namespace: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environ = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "SHOP_DATABASE": str(tmp_path / "shop")}
    return lambda *command: run("django", "-W", "error", "manage.py", *command, **environ)


PAID = "from bookshop.models import Order; print(Order.objects.filter(paid=True).count())"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_exqworker_performs_what_another_process_has_enqueued_and_ends_at_sigterm(
    backend: str,
    manage: Callable[..., subprocess.CompletedProcess[str]],
    valkey: EmbeddedServer,
    namespace: str,
    tmp_path: Path,
) -> None:
    assert manage("migrate", "--run-syncdb").returncode == 0
    refused = manage("order", "0")
    assert "an order costs something" in refused.stderr
    placed = manage("order", "1999")
    # The number 1 was rolled back.
    assert (placed.stdout, placed.returncode) == ("order 1\n", 0), placed.stderr
    environ = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "SHOP_DATABASE": str(tmp_path / "shop")}
    command = [sys.executable, "-W", "error", "manage.py", "exqworker", "--queue", "payments:3"]
    command += ["--backend", backend]
    with subprocess.Popen(command, cwd=EXAMPLES / "django", env={**os.environ, **environ}) as worker:
        try:
            deadline = time.monotonic() + 60
            while manage("shell", "-v", "0", "-c", PAID).stdout != "1\n":
                assert time.monotonic() < deadline
                assert worker.poll() is None
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        finally:
            worker.kill()


def test_exqworker_says_in_one_line_what_is_wrong(manage: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ended = manage("exqworker", "--queue", "payments:none")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    assert ended.stderr.startswith("CommandError: queues: the concurrency of 'payments'")


TENDED = """
from django.db import connection
from bookshop.jobs import charge
from exq_anyio.contrib.django.database import tend_connections
from exq_anyio.worker import Registry

tend_connections(Registry.build())
connection.ensure_connection()
old = connection.connection
connection.close_at = 0
charge.bound.call(1)
print(connection.connection is not old, charge.name)
"""


def test_a_connection_that_is_too_old_is_not_used_by_a_job(
    manage: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert manage("migrate", "--run-syncdb").returncode == 0
    ended = manage("shell", "-v", "0", "-c", TENDED)
    assert ended.stdout == "True charge\n", ended.stderr
