from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from .conftest import EXQ, Client, Shell, Worker, until

Start = Callable[..., Worker]


def taken(client: Client, namespace: str) -> list[str]:
    """What lies in backup queues."""
    return list(client.scan_iter(f"{namespace}:queue:backup::*"))


def waiting(client: Client, namespace: str, queue: str = "default") -> list[str]:
    """The jids in a queue."""
    return [json.loads(payload)["jid"] for payload in client.lrange(f"{namespace}:queue:{queue}", 0, -1)]


def enqueue(shell: Shell, worker: str, *args: object, queue: str = "default") -> str:
    done = shell.run("enqueue", queue, worker, json.dumps(args))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def began(shell: Shell, name: str) -> None:
    until(shell.path(name).exists, f"job {name} has begun")


def test_a_job_is_done_and_term_ends_the_process_with_status_0(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start()
    enqueue(shell, "nap", 0, str(shell.path("a")))
    until(lambda: client.get(f"{namespace}:stat:processed") == "1", "the job is counted")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert shell.path("a.done").exists()
    # Nothing is left but the name of the queue, the counters, and those of the page of metrics.
    left = {key.removeprefix(f"{namespace}:").partition(":")[0] for key in client.scan_iter(f"{namespace}:*")}
    assert {key for key in left if not key.startswith(("j|", "h|", "nap-"))} == {"queues", "stat"}


def test_a_job_that_ends_within_the_shutdown_timeout_is_done(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start("--shutdown-timeout", "60")
    enqueue(shell, "hold", str(shell.path("a")))
    began(shell, "a")
    worker.signal(signal.SIGTERM)
    until(lambda: "node is stopping" in worker.log(), "it says that it stops")
    shell.release("a")
    assert worker.ends() == 0
    assert shell.path("a.done").exists()
    assert waiting(client, namespace) == []


def test_a_job_that_does_not_end_in_time_goes_back_to_its_queue(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start("--shutdown-timeout", "0.2")
    jid = enqueue(shell, "nap", 600, str(shell.path("a")))
    began(shell, "a")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert waiting(client, namespace) == [jid]
    assert taken(client, namespace) == []
    assert client.get(f"{namespace}:stat:processed") is None


def test_a_second_int_does_not_wait_for_the_shutdown_timeout(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start("--shutdown-timeout", "3600")
    jid = enqueue(shell, "nap", 3600, str(shell.path("a")))
    began(shell, "a")
    worker.signal(signal.SIGINT)
    # It has stopped taking jobs, and waits for the one that runs.
    until(lambda: "stopping" in worker.log(), "it says that it stops")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.3)
    worker.signal(signal.SIGINT)
    assert worker.ends() == 0
    assert waiting(client, namespace) == [jid]
    assert taken(client, namespace) == []


def test_after_tstp_the_running_job_goes_on_and_no_other_is_taken(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start("--shutdown-timeout", "0.1")
    enqueue(shell, "hold", str(shell.path("first")))
    began(shell, "first")
    worker.signal(signal.SIGTSTP)
    until(lambda: "quiet" in worker.log(), "it says that it is quiet")
    second = enqueue(shell, "nap", 0, str(shell.path("second")))
    shell.release("first")
    until(shell.path("first.done").exists, "the running job has ended")
    assert worker.process.poll() is None
    assert waiting(client, namespace) == [second]
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert waiting(client, namespace) == [second]
    assert not shell.path("second").exists()


def test_a_thread_that_does_not_end_keeps_its_job_for_recovery_and_the_process_exits(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start("--shutdown-timeout", "0.1", "--node-identifier", "host")
    jid = enqueue(shell, "block", 3600, str(shell.path("a")))
    began(shell, "a")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    backup = client.lrange(f"{namespace}:queue:backup::host#1::default", 0, -1)
    assert [json.loads(payload)["jid"] for payload in backup] == [jid]
    assert waiting(client, namespace) == []
    assert f"stays for recovery: jid={jid}" in worker.log()


def test_a_thread_that_was_given_up_at_its_timeout_does_not_keep_the_process(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start()
    args = json.dumps([3600, str(shell.path("a"))])
    done = shell.run("enqueue", "default", "block", args, "--timeout", "0.1", "--max-retries", "0")
    assert done.returncode == 0
    until(lambda: client.zcard(f"{namespace}:dead") == 1, "the job is dead")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_a_term_while_it_waits_for_a_redis_that_says_nothing_ends_it(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        worker = start("--redis-url", f"redis://127.0.0.1:{port}", wait=False)
        connection, _ = silent.accept()  # it is connecting
        with connection:
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0


def test_queues_and_their_limits_are_those_that_were_asked_for(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    start(
        "--queue", "mail:2", "-q", "odd:name:inf", "--queue", "plain", "--concurrency", "7", "--node-identifier", "host"
    )
    until(lambda: client.exists(f"{namespace}:host#1"), "the process entry is there")
    info = json.loads(client.hget(f"{namespace}:host#1", "info"))
    limits = {queue: capsule["concurrency"] for queue, capsule in info["capsules"].items()}
    assert limits == {"mail": 2, "odd:name": 0, "plain": 7}


def test_what_no_option_gives_is_read_from_the_environment(
    shell: Shell, client: Client, namespace: str, backend: str
) -> None:
    stderr = shell.path("stderr")
    environment = {**shell.environment, "EXQ_IMPORTS": "jobs", "EXQ_QUEUES": "mail:3", "EXQ_NODE_IDENTIFIER": "me"}
    with stderr.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "exq_anyio.cli", "run", "--backend", backend],
            cwd=shell.directory,
            env={**environment, "EXQ_LOG_LEVEL": "warning"},
            stderr=file,
        )
    try:
        until(lambda: client.exists(f"{namespace}:me#1"), "the process entry is there")
        info = json.loads(client.hget(f"{namespace}:me#1", "info"))
        assert {queue: capsule["concurrency"] for queue, capsule in info["capsules"].items()} == {"mail": 3}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert stderr.read_text() == ""


def test_a_file_names_code_of_the_workers_module(start: Start, shell: Shell, client: Client, namespace: str) -> None:
    shell.path("around.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from pathlib import Path\n\n\n"
        "@asynccontextmanager\n"
        "async def mark(job):\n"
        "    Path('marked').write_text(job.worker)\n"
        "    yield\n\n\n"
        "def told(event):\n"
        "    Path(event.kind).touch()\n"
    )
    shell.path("exq.toml").write_text('middleware = ["around:mark"]\nlisteners = ["around:told"]\n')
    start()
    client.lpush(
        f"{namespace}:queue:default", json.dumps({"class": "nap", "args": [0, str(shell.path("a"))], "jid": "j"})
    )
    until(lambda: client.get(f"{namespace}:stat:processed") == "1", "the job is counted")
    assert shell.path("marked").read_text() == "nap"
    until(shell.path("stop").exists, "its end is told")


def test_each_record_is_one_line_that_a_terminal_does_not_obey(
    start: Start, shell: Shell, client: Client, namespace: str
) -> None:
    worker = start()
    jid = enqueue(shell, "fail")
    until(lambda: client.zcard(f"{namespace}:retry") == 1, "the job waits for its retry")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    lines = worker.log().splitlines()
    (line,) = [line for line in lines if jid in line and "job retry" in line]
    assert "WARNING exq_anyio: job retry: " in line
    assert line.endswith(
        rf"error=ZeroDivisionError('first\nsecond \x1b[31m') ({shell.path('jobs.py')}:{_line_of(shell, 'raise')})"
    )
    assert [line for line in lines if line.endswith(rf"WARNING app: one | two \x1b[31m jid={jid} worker=fail")]
    stamp = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d (INFO|WARNING|ERROR) +(exq_anyio|app): "
    assert [line for line in lines if not re.match(stamp, line)] == []


def test_at_level_debug_the_traceback_follows(start: Start, shell: Shell, client: Client, namespace: str) -> None:
    worker = start("--log-level", "DEBUG")
    enqueue(shell, "fail")
    until(lambda: client.zcard(f"{namespace}:retry") == 1, "the job waits for its retry")
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0
    assert 'raise ZeroDivisionError("first' in worker.log()


def _line_of(shell: Shell, text: str) -> int:
    lines = shell.path("jobs.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


# What cannot start


def fails(shell: Shell, status: int, *args: str, env: dict[str, str] | None = None) -> str:
    """What is said on stderr by a command that fails with *status*."""
    done = shell.run(*args, env=env or {})
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_module_that_is_not_there_is_named(shell: Shell) -> None:
    said = fails(shell, 1, "run", "no_such_module")
    assert said == "exq: imports: cannot import 'no_such_module': No module named 'no_such_module'\n"


def test_a_module_that_fails_is_named_with_the_line(shell: Shell) -> None:
    shell.path("broken.py").write_text("\n1 / 0\n")
    said = fails(shell, 1, "run", "broken")
    assert said == f"exq: imports: cannot import 'broken': division by zero ({shell.path('broken.py')}:2)\n"


def test_without_workers_it_does_not_start(shell: Shell) -> None:
    shell.path("empty.py").write_text("")
    for arguments in (["run"], ["run", "empty"]):
        assert "there are no workers: name the MODULEs" in fails(shell, 2, *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--queue", "mail:0"], "queues: the concurrency of 'mail' must be 1 or more, "),
        (["--queue", "a\nb"], "queues: queue 'a\\nb': must not hold control characters\n"),
        (["--concurrency", "many"], "concurrency: must be a whole number, not 'many'\n"),
        (["--shutdown-timeout", "-1"], "shutdown_timeout: must be from 0 to 86,400 seconds, not -1.0\n"),
        (["--node-identifier", "a#1"], 'node_identifier: must hold neither "#" nor "::", '),
        (["--redis-url", "http://user:secret@x"], "url: must begin with redis://, rediss://, unix://, "),
    ],
)
def test_a_bad_setting_is_one_line_and_status_1(shell: Shell, arguments: list[str], says: str) -> None:
    said = fails(shell, 1, "run", "jobs", *arguments)
    assert said.startswith(f"exq: {says}")
    assert said.count("\n") == 1
    assert "secret" not in said


@pytest.mark.parametrize("key", ["heartbeats", "leases"])
def test_a_key_of_another_type_is_named(shell: Shell, client: Client, namespace: str, backend: str, key: str) -> None:
    client.set(f"{namespace}:{key}", "somebody else's")
    said = fails(shell, 1, "run", "jobs", "--backend", backend, "--log-level", "warning")
    assert said.startswith(
        f"exq: Redis at {shell.environment['EXQ_URL']}?db=0: key '{namespace}:{key}' holds a string, "
    )
    assert said.endswith(" is needed; rename or delete it, or use another namespace\n")
    assert said.count("\n") == 1
    assert list(client.scan_iter(f"{namespace}:*")) == [f"{namespace}:{key}"]


def test_a_misspelt_variable_is_one_line_and_status_1(shell: Shell) -> None:
    said = fails(shell, 1, "run", "jobs", env={"EXQ_CONCURENCY": "3"})
    assert said == "exq: EXQ_CONCURENCY: is no setting; did you mean EXQ_CONCURRENCY?\n"


@pytest.mark.parametrize("arguments", [["--backend", "curio"], ["--no-such-option"], ["--log-level", "loud"]])
def test_a_wrong_usage_is_status_2(shell: Shell, arguments: list[str]) -> None:
    assert "Usage: exq run " in fails(shell, 2, "run", "jobs", *arguments)


def test_there_is_no_other_command(shell: Shell) -> None:
    assert "No such command 'fly'" in fails(shell, 2, "fly")


def test_the_executable_and_the_module_are_the_same(shell: Shell) -> None:
    texts = {
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([EXQ], [sys.executable, "-m", "exq_anyio.cli"])
    }
    assert len(texts) == 1
    assert "Usage: exq [OPTIONS] COMMAND" in texts.pop()
