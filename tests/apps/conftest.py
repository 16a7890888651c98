"""The examples for other people's frameworks are tested where these are installed: ``nox -s apps``."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if all(map(find_spec, ("django", "fastapi", "sqlalchemy", "aiosqlite"))) else ["test_apps.py"]
