"""The rights that SECURITY.md gives to a worker are enough for the operator's commands too."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable

import valkey as server_client

from ..acl import rules
from ..conftest import PrivateValkey
from .conftest import EXQ, Shell, Worker, until
from .operator import jid
from .test_processes import enqueue


def test_a_worker_and_the_operators_commands_need_no_more_rights(
    shell: Shell, private_valkey: Callable[..., PrivateValkey]
) -> None:
    server = private_valkey("--save", "86400", "1000000000")
    with server_client.Valkey(unix_socket_path=server.socket, decode_responses=True) as admin:
        admin.execute_command("ACL", "SETUSER", "exq", "on", ">secret", *rules("exq-worker"))
        admin.execute_command("ACL", "LOG", "RESET")
        user = {"EXQ_URL": server.url, "EXQ_NAMESPACE": "exq", "EXQ_USERNAME": "exq", "EXQ_PASSWORD": "secret"}
        with shell.path("stderr").open("wb") as file:
            process = subprocess.Popen(
                [EXQ, "run", "jobs", "--node-identifier", "h"],
                cwd=shell.directory,
                env={**shell.environment, **user},
                stderr=file,
            )
        worker = Worker(process, shell.path("stderr"))
        try:
            worker.until_up()
            enqueue(admin, "exq", "nap", 0, str(shell.path("a")))
            enqueue(admin, "exq", "fail")
            until(lambda: admin.get("exq:stat:processed") == "2", "both are done")
            assert (
                shell.run("enqueue", "other", "nap", "[0, 1]", "--unique-for", "9", "--in", "9", env=user).returncode
                == 0
            )
            admin.zadd(
                "exq:dead", {f'{{"class":"a","args":[],"jid":"{jid(1)}"}}': time.time()}
            )  # the worker removes old ones
            for command in (
                "health", "stats --days 2", "queues", "nodes", "busy", "jobs default", "retries", "scheduled", "dead",
                "dead --text nothing", f"show {jid(1)}", f"edit {jid(1)} [1]", f"retry {jid(1)}", "pause other --force",
                "resume default", "clear retries --yes", "delete --from scheduled --all --yes", "top --once",
                "quiet h#1",
            ):  # fmt: skip
                done = shell.run(*command.split(), env=user)
                assert (done.returncode, "NOPERM" in done.stderr) == (0, False), (command, done.stderr)
        finally:
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0
        assert not re.search("may not do this|ERROR", worker.log())
        refused = {str(entry[entry.index("object") + 1]) for entry in admin.execute_command("ACL", "LOG")}
        assert refused <= {"client|setinfo"}  # which coredis asks for, and does without
