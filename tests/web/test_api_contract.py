"""schemathesis against the served document: whatever it makes up, the API answers as the document says."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from scheduler_app.models import Calendar, Status, database_now

from .api_support import PASSWORD, make_execution, make_job, make_node, make_user

ROOT = Path(__file__).resolve().parents[2]
HOOKS = Path(__file__).with_name("schema_hooks.py")
# What a run of all tests has time for; `make test-schema` asks for everything.
PHASES = os.environ.get("SCHEMA_PHASES", "examples,fuzzing,stateful")
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "3")
"""Requests that are made up for each operation."""
SEED = os.environ.get("SCHEMA_SEED", "1")


@pytest.mark.django_db(transaction=True)
def test_schemathesis_finds_nothing(live_server: LiveServer, tmp_path: Path, settings: Any) -> None:
    # It asks without a login more often than anybody may.
    limits = ("login_failures_per_minute", "writes_per_minute", "runs_per_minute")
    settings.SCHEDULER = {**settings.SCHEDULER, **dict.fromkeys(limits, 0)}
    make_user("admin", name="contract")
    job = make_job(name="contract", schedule="@hourly", on_overlap="allow")
    Calendar.objects.create(name="contract")
    # A node that goes on ticking, however long this takes: without one the scheduler is rightly down.
    tomorrow = database_now() + timedelta(days=1)
    make_node(last_tick_at=tomorrow, heartbeat_at=tomorrow)
    for status in (Status.FAILED, Status.READY, Status.SUCCEEDED):
        make_execution(job, status=status)

    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(ROOT / "schemathesis.toml"), "run"),
            f"{live_server.url}/api/v1/schema/",
            *("--auth", f"contract:{PASSWORD}", "--phases", PHASES),
            *("--max-examples", EXAMPLES, "--seed", SEED, "--generation-database", "none"),
            *("--no-color", "--warnings", "off"),
            # However slow the machine is.
            *("--request-timeout", "120", "--suppress-health-check", "too_slow"),
        ],
        cwd=tmp_path,  # It keeps what it found beside it.
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
        capture_output=True,
        text=True,
        check=False,
    )

    print(run.stdout)  # What was covered, for who runs this alone.
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
