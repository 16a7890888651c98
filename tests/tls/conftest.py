"""A server that speaks only TLS: Debian's Redis, which ``nox -s tls`` installs; the Valkey of the other tests cannot.

The session sets ``EXQ_TLS``, and nothing is collected without.  What is missing is a failure, never a skip.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from benchmarks.server import free_port
from exq_anyio.redis.embedded import private_directory

collect_ignore_glob = [] if os.environ.get("EXQ_TLS") else ["test_*.py"]


@attrs.frozen
class Authority:
    """Who signs certificates."""

    directory: Path
    name: str

    @property
    def certificate(self) -> str:
        return str(self.directory / f"{self.name}.crt")

    def sign(self, name: str, *alternatives: str) -> tuple[str, str]:
        """The files of a new certificate and its key."""
        key, request, certificate = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        _openssl("req", "-new", *NEW_KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(alternatives)}\n" if alternatives else "")
        by = ("-CA", self.certificate, "-CAkey", str(self.directory / f"{self.name}.key"), "-CAcreateserial")
        files = ("-in", str(request), "-out", str(certificate), "-extfile", str(extensions))
        _openssl("x509", "-req", *files, *by, "-days", "2")
        return str(certificate), str(key)


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def authority(directory: Path, name: str) -> Authority:
    made = Authority(directory, name)
    key = str(directory / f"{name}.key")
    _openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", made.certificate, "-subj", f"/CN={name}", "-days", "2")
    return made


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return authority(tmp_path, "ours")


@pytest.fixture
def others(tmp_path: Path) -> Authority:
    return authority(tmp_path, "others")


@pytest.fixture
def serve(ours: Authority) -> Iterator[Callable[..., int]]:
    """Start a server whose certificate, signed by `ours`, is for the names that are given; its port."""
    with ExitStack() as stack:

        def serve(*names: str, clients: str = "no") -> int:
            directory = stack.enter_context(private_directory())
            certificate, key = ours.sign("server", *names)
            port = free_port()
            options = {
                "port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": directory, "save": "",
                "tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": ours.certificate,
                "tls-auth-clients": clients, "unixsocket": f"{directory}/redis.sock",
            }  # fmt: skip
            words = [word for name, value in options.items() for word in (f"--{name}", value)]
            process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            deadline = time.monotonic() + 10
            while not Path(options["unixsocket"]).exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return port

        yield serve
