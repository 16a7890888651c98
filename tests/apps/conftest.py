"""The examples for other people's frameworks are tested where these are installed: ``nox -s apps``."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("aiosqlite", "django", "fastapi", "hypercorn", "litestar", "quart_trio", "sqlalchemy")
TO_TRACE = ("fastapi", "hypercorn", "yaml", "opentelemetry.exporter", "opentelemetry.instrumentation")
TO_REPORT = ("sentry_sdk",)
TO_READ = ("yaml",)

collect_ignore = [] if all(map(find_spec, NEEDED)) else ["test_apps.py"]
collect_ignore += [] if all(map(find_spec, TO_TRACE)) else ["test_trace.py"]
collect_ignore += [] if all(map(find_spec, TO_REPORT)) else ["test_sentry.py"]
collect_ignore += [] if all(map(find_spec, TO_READ)) else ["test_yaml.py"]
