"""Django's `makemigrations`, which would start the embedded database only to compare histories."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.core.management.commands import makemigrations
from django.db import connections

from jobscheduler.embeddeddb.base import DatabaseWrapper


class Command(makemigrations.Command):
    def handle(self, *app_labels: str, **options: Any) -> None:
        default = connections["default"]
        skip = {}
        if isinstance(default, DatabaseWrapper) and not default.server.is_running():
            # The engine for which Django skips the comparison.
            skip["ENGINE"] = "django.db.backends.dummy"
        with mock.patch.dict(default.settings_dict, skip):
            super().handle(*app_labels, **options)
