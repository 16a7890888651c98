"""``exq run --processes``: the one above the worker processes.

It starts them, replaces those that die, grow too large or have done enough, and restarts all of them one by one.  It
works on nothing itself, knows nothing of Redis or of the user's code, and so has no reason to fail.  As the first
process of a container it also takes up the dead of others.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import attrs

from ..node.health import Health
from . import child as below
from .notify import Notifier
from .options import CHILD_VARIABLE

logger: logging.Logger = logging.getLogger("exq_anyio")

OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGCHLD)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a process that died is started again; they double each time."""

CALM = 60.0
"""Seconds after which a process that then dies is started again as if it were the first time."""

TICK = 1.0
"""Seconds after which the loop looks around although nothing has happened."""


@attrs.frozen(kw_only=True)
class Plan:
    """How the processes are to be run."""

    count: int
    """How many."""
    command: Sequence[str]
    """What starts one."""
    grace: float
    """Seconds that one has to end before it is killed."""
    max_rss: int | None = None
    """Resident memory in kB above which one is replaced."""
    max_jobs: int | None = None
    """Jobs after which one is replaced."""


@attrs.define(eq=False)
class Process:
    """One worker process, as seen from above."""

    number: int
    """Its place."""
    popen: subprocess.Popen[bytes]
    link: socket.socket
    started: float = attrs.field(factory=time.monotonic)
    said: bytes = b""
    """The beginning of a report that is still coming."""
    report: below.Report | None = None
    """The last one; None until it is up."""
    killed_at: float = float("inf")
    """When it is killed (monotonic seconds), if it has not ended by then."""

    def ask(self, word: bytes) -> None:
        """Say one of the words that it obeys."""
        with suppress(OSError):
            self.link.sendall(word + b"\n")

    def __str__(self) -> str:
        return f"process={self.number} pid={self.popen.pid}"


@attrs.define(eq=False)
class Place:
    """Where one process is to run at all times."""

    number: int
    process: Process | None = None
    """The one that works there, or is coming up."""
    successor: Process | None = None
    """The one that is coming up to take over."""
    failures: int = 0
    """How often in a row it died soon."""
    due: float = 0.0
    """When it is to be started (monotonic seconds)."""


@attrs.define(eq=False)
class Supervisor:
    """The one above, and what it knows.  Everything happens in the thread that calls :meth:`run`."""

    plan: Plan
    notifier: Notifier
    places: list[Place] = attrs.field(init=False)
    leaving: list[Process] = attrs.field(factory=list)
    """Those that were told to end."""
    replacing: list[Place] = attrs.field(factory=list)
    """Places whose process is to be replaced, one after the other."""
    told: int = 0
    """How often it was told to stop."""
    quiet: bool = False
    """True after SIGTSTP: nobody is started any more."""
    was_up: bool = False
    """Whether all were ever up at once."""
    status: int = 0
    """Our own exit status."""
    _selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)
    _at_terminal: bool = attrs.field(factory=lambda: os.isatty(0))

    def __attrs_post_init__(self) -> None:
        self.places = [Place(number) for number in range(1, self.plan.count + 1)]

    def healths(self) -> list[Health | None]:
        """The health of each place; from any thread."""
        return [
            place.process.report.health if place.process and place.process.report else None for place in self.places
        ]

    def run(self, watch: Callable[[int], None] | None = None) -> int:
        """Live until told to stop, and until all have ended; the exit status.

        *watch* is given a file descriptor to write a zero byte to when the processes are to be replaced.
        """
        with self._signals() as (signals, wake):
            if watch is not None:
                watch(wake)
            self._selector.register(signals, selectors.EVENT_READ)
            while not (self.told and not self._alive()):
                self._step()
                for key, _ in self._selector.select(TICK if self._calm() else 0.05):
                    if key.data is None:
                        for number in os.read(signals, 512):
                            self._obey(number)
                    else:
                        self._hear(key.data)
                self._reap()
        return self.status

    @contextmanager
    def _signals(self) -> Iterator[tuple[int, int]]:
        """The ends of a pipe that a signal's number can be read from, and may be written to."""
        ours, wake = os.pipe()
        for end in (ours, wake):
            os.set_blocking(end, False)
        former = {number: signal.signal(number, lambda *_: None) for number in OBEYED}
        before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            yield ours, wake
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in former.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(ours)
            os.close(wake)

    def _alive(self) -> list[Process]:
        working = [process for place in self.places for process in (place.process, place.successor)]
        return [process for process in [*working, *self.leaving] if process is not None]

    def _calm(self) -> bool:
        """Whether nothing is due soon."""
        return not self.told and (self.quiet or all(place.process is not None for place in self.places))

    # -- what is told

    def _obey(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._stop()
            case signal.SIGHUP if self._at_terminal and not os.isatty(0):
                self._stop()  # the terminal that we run at is gone
            case signal.SIGHUP | 0:  # 0 is written when files have changed
                self._replace_all()
            case signal.SIGTSTP:
                self.quiet = True
                self._ask_all(below.QUIET)
            case signal.SIGTTIN:
                self._ask_all(below.STACKS)
            case _:
                pass  # SIGCHLD: who has ended is looked for after each turn

    def _stop(self) -> None:
        self.told += 1
        if self.told == 1:
            logger.info("stopping: processes=%d", len(self._alive()))
            self.notifier.stopping()
            self.replacing.clear()
            for process in self._alive():
                self._dismiss(process)
            for place in self.places:
                place.process = place.successor = None
        else:
            for process in self.leaving:
                process.ask(below.NOW)
                process.killed_at = min(process.killed_at, time.monotonic() + self._last())

    def _last(self) -> float:
        """Seconds that a process has after its grace."""
        return 5.0

    def _ask_all(self, word: bytes) -> None:
        for process in self._alive():
            process.ask(word)

    def _replace_all(self) -> None:
        if self.told:
            return
        logger.info("rolling restart: processes=%d", len(self.places))
        self.notifier.reloading()
        self.quiet = False
        self.replacing[:] = self.places

    # -- processes

    def _start(self, place: Place) -> Process:
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                self.plan.command,
                env={**os.environ, CHILD_VARIABLE: f"{place.number}:{theirs.fileno()}"},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the terminal is told to us, and by us to them
            )
        ours.setblocking(False)
        process = Process(place.number, popen, ours)
        self._selector.register(ours, selectors.EVENT_READ, process)
        return process

    def _dismiss(self, process: Process) -> None:
        """Tell *process* to end, and expect it to."""
        process.ask(below.STOP)
        process.killed_at = time.monotonic() + self.plan.grace + self._last()
        if process not in self.leaving:
            self.leaving.append(process)

    def _hear(self, process: Process) -> None:
        """Read the reports of *process*."""
        try:
            said = process.link.recv(1 << 16)
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(process.link)
            return
        *lines, process.said = (process.said + said).split(b"\n")
        if not lines:
            return
        first, process.report = process.report is None, below.Report.decode(lines[-1])
        if first:
            self._is_up(process)
        self._judge(process)

    def _is_up(self, process: Process) -> None:
        place = self.places[process.number - 1]
        if process is place.successor:
            former, place.process, place.successor = place.process, process, None
            if former is not None:
                self._dismiss(former)
        if all(place.process and place.process.report for place in self.places):
            self.was_up = True
            if not self.replacing:
                self.notifier.ready()

    def _judge(self, process: Process) -> None:
        """Replace *process* if it is too large, or has done enough."""
        place, report = self.places[process.number - 1], process.report
        if process is not place.process or report is None or place in self.replacing or place.successor or self.told:
            return
        if self.plan.max_rss is not None and report.rss > self.plan.max_rss:
            logger.info("too large, to be replaced: %s rss=%d MB", process, report.rss // 1024)
        elif self.plan.max_jobs is not None and report.health.performed >= self.plan.max_jobs:
            logger.info("has done enough, to be replaced: %s jobs=%d", process, report.health.performed)
        else:
            return
        self.replacing.append(place)

    def _step(self) -> None:
        """Start who is due, replace who is next, kill who does not end."""
        now = time.monotonic()
        for process in self.leaving:
            if now > process.killed_at:
                logger.error("does not end, killed: %s", process)
                process.popen.kill()
                process.killed_at = float("inf")
        if self.told:
            return
        for place in self.places:
            if place.process is None and not self.quiet and now >= place.due:
                place.process = self._start(place)
        if self.replacing and not self.leaving and not any(place.successor for place in self.places):
            place = self.replacing.pop(0)
            if place.process is not None:  # else it is started anew anyway
                place.successor = self._start(place)
        if not any(health is not None and health.problem for health in self.healths()):
            self.notifier.alive()

    # -- those that have ended

    def _reap(self) -> None:
        """Take note of all that have ended; as the first process of a container, of those of others too."""
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self._alive():
                if process.popen.pid == pid:
                    process.popen.returncode = os.waitstatus_to_exitcode(raw)
                    self._ended(process, process.popen.returncode)

    def _ended(self, process: Process, status: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(process.link)
        process.link.close()
        if process in self.leaving:
            self.leaving.remove(process)
            logger.info("ended: %s status=%d", process, status)
            return
        place = self.places[process.number - 1]
        if process is place.successor:
            place.successor = None
            logger.error("the new one does not start, the old ones go on: %s status=%d", process, status)
            self.replacing.clear()
            self.notifier.ready()
            return
        place.process, place.successor = place.successor, None
        self._died(place, process, status)

    def _died(self, place: Place, process: Process, status: int) -> None:
        """Who was to work has ended by itself."""
        if not self.was_up and process.report is None and status in (1, 2):
            # It has said why, and would say it again.
            self.status = status
            if not self.told:
                self._stop()
            return
        now = time.monotonic()
        place.failures = 0 if now - process.started > CALM else place.failures + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, place.failures - 1)) if place.failures else 0.0
        place.due = now + pause
        # With status 0 it was told to stop by somebody else: exq stop, or a button of a web page.
        level, what = (logging.ERROR, "died") if status else (logging.INFO, "has ended by itself")
        logger.log(level, "%s, started again: %s status=%d seconds=%.1f", what, process, status, pause)


def command() -> list[str]:
    """What starts a process like this one."""
    return [sys.executable, "-m", "exq_anyio.cli", *sys.argv[1:]]
