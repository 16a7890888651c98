"""One of the processes of ``exq run --processes``, as it is itself: it says how it is, and obeys the one above.

Both go over one socket.  The one above asks in words and not by signals, since those may come twice: systemd sends them
to all processes of a service.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

import anyio
import attrs

from ..app import Exq, node_of
from ..node.health import Health
from ..node.heartbeat import resident_kilobytes
from .options import CHILD_VARIABLE

REPORT = 0.5
"""Seconds between two reports."""

STOP, NOW, QUIET, STACKS = b"stop", b"now", b"quiet", b"stacks"
"""What the one above says, each followed by a newline; that it is gone means STOP."""


@attrs.frozen
class Report:
    """What a process says of itself."""

    health: Health
    rss: int
    """Resident memory in kB."""

    def encode(self) -> bytes:
        """One line."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Report:
        """What *line* says."""
        said: dict[str, Any] = json.loads(line)
        return cls(Health(**said["health"]), said["rss"])


@attrs.define(eq=False)
class Child:
    """The process itself, and the one above it."""

    link: socket.socket
    """Our end."""
    instance: Exq | None = None
    """None until it works."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Child:
        """The one that the environment tells of."""
        fd = int(environ[CHILD_VARIABLE].partition(":")[2])
        os.set_inheritable(fd, False)  # what a job starts must not keep it open
        return cls(socket.socket(fileno=fd))

    def opened(self, instance: Exq) -> None:
        """Report from now on, in a thread, which a blocked event loop does not silence."""
        self.instance = instance
        threading.Thread(target=self._report, name="exq reports", daemon=True).start()

    def _report(self) -> None:
        wait = threading.Event()
        while self.instance is not None and (health := self.instance.health()) is not None:
            try:
                self.link.sendall(Report(health, resident_kilobytes()).encode())
            except OSError:
                return  # it is gone, which the other task sees too
            wait.wait(REPORT)

    async def obey(self) -> None:
        """Do what the one above says, until it is gone."""
        waiting = b""
        while True:
            await anyio.wait_readable(self.link)
            try:
                said = self.link.recv(4096)
            except OSError:
                said = b""
            *words, waiting = (waiting + (said or STOP + b"\n")).split(b"\n")
            for word in words:
                await self._do(word)
            if not said:
                return

    async def _do(self, word: bytes) -> None:
        node = node_of(self.instance, "serve") if self.instance is not None else None
        if node is None:
            if word in (STOP, NOW):
                os.kill(os.getpid(), signal.SIGTERM)  # it is still coming up
        elif word == STOP:
            node.stop()
        elif word == NOW:
            node.stop(grace=0)
        elif word == QUIET:
            await node.hush()
        elif word == STACKS:
            node.log_stacks()
