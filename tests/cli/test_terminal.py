"""What is different at a terminal: questions, colour, Ctrl-C; and completion."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import click
import pytest
import valkey as server_client

from ..conftest import PrivateValkey
from .conftest import EXQ, Shell, Terminal, until
from .operator import Namespace, Typed, jid


def test_what_cannot_be_undone_asks_first(shell: Shell, there: Namespace) -> None:
    there.put("dead", {there.failed(1): 1e9})
    no = Terminal(shell, "delete", jid(1))
    no.until(f"Delete {jid(1)} (Mail) of dead? [y/N]: ")
    no.type("n\n")
    assert no.ends() == 1
    assert no.said.endswith("exq: nothing was done\r\n")
    assert there.jids("dead") == [jid(1)]
    yes = Terminal(shell, "delete", "--from", "dead", "--error", "Timeout")
    yes.until("Delete those that match --error Timeout of the 1 in the dead set? [y/N]: ")
    yes.type("y\n")
    assert yes.ends() == 0
    assert there.jids("dead") == []


def test_ctrl_c_at_a_question_does_nothing(shell: Shell, there: Namespace) -> None:
    there.put("dead", {there.failed(1): 1e9})
    asked = Terminal(shell, "clear", "dead")
    asked.until("[y/N]: ")
    asked.process.send_signal(signal.SIGINT)
    asked.type("\n")  # Python does not see a signal that comes just before it waits for the answer, until there is one
    assert asked.ends() == 130
    assert there.jids("dead") == [jid(1)]


def test_there_is_colour_at_a_terminal_unless_it_is_not_wanted(shell: Shell, there: Namespace) -> None:
    there.put("dead", {there.failed(1): 1e9})
    shown = Terminal(shell, "dead")
    assert shown.ends() == 0
    assert "\x1b[1mJID" in shown.said
    plain = Terminal(Shell(shell.directory, {**shell.environment, "NO_COLOR": "1", "TERM": "dumb"}), "dead")
    assert plain.ends() == 0


def test_ctrl_c_while_redis_does_not_answer_is_one_line_and_status_130(
    shell: Shell, private_valkey: Callable[..., PrivateValkey]
) -> None:
    server = private_valkey()
    with server_client.Valkey(unix_socket_path=server.socket, decode_responses=True) as client:
        client.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        for command in (["stats"], ["dead", "--error", "x"], ["delete", "--from", "dead", "--all", "--yes"]):
            before = {one["id"] for one in client.client_list()}
            process = subprocess.Popen(
                [EXQ, *command, "--redis-url", server.url],
                cwd=shell.directory,
                env=shell.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

            def waits(before: set[str] = before) -> bool:
                return any("b" in one["flags"] and one["id"] not in before for one in client.client_list())

            until(waits, "the command waits for the server")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            assert process.returncode == 130
            assert "Traceback" not in err
            assert err.endswith("exq: interrupted\n")


def test_a_shell_completes_commands_options_and_names(shell: Shell, there: Namespace) -> None:
    there.queue("mail", there.job(1))
    there.node("web-1#1")

    def completed(*words: str) -> set[str]:
        line = " ".join(("exq", *words))
        environment = {"_EXQ_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
        return {part.partition(",")[2] for part in shell.run(env=environment).stdout.split()}

    assert {"retries", "retry"} <= completed("ret")
    assert completed("jobs", "ma") == {"mail"}
    assert completed("clear", "d") == {"dead"}
    assert completed("quiet", "w") == {"web-1#1"}
    assert "--worker" in completed("dead", "--wo")
    assert completed("jobs", "x") == set()


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(typed: Typed, kind: str) -> None:
    status, out, err = typed("completion", kind)
    assert (status, err) == (0, "")
    assert f"_EXQ_COMPLETE={kind}_complete" in out


def test_every_command_has_a_help_with_an_option_for_programs(typed: Typed) -> None:
    from exq_anyio.cli.main import SECTIONS

    for title in ("Look", "Repair", "Control"):
        for command in SECTIONS[title]:
            if command.name == "ui" or isinstance(command, click.Group):
                continue  # a server, and no answer; commands of their own
            status, out, _ = typed(str(command.name), "--help")
            assert status == 0
            assert "--json" in out
            assert "Examples:\n    exq " in out
