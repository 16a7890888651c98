"""What each process writes down of itself: one line for each event, appended in one write, in a file of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs


class Ledger:
    """The file of this process.  What was written is there even if the process is killed in the next moment."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, event: str, *words: object) -> None:
        """Append *event* and *words*, which hold no white space, with the time, which all processes share."""
        line = " ".join(map(str, (f"{time.monotonic():.6f}", event, *words)))
        os.write(self._file, f"{line}\n".encode())


@attrs.frozen
class Entry:
    """One line of a ledger."""

    at: float
    """Monotonic seconds of this machine."""
    process: str
    """Name of the file."""
    event: str
    words: tuple[str, ...]


def read(path: Path) -> Iterator[Entry]:
    """The lines of one file in their order; the last one may be cut short by the death of its process."""
    for line in path.read_bytes().decode().split("\n")[:-1]:
        at, event, *words = line.split(" ")
        yield Entry(float(at), path.name, event, tuple(words))
