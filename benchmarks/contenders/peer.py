"""What the peers' programs share; standard library alone, as each runs in an environment of its own."""

from __future__ import annotations

import os
from pathlib import Path

URL = os.environ["BENCH_URL"]
"""Of the round's PostgreSQL database."""


def remember_jobs(count: int) -> None:
    """For a worker whose schedules are its code: how many there are."""
    _file().write_text(str(count))


def remembered_jobs() -> int:
    return int(_file().read_text()) if _file().exists() else 0


def _file() -> Path:
    return Path(os.environ["BENCH_STARTS"] + ".jobs")


def django_settings() -> dict[str, object]:
    """Django with this database alone, its connections kept open."""
    from urllib.parse import parse_qs, urlsplit

    url = urlsplit(URL)
    return {
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.path.lstrip("/"),
                "USER": url.username,
                "HOST": parse_qs(url.query)["host"][0],
                "CONN_MAX_AGE": None,
            }
        },
        "DEBUG": False,
        "SECRET_KEY": "only-for-benchmarks",
        "USE_TZ": True,
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    }
