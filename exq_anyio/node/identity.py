"""Which process this is, and whether another process of this host still lives: what a lease says of its owner."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ..setting import check_node_identifier


def default_host() -> str:
    """The host name, the part of a node id before the ``#``."""
    return socket.gethostname() or "localhost"


def host(named: str | Callable[[], str] | None) -> str:
    """What stands before the ``#``: what ``node_identifier`` says, by default the name of the host."""
    if named is None:
        return default_host()
    return named if isinstance(named, str) else check_node_identifier(named())


def new_token() -> str:
    """A new random lease token."""
    return secrets.token_hex(12)


def owner(limit: float) -> dict[str, str]:
    """The fields of a lease that identify this process, ``boot``, ``space``, ``pid`` and ``started``, and two more.

    ``limit`` is the seconds of silence after which others may take the node for dead; ``alone`` the jid of the job
    that runs alone, see :meth:`~exq_anyio.node.store.Store.runs_alone`.
    """
    pid = os.getpid()
    return {
        "boot": _boot(), "space": _pid_space(), "pid": str(pid), "started": _started(pid) or "", "limit": repr(limit),
        "alone": "",
    }  # fmt: skip


def is_gone(lease: Mapping[str, str]) -> bool:
    """Whether the process that took *lease* ran in this boot and PID namespace and has ended.

    False when that cannot be told: the lease is then left to run out.
    """
    pid = lease.get("pid", "")
    if not _boot() or lease.get("boot") != _boot() or lease.get("space") != _pid_space() or not pid.isdecimal():
        return False
    started = _started(int(pid))
    return started is None or started != lease.get("started")


@functools.cache
def _boot() -> str:
    """Identifies the machine since it was started; ``""`` when that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _ask("sysctl", "-n", "kern.bootsessionuuid") if sys.platform == "darwin" else ""


@functools.cache
def _pid_space() -> str:
    """Identifies the PID namespace: equal numbers in two containers are two processes."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process *pid* began, in the system's own words; None when there is none."""
    if sys.platform == "darwin":
        return _ask("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces; the state is field 3, the start time field 22.  A zombie has ended.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
