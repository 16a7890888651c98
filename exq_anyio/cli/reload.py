"""``exq run --reload``: start anew when files change; for development."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


def watcher(directory: str) -> Callable[[int], None]:
    """What writes a zero byte to a file descriptor whenever Python files in *directory* have changed.

    Raises:
        ConfigError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise ConfigError("--reload", "needs watchfiles; install exq-anyio[reload]") from None

    def follow(wake: int) -> None:
        for _ in watch(directory, watch_filter=PythonFilter(extra_extensions=(".toml",)), raise_interrupt=False):
            with suppress(OSError):  # the process is ending
                os.write(wake, b"\0")

    return lambda wake: threading.Thread(target=follow, args=(wake,), name="exq reload", daemon=True).start()
