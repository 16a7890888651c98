"""The app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ExqConfig(AppConfig):
    """Imports the ``jobs`` of every app, so that their workers are known wherever jobs are enqueued."""

    name = "exq_anyio.contrib.django"
    label = "exq"

    def ready(self) -> None:
        """See the class."""
        autodiscover_modules("jobs")
