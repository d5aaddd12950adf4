"""`make run` as a person meets it: from nothing to a page that answers, and nothing left after Ctrl-C."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from jobscheduler.embeddeddb.server import EmbeddedServer
from tests.ports import free_port

from .conftest import ROOT

PATIENCE = 120


class Run:
    """One `make run`, leader of a process group as a shell makes it for Ctrl-C to reach."""

    def __init__(self, environment: dict[str, str], port: int, output: Path) -> None:
        self.port = port
        self._output = output
        # The environment that runs the tests is ready, so `venv` counts as done.
        command = ["make", "-o", "venv", "run", f"VENV={sys.prefix}", f"PORT={port}"]
        with open(output, "w") as file:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> None:
        self.wait_for("Ctrl-C\n")

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def processes_of(directory: Path) -> list[str]:
    """What runs with the test's data directory in its environment: everything that its runs started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DATA_DIR") == str(directory):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def no_process_of(directory: Path) -> bool:
    deadline = time.monotonic() + 10
    while processes_of(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    return processes_of(directory) == []


@pytest.fixture
def make_run(
    project_env: dict[str, str], tmp_path: Path, directory: Path
) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(port: int | None = None, **environment: str) -> Run:
        output = tmp_path / f"output{len(runs)}"
        run = Run(project_env | environment, port or free_port(), output)
        runs.append(run)
        return run

    yield make
    for run in runs:
        if run.process.poll() is None:
            run.press_ctrl_c()
            run.wait()


def executions_of(directory: Path, job: str) -> int:
    with psycopg.connect(EmbeddedServer(directory / "postgresql").url()) as connection:
        row = connection.execute(
            """
            SELECT count(*) FROM scheduler_app_execution AS execution
            JOIN scheduler_app_job AS job ON job.id = execution.job_id
            WHERE job.name = %s AND execution.status = 'succeeded'
            """,
            [job],
        ).fetchone()
        assert row
        return int(row[0])


def test_from_nothing_to_jobs_that_fire_and_again_as_it_was_left(
    make_run: Callable[..., Run], directory: Path
) -> None:
    run = make_run()
    run.wait_until_ready()

    assert run.get("/livez") == (200, b"ok")
    assert run.get("/admin/login/")[0] == 200
    assert run.get("/static/admin/css/base.css")[0] == 200
    assert f"http://localhost:{run.port}/admin/" in run.output
    told = re.search(r"user operator, password (\S+)", run.output)
    assert told
    for job in ("Tick every second", "Check this site"):
        deadline = time.monotonic() + PATIENCE
        while not executions_of(directory, job):
            assert time.monotonic() < deadline, run.output
            time.sleep(0.2)
    with psycopg.connect(EmbeddedServer(directory / "postgresql").url()) as connection:
        connection.execute(
            "UPDATE scheduler_app_job SET name = 'Mine' WHERE name = 'Paused example'"
        )

    run.press_ctrl_c()
    run.wait()
    assert run.output.rstrip().splitlines()[-1].startswith(("Stopped.", "make: "))
    assert no_process_of(directory)

    again = make_run(run.port)
    again.wait_until_ready()
    assert f"password {told[1]}" in again.output
    with psycopg.connect(EmbeddedServer(directory / "postgresql").url()) as connection:
        names = connection.execute("SELECT name FROM scheduler_app_job").fetchall()
    assert ("Mine",) in names
    assert ("Paused example",) not in names

    # As `kill`, a supervisor or a closed terminal ends it: make passes it on.
    again.process.terminate()
    again.wait()
    assert no_process_of(directory)


def test_a_drained_node_is_followed_by_another_and_the_site_stays(
    make_run: Callable[..., Run], directory: Path
) -> None:
    run = make_run()
    run.wait_until_ready()
    with psycopg.connect(
        EmbeddedServer(directory / "postgresql").url(), autocommit=True
    ) as connection:

        def active() -> list[int]:
            rows = connection.execute(
                "SELECT id FROM scheduler_app_node WHERE state = 'active' AND last_tick_at IS NOT NULL"
            )
            return [row[0] for row in rows]

        def wait_for_another_than(before: list[int]) -> list[int]:
            deadline = time.monotonic() + PATIENCE
            while not (found := active()) or found == before:
                assert run.process.poll() is None, run.output
                assert time.monotonic() < deadline, run.output
                time.sleep(0.1)
            return found

        first = wait_for_another_than([])
        connection.execute(
            "UPDATE scheduler_app_node SET drain_requested_at = now(), drain_requested_by = 'ana'"
        )
        second = wait_for_another_than(first)

    assert second != first
    assert "The scheduler was drained and has ended; another one starts." in run.output
    assert run.get("/livez") == (200, b"ok")


def test_two_at_once_share_the_database_until_the_last_leaves(
    make_run: Callable[..., Run], directory: Path
) -> None:
    first, second = make_run(), make_run()
    first.wait_until_ready()
    second.wait_until_ready()

    first.press_ctrl_c()
    first.wait()
    assert second.get("/admin/login/")[0] == 200
    assert EmbeddedServer(directory / "postgresql").is_running()

    second.press_ctrl_c()
    second.wait()
    assert no_process_of(directory)


def test_a_database_that_ran_before_runs_on(make_run: Callable[..., Run], directory: Path) -> None:
    server = EmbeddedServer(directory / "postgresql")
    server.start()
    run = make_run()
    run.wait_until_ready()

    run.press_ctrl_c()
    run.wait()

    assert server.is_running()


def test_a_taken_port_is_named_with_another_and_nothing_starts(
    make_run: Callable[..., Run], directory: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = make_run(taken.getsockname()[1])
        assert run.wait() != 0

    assert f"Port {run.port} is taken by another program" in run.output
    assert re.search(r"make run PORT=\d+", run.output)
    assert "Traceback" not in run.output
    assert not (directory / "postgresql").exists()


def test_a_database_that_does_not_answer_is_named(make_run: Callable[..., Run]) -> None:
    run = make_run(DATABASE_URL=f"postgresql://u@127.0.0.1:{free_port()}/n")

    assert run.wait() != 0
    assert "The database of DATABASE_URL does not answer: " in run.output
    assert "Traceback" not in run.output


def test_ctrl_c_during_the_preparation_leaves_nothing(
    make_run: Callable[..., Run], directory: Path
) -> None:
    run = make_run()
    run.wait_for("Preparing the database.")

    run.press_ctrl_c()
    run.wait()

    assert "Traceback" not in run.output
    assert no_process_of(directory)
