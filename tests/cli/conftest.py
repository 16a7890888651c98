"""The real ``exq`` in processes of its own, and a module of workers for it that leave files behind."""

from __future__ import annotations

import codecs
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import attrs
import pytest
import valkey as server_client

from exq_anyio.cli.main import main
from exq_anyio.redis.embedded import EmbeddedServer

if TYPE_CHECKING:
    from .operator import Namespace

EXQ = str(Path(sys.executable).with_name("exq"))

PATIENCE = 20.0
"""Seconds after which something that should happen soon has not happened."""

PATIENT = '{"timeout": 20, "connect_timeout": 20}'
"""The options of Redis for who does not ask what becomes of a server that says nothing: a busy one may be slow."""

Client: TypeAlias = Any
"""A synchronous client of the server; its own types are those of the asynchronous one as well."""

WORKERS = """
import logging
import subprocess
import time
from pathlib import Path

import anyio
import exq_anyio as exq

@exq.worker
async def nap(seconds: float, path: str) -> None:
    Path(path).touch()
    await anyio.sleep(seconds)
    Path(path + ".done").touch()

@exq.worker
async def hold(path: str) -> None:
    Path(path).touch()
    while not released(path):
        await anyio.sleep(0.02)
    Path(path + ".done").touch()

def released(path: str) -> bool:
    return Path(path + ".released").exists()

@exq.worker
def block(seconds: float, path: str) -> None:
    Path(path).touch()
    time.sleep(seconds)

@exq.worker
async def hog(path: str) -> None:
    Path(path).touch()
    while not released(path):
        time.sleep(0.02)

@exq.worker
async def spawn(path: str) -> None:
    subprocess.run(["sh", "-c", f"(sleep 0.2; touch {path}) & exit 0"])

@exq.worker
async def mark(path: str, seconds: float) -> None:
    with open(path, "a") as file:  # one write, which is appended whole
        file.write(f"{time.time()} {exq.worker_job().jid}\\n")
    await anyio.sleep(seconds)

@exq.worker
async def fail() -> None:
    logging.getLogger("app").warning("one\\n  two \\x1b[31m")
    raise ZeroDivisionError("first\\nsecond \\x1b[31m")
"""


def until(condition: Callable[[], object], what: str) -> None:
    """Return when *condition* holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.01)


@attrs.define
class Worker:
    """An ``exq run`` that is up or coming up."""

    process: subprocess.Popen[bytes]
    stderr: Path

    def log(self) -> str:
        return self.stderr.read_text()

    def until_up(self, times: int = 1) -> None:
        until(lambda: self.log().count("node is up") >= times or self.process.poll() is not None, "node is up")
        assert self.process.poll() is None, self.log()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Its exit status, once it has ended; there was nothing to see that a program would not say on purpose."""
        status = self.process.wait(PATIENCE)
        assert "Traceback" not in self.log()
        return status


@attrs.frozen
class Shell:
    """Where the tests type their commands: a directory that holds ``jobs.py``, and an environment."""

    directory: Path
    environment: Mapping[str, str]

    def run(self, *args: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        """``exq *args``, to its end."""
        return subprocess.run(
            [EXQ, *args],
            cwd=self.directory,
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Lines of bash, in which ``exq`` is ours."""
        path = f"{Path(EXQ).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.directory,
            env={**self.environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def path(self, name: str) -> Path:
        return self.directory / name

    def release(self, name: str) -> None:
        """Let the job that holds the file *name* end."""
        self.path(f"{name}.released").touch()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def shell(tmp_path: Path, valkey: EmbeddedServer, namespace: str) -> Shell:
    """Its environment names the tests' server and a namespace of its own."""
    (tmp_path / "jobs.py").write_text(WORKERS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXQ_")}
    ours = {"EXQ_URL": valkey.url, "EXQ_NAMESPACE": namespace, "EXQ_REDIS_OPTIONS": PATIENT}
    return Shell(tmp_path, {**inherited, **ours})


@pytest.fixture
def typed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``exq *args`` in this process, in an eighth of the time: its status, stdout and stderr."""
    for name, value in shell.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shell.directory)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def typed(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["exq", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return typed


@pytest.fixture
def start(shell: Shell, backend: str) -> Iterator[Callable[..., Worker]]:
    """Start ``exq run jobs`` with more options, on the backend, and return when it is up."""
    workers: list[Worker] = []

    def start(*options: str, wait: bool = True) -> Worker:
        stderr = shell.path(f"stderr-{len(workers)}")
        with stderr.open("wb") as file:
            process = subprocess.Popen(
                [EXQ, "run", "jobs", "--backend", backend, *options],
                cwd=shell.directory,
                env=shell.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        workers.append(worker := Worker(process, stderr))
        if wait:
            worker.until_up()
        return worker

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


@pytest.fixture
def client(valkey: EmbeddedServer) -> Iterator[Client]:
    """Another program's client of the tests' server."""
    with server_client.Valkey(unix_socket_path=valkey.socket, decode_responses=True) as client:
        yield client


@pytest.fixture
def there(client: Client, namespace: str) -> Namespace:
    """What lies in the namespace of the `shell`."""
    from .operator import Namespace

    return Namespace(client, namespace)


class Terminal:
    """``exq *args`` at a terminal of its own."""

    running: ClassVar[list[Terminal]] = []
    """Those of this test."""

    def __init__(self, shell: Shell, *args: str) -> None:
        self.screen, its_end = pty.openpty()
        self.said = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # what is read may end within a character
        self.process = subprocess.Popen(
            [EXQ, *args],
            cwd=shell.directory,
            env={**shell.environment, "TERM": "xterm", "COLUMNS": "80"},
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
        )
        os.close(its_end)
        self.running.append(self)

    def until(self, text: str) -> None:
        """Return when *text* is on the screen."""
        while text not in self.said:
            self.more()

    def more(self) -> None:
        """Read more of what is written."""
        if not self._read():
            pytest.fail(f"it ended, and said {self.said!r}")

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def ends(self) -> int:
        while self._read():
            pass
        os.close(self.screen)
        assert "Traceback" not in self.said
        return self.process.wait(20)

    def _read(self) -> bool:
        """Read what there is; whether more may come."""
        try:
            read = os.read(self.screen, 10_000)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.said += self._decoder.decode(read)
        return bool(read)


@pytest.fixture(autouse=True)
def no_terminal_is_left() -> Iterator[None]:
    """Whatever a test came to, what it ran at a terminal has ended."""
    yield
    for terminal in Terminal.running:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
    Terminal.running.clear()
