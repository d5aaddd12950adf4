"""Embedded servers of a test's own, and the project's commands run against them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobscheduler.embeddeddb.server import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent.parent

Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory that the server's user can reach when tests run as root; pytest's own it cannot."""
    path = Path(tempfile.mkdtemp(prefix="jobscheduler-tests-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def fresh_cluster() -> Iterator[Path]:
    """A data directory as the first start leaves it; copied, since making one takes a second."""
    parent = Path(tempfile.mkdtemp(prefix="jobscheduler-tests-"))
    parent.chmod(0o711)
    server = EmbeddedServer(parent / "postgresql", durable=False)
    server.start()
    server.stop()
    yield server.place.data
    server.destroy()
    parent.rmdir()


@pytest.fixture
def make_server(directory: Path, fresh_cluster: Path) -> Iterator[Callable[..., EmbeddedServer]]:
    """A server below the test's directory, removed at its end; `made=False` leaves the making to its start."""
    handed_out = []

    def make(*parts: str, made: bool = True) -> EmbeddedServer:
        data = directory.joinpath(*(parts or ["postgresql"]))
        if made and not data.exists():
            subprocess.run(["cp", "-a", fresh_cluster, data], check=True)
        server = EmbeddedServer(data, durable=False)
        handed_out.append(server)
        return server

    yield make
    for server in handed_out:
        server.destroy()


@pytest.fixture
def project_env(directory: Path) -> Iterator[dict[str, str]]:
    """The environment of someone who sets nothing but where data lies."""
    unset = {"DATABASE_URL", "TEST_DATA_DIR", "PORT", "BIND", "DEBUG", "SECRET_KEY"}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in unset and not name.startswith(("SCHEDULER_", "MAKE", "MFLAGS", "PYTEST_"))
    }
    yield inherited | {
        "DATA_DIR": str(directory),
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "jobscheduler.settings",
    }
    EmbeddedServer(directory / "postgresql").destroy()


@pytest.fixture
def manage(project_env: dict[str, str]) -> Manage:
    """Run `manage.py` with these arguments; keywords add to the environment."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=project_env | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
