"""The whole node through PgBouncer in transaction mode, as Debian ships it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine import database
from scheduler_app.engine.database import Session
from scheduler_app.engine.gauges import Gauges
from scheduler_app.models import Execution, LogChunk, Status
from tests.ports import free_port

from .conftest import wait_for
from .test_nodes import EVERY_SECOND, verdicts

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
min_pool_size = 2
server_reset_query_always = 0
logfile = {directory}/log
"""


@pytest.fixture
def pooled_url(transactional_db) -> Iterator[str]:
    """A `DATABASE_URL` that leads through a PgBouncer with fewer server connections than a node has of its own."""
    if PGBOUNCER is None:
        message = "pgbouncer is not installed (Debian: apt-get install pgbouncer)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    connection.ensure_connection()
    info = connection.connection.info
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    file = directory / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(
            host=info.host,
            port=info.port,
            user=info.user,
            listen_port=port,
            directory=directory,
        )
    )
    command = [PGBOUNCER, "-q", str(file)]
    if os.geteuid() == 0:
        # It refuses to run as root; the server's user reaches the server's socket.
        user = pwd.getpwuid(os.stat(info.host).st_uid if info.host.startswith("/") else 65534)
        os.chown(directory, user.pw_uid, user.pw_gid)
        command[1:1] = ["-u", user.pw_name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    url = f"postgresql://{quote(info.user)}@127.0.0.1:{port}/{quote(info.dbname)}"
    try:
        wait_for(lambda: _answers(url), what=f"PgBouncer: {_log(directory)}")
        yield url
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(directory)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2, prepare_threshold=None) as opened:
            return opened.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _log(directory: Path) -> str:
    path = directory / "log"
    return path.read_text() if path.exists() else "it says nothing"


def test_a_node_works_through_a_transaction_pooler(
    start_node, make_job, pooled_url, tmp_path, finished
):
    """Plans, fires, claims, runs, records, retries, cancels, prunes and drains; sees notifications by a direct URL."""
    ticking = make_job(schedule=EVERY_SECOND, on_overlap="allow", name="ticking")
    limited = make_job(schedule=EVERY_SECOND, on_overlap="queue_all", name="limited")
    jobs = {
        "add": make_job("add", {"a": 1, "b": 2}, name="add"),
        "log": make_job("print_much", {"lines": 2, "text": "x"}, name="log"),
        "again": make_job(
            "fail_until", {"attempt": 2}, max_attempts=2, retry_backoff_s=0.1, name="again"
        ),
        "orm": make_job("ask_search_path", name="orm"),
        "child": make_job("tell_process", isolation="process", name="child"),
        "slow": make_job("note_slowly", {"path": str(tmp_path / "a"), "seconds": 600}, name="slow"),
    }
    node = start_node(env={"DATABASE_URL": pooled_url}, pooled=1)
    runs = {name: lifecycle.run_now([job.pk], by="ann")[0] for name, job in jobs.items()}
    wait_for((tmp_path / "a").exists, what="the slow run")
    lifecycle.cancel([runs["slow"].pk], by="ann")

    ended = {name: finished(run) for name, run in runs.items()}

    assert ended.pop("slow").status == Status.CANCELLED
    assert {run.status for run in ended.values()} == {Status.SUCCEEDED}
    assert ended["add"].result == 3
    assert ended["again"].attempt == 2
    chunks = LogChunk.objects.filter(execution=ended["log"]).values_list("text", flat=True)
    assert "".join(chunks) == "x 0\nx 1\n"
    wait_for(
        lambda: all(
            job.executions.filter(status="succeeded").count() >= 3 for job in (ticking, limited)
        ),
        what="three ticks of each",
    )
    assert set(verdicts(ticking).values()) == {1}
    assert "not listening" in node.log
    assert node.row.trouble == ""
    node.signal(15)
    assert node.wait_exit() == 0
    assert not Execution.objects.running().exists()
    assert "Traceback" not in node.log


def test_a_direct_url_for_notifications_is_listened_on(
    start_node, make_job, pooled_url, database_url, finished
):
    node = start_node(
        env={"DATABASE_URL": pooled_url}, pooled=1, listen_url=database_url, lease=300
    )

    wait_for(lambda: node.row.listening, what="the listener")
    [execution] = lifecycle.run_now([make_job().pk], by="ann")
    assert finished(execution).status == Status.SUCCEEDED


def test_settings_hold_for_each_transaction_and_reach_nobody_else(pooled_url, monkeypatch):
    config = replace(get_config(), pooled=True)
    # Its own `connect` goes where Django's settings lead, which is past the pooler.
    monkeypatch.setattr(database, "connect", lambda *given, **options: _pooled(pooled_url))
    session = Session(config, "test", Gauges())

    def settings(opened: psycopg.Connection) -> tuple:
        return tuple(
            opened.execute(f"SHOW {name}").fetchone()[0]
            for name in ("statement_timeout", "lock_timeout", "enable_seqscan", "TimeZone")
        )

    assert [session.call(settings) for _ in range(5)] == [("9s", "5s", "off", "UTC")] * 5
    with _pooled(pooled_url) as stranger:
        assert {settings(stranger)[0] for _ in range(10)} == {"0"}

    def fail(opened: psycopg.Connection) -> None:
        opened.execute("CREATE TABLE must_not_stay (a int)")
        opened.execute("SELECT 'x'::int")

    with pytest.raises(psycopg.DataError):
        session.call(fail)
    assert session.call(settings)[0] == "9s"
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('must_not_stay')")
        assert cursor.fetchone() == (None,)
    session.close()


def _pooled(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)
