"""A client that a public generator makes from the served document works on the real thing: web, node and all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from .api_support import API, PASSWORD, client_of, make_user

ROOT = Path(__file__).resolve().parents[2]
VENV = os.environ.get("CLIENT_VENV", "")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not VENV, reason="the generator is fetched from the package index: make test-client"
    ),
]


def test_a_generated_client_creates_runs_and_watches_a_job(
    live_server: LiveServer, process_env: dict[str, str], tmp_path: Path
) -> None:
    make_user("admin", name="generated")
    document = tmp_path / "schema.json"
    document.write_bytes(client_of("stranger").get(f"{API}/schema/").content)
    generator = [f"{VENV}/bin/openapi-python-client", "generate", "--path", str(document)]
    made = subprocess.run(
        [*generator, "--output-path", str(tmp_path / "client")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "unsupported" not in made.stdout.lower(), made.stdout
    node = subprocess.Popen(
        [sys.executable, "manage.py", "runscheduler"], cwd=ROOT, env=process_env
    )
    try:
        used = subprocess.run(
            [
                *(f"{VENV}/bin/python", "scripts/use_generated_client.py"),
                *(live_server.url, "generated", PASSWORD, "jobscheduler.tasks.tick"),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "client")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        node.terminate()
        node.wait(timeout=60)

    print(used.stdout)
    assert used.returncode == 0, used.stdout + used.stderr
    assert "ended: succeeded" in used.stdout
