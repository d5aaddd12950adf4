"""What all tests share: the database server and how other processes reach it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from jobscheduler.embeddeddb.server import EmbeddedServer


def pytest_configure(config: pytest.Config) -> None:
    # Ended by SIGTERM (make, a CI that gives up), pytest must still stop the server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the embedded server, if a test needed it, once all of xdist's processes are done."""
    if not hasattr(config, "workerinput"):
        directory = Path(os.environ["TEST_DATA_DIR"])
        if (directory / "postgresql").exists():
            EmbeddedServer(directory / "postgresql").destroy()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """`DATABASE_URL` of the test database, for other processes and connections of one's own."""
    connection.ensure_connection()
    given = connection.settings_dict
    user = quote(given["USER"], safe="")
    if given["PASSWORD"]:
        user += ":" + quote(given["PASSWORD"], safe="")
    name = quote(given["NAME"], safe="")
    if not given["HOST"] or given["HOST"].startswith("/"):
        return f"postgresql://{user}@/{name}?host={quote(given['HOST'], safe='')}"
    return f"postgresql://{user}@{given['HOST']}:{given['PORT'] or 5432}/{name}"


@pytest.fixture
def process_env(database_url: str) -> dict[str, str]:
    """Environment for `manage.py` processes that work on the test database."""
    return os.environ | {
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "jobscheduler.settings",
        "PYTHONUNBUFFERED": "1",
    }
