"""What Django's system checks say of the settings around the app."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

MIDDLEWARE = "scheduler_app.middleware.SchedulerMiddleware"
SERVED_BY = ("django.contrib.admin", "rest_framework")
"""The apps that pages and the API are made with."""


@register(Tags.security)
def check_middleware(**_: Any) -> list[CheckMessage]:
    """Without it nobody is known to call, and what nobody calls counts as code, which may do everything."""
    is_served = any(apps.is_installed(name) for name in SERVED_BY)
    if not is_served or MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        Error(
            "MIDDLEWARE lacks the scheduler's: pages would ask for no targets' rights, hide no jobs, and count nothing.",
            hint=f"Add {MIDDLEWARE!r} before the others that may answer.",
            id="scheduler_app.E002",
        )
    ]
