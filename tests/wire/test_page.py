"""``docs/wire.md`` names every key that we have."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from exq_anyio.client import outgoing
from exq_anyio.config import Config
from exq_anyio.job import Job
from exq_anyio.redis.keys import Keys
from exq_anyio.spec import JobSpec

PAGE = (Path(__file__).parent.parent.parent / "docs" / "wire.md").read_text()
NAMED = {name for line in PAGE.split("\n") if line.startswith("|") for name in re.findall(r"`([^`]+)`", line)}


def keys() -> list[str]:
    keys = Keys("")
    plain = [value for name, value in vars(keys).items() if name != "prefix" and name[0] != "_"]
    made = []
    for name, function in inspect.getmembers(Keys, inspect.isfunction):
        parameters = list(inspect.signature(function).parameters)[1:]
        if name not in ("__init__", "stats", "resque", "rate") and "at" not in parameters:
            made.append(getattr(keys, name)(*[f"<{parameter}>" for parameter in parameters]))
    made += ["j\\|<YYYYMMDD>\\|<H>:<M>", "j\\|<YYMMDD>\\|<H>:<MM>", "j\\|<YYMMDD>\\|<H>:<M>"]
    made += ["<worker>-<DD>-<HH>:<M>", "h\\|<worker>-<D>-<H>:<M>", "<YYYYMMDD>-marks", "limit:<name>:<kind>:<seconds>"]
    by_time = [re.sub(r"\d{4}-\d\d-\d\d( [\d:]+)?", "<…>", key) for key in keys.stats(0)]
    return plain + [key.replace("<queue>", "<name>") for key in made] + by_time


@pytest.mark.parametrize("key", keys())
def test_every_key_is_in_a_table(key: str) -> None:
    assert _undated(key) in {_undated(name) for name in NAMED}


def _undated(key: str) -> str:
    return re.sub(r"<YYYY[^>]*>|<…>Z?", "<…>", key).rstrip("Z")


def test_every_field_of_a_job_is_in_the_table() -> None:
    spec = JobSpec(worker="W").on(timeout=1, tags=["a"], meta={}, unique_for=1, expires_in=1)
    fields = set(json.loads(outgoing(spec, Config(), 1.0).payload))
    fields |= {name for name, value in inspect.getmembers(Job) if isinstance(value, property)}
    read = fields - {"worker", "attempt", "expires_at", "tick"}  # `class`; made from others
    assert read <= NAMED
