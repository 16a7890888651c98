"""Every example for a framework runs as its header says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exq_anyio.redis.embedded import EmbeddedServer

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(directory: str, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *command], cwd=EXAMPLES / directory, env={**ours, **environ}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def test_an_example_can_be_read_at_a_glance() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in EXAMPLES.rglob("*.py")}
    assert [path for path, count in lines.items() if count >= 80] == []


def test_the_suite_of_the_fastapi_application_passes() -> None:
    ended = run("fastapi", "-m", "pytest", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider", ".")
    assert "3 passed" in ended.stdout, ended.stdout


def test_jobs_with_a_database_never_wait_for_a_connection() -> None:
    ended = run("sqlalchemy", "orders.py")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("20 invoices with 3 connections\n", "", 0)


def test_the_suite_of_the_django_shop_passes() -> None:
    ended = run("django", "-W", "error", "manage.py", "test")
    assert ended.stderr.splitlines()[-2:] == ["OK", "Destroying test database for alias 'default'..."], ended.stderr
    assert ended.returncode == 0


@pytest.fixture
def manage(valkey: EmbeddedServer, namespace: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environ = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "SHOP_DATABASE": str(tmp_path / "shop")}
    return lambda *command: run("django", "-W", "error", "manage.py", *command, **environ)


PAID = "from bookshop.models import Order; print(Order.objects.filter(paid=True).count())"


def test_exqworker_performs_what_another_process_has_enqueued_and_ends_at_sigterm(
    manage: Callable[..., subprocess.CompletedProcess[str]], valkey: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    assert manage("migrate", "--run-syncdb").returncode == 0
    refused = manage("order", "0")
    assert "an order costs something" in refused.stderr
    placed = manage("order", "1999")
    # The number 1 was rolled back.
    assert (placed.stdout, placed.returncode) == ("order 1\n", 0), placed.stderr
    environ = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "SHOP_DATABASE": str(tmp_path / "shop")}
    command = [sys.executable, "-W", "error", "manage.py", "exqworker", "--queue", "payments:3"]
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
