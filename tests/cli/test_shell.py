"""The prompt with `q` open."""

from __future__ import annotations

import signal

import pytest

from .conftest import Shell, Terminal
from .operator import Namespace


@pytest.fixture(params=["asyncio", "trio"])
def prompt(request: pytest.FixtureRequest, shell: Shell) -> Terminal:
    shown = Terminal(shell, "shell", "jobs", "--backend", request.param)
    shown.until(">>> ")
    return shown


def enter(prompt: Terminal, text: str) -> None:
    """Type *text* when the prompt is there: before that, what is typed is the terminal's and not ours."""
    while not prompt.said.endswith(">>> "):
        prompt.more()
    prompt.said += "\n"
    prompt.type(text)


def test_await_and_async_for_may_be_used_at_the_top(prompt: Terminal, there: Namespace) -> None:
    assert "; workers: block, fail, hog, " in prompt.said
    there.queue("mail", there.job(1), there.job(2))
    enter(prompt, "(await q.api.stats()).enqueued + 40\n")
    prompt.until("\n42\r\n")
    enter(prompt, "jids = [entry.jid async for entry in q.api.jobs('mail')]\nlen(jids) * 111\n")
    prompt.until("\n222\r\n")
    enter(prompt, "async for entry in q.api.jobs('mail'):\n    print(int(entry.jid, 16) + 1000)\n\n")
    prompt.until("1002\r\n")
    enter(prompt, "await q.push(nap.job(0, 'x').on(queue='other')) and 'pushed' + ' one'\n")
    prompt.until("'pushed one'\r\n")
    assert len(there.jids("queue:other")) == 1
    enter(prompt, "\x04")
    assert prompt.ends() == 0


def test_an_error_ends_the_statement_and_ctrl_c_what_it_waits_for(prompt: Terminal) -> None:
    enter(prompt, "1 / 0\n")
    prompt.until("ZeroDivisionError: division by zero\r\n>>> ")
    enter(prompt, "import anyio; print('wai' + 'ting'); await anyio.sleep(3600)\n")
    prompt.until("waiting\r\n")
    prompt.process.send_signal(signal.SIGINT)
    prompt.until("KeyboardInterrupt\r\n>>> ")
    enter(prompt, "print('still ' + 'here')\n")
    prompt.until("still here\r\n")
    enter(prompt, "exit()\n")
    prompt.said = ""
    assert prompt.ends() == 0


def test_names_are_completed(prompt: Terminal) -> None:
    enter(prompt, "await q.enqueue_a\t\t")
    prompt.until("q.enqueue_all(")
    prompt.process.kill()
    assert prompt.ends() == -signal.SIGKILL


def test_one_command_is_run(shell: Shell) -> None:
    done = shell.run("shell", "--command", "print((await q.api.stats()).enqueued, q.config.namespace)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"0 {shell.environment['EXQ_NAMESPACE']}\n"
    assert shell.run("shell", "-c", "raise SystemExit(7)").returncode == 7
    assert shell.run("shell", "-c", "import sys; sys.exit('no')").returncode == 1
    assert "invalid syntax" in shell.run("shell", "-c", "1 +").stderr
    failed = shell.run("shell", "-c", "await q.enqueue('a\\nb', 'x')")
    assert failed.returncode == 1
    assert failed.stderr == "exq: queue 'a\\nb': must not hold control characters\n"


def test_without_redis_it_is_one_line(shell: Shell) -> None:
    done = shell.run("shell", "--redis-url", "unix:///no/such.sock")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
