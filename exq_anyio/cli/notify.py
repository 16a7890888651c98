"""What systemd is told, where it asks for it (``Type=notify``): sd_notify(3), in a dozen lines."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Tells the service manager how it goes; says nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of Linux's abstract names.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "") if ours else ""
        self.watchdog: float = int(microseconds) / 3e6 if microseconds.isdecimal() else 0.0
        """Seconds between two signs of life, a third of those allowed; 0: none are asked for."""
        self._watched = 0.0

    def ready(self) -> None:
        """It works, or works again."""
        self._say("READY=1")

    def reloading(self) -> None:
        """A rolling restart has begun."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It was told to end."""
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._say(f"STATUS={text}")

    def alive(self) -> None:
        """Give a sign of life, if one is due."""
        if self.watchdog and time.monotonic() - self._watched >= self.watchdog:
            self._watched = time.monotonic()
            self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto(text.encode(), self._address)
