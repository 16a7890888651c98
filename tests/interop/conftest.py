"""Real Sidekiq judges us here.  ``nox -s interop`` installs it and sets ``EXQ_INTEROP``; nothing is collected without.

What is missing then is a failure, never a skip.
"""

from __future__ import annotations

import os

import coredis
import pytest

from exq_anyio.redis.embedded import EmbeddedServer

from .both import Both
from .sidekiq import Ruby

collect_ignore_glob = [] if os.environ.get("EXQ_INTEROP") else ["test_*.py"]


@pytest.fixture
def both(valkey: EmbeddedServer, redis: coredis.Redis[bytes]) -> Both:
    """One Redis, without a namespace, for Ruby and Python."""
    return Both(valkey.url, redis, Ruby(valkey.url))
