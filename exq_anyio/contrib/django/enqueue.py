"""To put jobs in, now or when a transaction is committed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import cast

from django.conf import settings
from django.db import transaction

from ...load import load_config
from ...spec import JobSpec
from ...sync import Sync, sync


@functools.cache
def queue() -> Sync:
    """What enqueues with the settings in ``EXQ``; without them, with those of the environment."""
    return sync(load_config(cast("Mapping[str, object] | None", getattr(settings, "EXQ", None))))


def push(spec: JobSpec) -> str:
    """Enqueue *spec* now, whatever becomes of the transaction; its jid."""
    return queue().push(spec)


def push_on_commit(spec: JobSpec, using: str | None = None) -> None:
    """Enqueue *spec* when the open transaction (of the database *using*) is committed, and not if it is rolled back.

    Outside of a transaction that is at once.  A job that is enqueued before may run before the rows are there that it
    is about.  What goes wrong with the enqueue is raised to who commits: the rows are there then, and the job is not.
    """
    transaction.on_commit(functools.partial(push, spec), using=using)
