"""Settings from the environment: safe when nothing is said, a sentence when something wrong is."""

from __future__ import annotations

import runpy
import socket
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from .conftest import ROOT, Manage

PRODUCTION = {
    "DATABASE_URL": "postgresql://user:p%40ss@db.example.org:5433/jobs?sslmode=require",
    "SECRET_KEY": "$ecret",
}


@pytest.fixture
def load(project_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings as a process with these variables sees them."""
    import os

    def load(**environment: str) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", project_env | environment)
            patch.setattr("environ.Env.ENVIRON", os.environ)
            return runpy.run_path(str(ROOT / "jobscheduler" / "settings.py"))

    return load


def test_without_any_variable_it_is_development_on_the_embedded_database(
    load: Any, directory: Path
) -> None:
    settings = load()

    assert settings["DEBUG"]
    assert settings["DATABASES"]["default"]["ENGINE"] == "jobscheduler.embeddeddb"
    assert settings["DATABASES"]["default"]["DATA_DIRECTORY"] == directory / "postgresql"
    assert settings["SCHEDULER"]["http_allowed_hosts"] == ("127.0.0.1:8000", "localhost:8000")


def test_with_a_database_url_debug_is_off_unless_asked_for(load: Any) -> None:
    settings = load(**PRODUCTION)

    assert not settings["DEBUG"]
    assert settings["SECRET_KEY"] == "$ecret"
    database = settings["DATABASES"]["default"]
    assert database["HOST"] == "db.example.org"
    assert database["PORT"] == 5433
    assert database["PASSWORD"] == "p@ss"
    assert database["OPTIONS"] == {"sslmode": "require", "connect_timeout": 5}
    # Nothing but tasks and public addresses, until somebody says so.
    spool = settings["SCHEDULER"].pop("spool_directory")
    assert spool == str(settings["DATA_DIR"] / "spool")
    assert settings["SCHEDULER"] == {}
    assert load(**PRODUCTION, DEBUG="1")["DEBUG"]


def test_without_debug_cookies_are_secure_and_pages_redirect_to_https(load: Any) -> None:
    settings = load(**PRODUCTION)

    assert settings["SESSION_COOKIE_SECURE"]
    assert settings["CSRF_COOKIE_SECURE"]
    assert settings["SECURE_SSL_REDIRECT"]
    assert settings["SECURE_HSTS_SECONDS"] > 0
    assert "SECURE_PROXY_SSL_HEADER" not in settings
    assert "SECURE_PROXY_SSL_HEADER" in load(**PRODUCTION, TRUST_X_FORWARDED_PROTO="1")


def test_a_socket_in_the_url_becomes_the_host_so_that_dbshell_works(load: Any) -> None:
    settings = load(DATABASE_URL="postgresql://me@/jobs?host=%2Fvar%2Frun%2Fpg", DEBUG="1")

    assert settings["DATABASES"]["default"]["HOST"] == "/var/run/pg"
    assert settings["DATABASES"]["default"]["OPTIONS"] == {"connect_timeout": 5}


def test_scheduler_variables_become_its_options(load: Any) -> None:
    settings = load(
        SCHEDULER_THREADS="25",
        SCHEDULER_LEASE="6.5",
        SCHEDULER_POOLED="1",
        SCHEDULER_HTTP_ALLOWED_HOSTS="intranet, 10.0.0.0/8",
        SCHEDULER_KINDS="task,shell",
        SCHEDULER_MANAGEMENT_COMMANDS="clearsessions",
        SCHEDULER_SHELL_COMMANDS='{"up": ["/usr/bin/uptime"]}',
    )

    assert settings["SCHEDULER"] == {
        "spool_directory": str(settings["DATA_DIR"] / "spool"),
        "threads": 25,
        "lease": 6.5,
        "pooled": True,
        "http_allowed_hosts": ("intranet", "10.0.0.0/8", "127.0.0.1:8000", "localhost:8000"),
        "kinds": ("task", "shell"),
        "management_commands": ("clearsessions",),
        "shell_commands": {"up": ["/usr/bin/uptime"]},
    }
    assert settings["DATABASES"]["default"]["DISABLE_SERVER_SIDE_CURSORS"]


def test_lists_may_have_spaces(load: Any) -> None:
    assert load(ALLOWED_HOSTS="a.example, b.example")["ALLOWED_HOSTS"] == ["a.example", "b.example"]


def test_the_development_key_is_kept_for_its_owner_alone(load: Any, directory: Path) -> None:
    first = load()["SECRET_KEY"]

    assert len(first) >= 50
    assert load()["SECRET_KEY"] == first
    assert (directory / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in directory.iterdir()] == ["secret_key"]


def test_a_file_of_variables_is_read_and_the_environment_wins(load: Any, directory: Path) -> None:
    file = directory / "env"
    file.write_text("# ours\nPORT=9001\nTIME_ZONE='Asia/Tokyo'\n")

    settings = load(ENV_FILE=str(file), PORT="9002")

    assert (settings["PORT"], settings["TIME_ZONE"]) == (9002, "Asia/Tokyo")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DEBUG": "0"}, "DEBUG is off and DATABASE_URL is not set: name the PostgreSQL database"),
        ({"DEBUG": "maybe"}, "DEBUG must be 1 or 0, got 'maybe'."),
        ({"PORT": "http"}, "PORT must be a whole number, got 'http'."),
        ({"PORT": "70000"}, "PORT must be from 1 to 65535, got 70000."),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ({"DATABASE_URL": PRODUCTION["DATABASE_URL"]}, "SECRET_KEY is not set"),
        ({"DATABASE_URL": "mysql://u:hidden@h/n"}, "mysql is not PostgreSQL."),
        ({"DATABASE_URL": "u:hidden@h/n"}, "DATABASE_URL must look like postgresql://user"),
        ({"DATABASE_URL": "postgres://u:hidden@h:x/n"}, "DATABASE_URL must look like"),
        ({"SCHEDULER_THREADS": "0"}, "threads must be at least 1, got 0."),
        ({"SCHEDULER_LEASE": "10s"}, "SCHEDULER_LEASE must be a number, got '10s'."),
        ({"SCHEDULER_KINDS": "task,shel"}, "'shel' is not a kind of target; there are task, http"),
        ({"SCHEDULER_SHELL_COMMANDS": "[]"}, "SCHEDULER_SHELL_COMMANDS must be a JSON object"),
        ({"SCHEDULER_SHELL_COMMANDS": '{"x": ["rm"]}'}, "must begin with the absolute path"),
        ({"SCHEDULER_SECRETS_DIRECTORY": "here"}, "secrets_directory must be an absolute path"),
        ({"SCHEDULER_LEASE": "nan"}, "SCHEDULER_LEASE must be a number, got 'nan'."),
    ],
)
def test_a_wrong_value_gets_a_sentence_that_names_the_variable(
    load: Any, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load(**environment)

    assert sentence in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_command_with_wrong_settings_prints_the_sentence_and_nothing_else(manage: Manage) -> None:
    done = manage("migrate", DEBUG="0")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("DEBUG is off and DATABASE_URL is not set")
    assert done.stderr.count("\n") == 1


def test_gunicorn_believes_no_header_about_the_scheme_so_that_the_settings_decide() -> None:
    """By default it does for what comes from 127.0.0.1, whatever TRUST_X_FORWARDED_PROTO says."""
    config = Config()
    for name, value in runpy.run_path(str(ROOT / "gunicorn.conf.py")).items():
        if name in config.settings:
            config.set(name, value)
    peer, server = socket.socketpair()
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\nSCRIPT_NAME: /x\r\n\r\n"
    with peer, server:
        peer.sendall(head)
        request = next(RequestParser(config, server, ("127.0.0.1", 1)))

    assert request.scheme == "http"
    assert ("SCRIPT_NAME", "/x") not in request.headers


def test_the_page_of_settings_lists_every_variable_and_no_other(load: Any) -> None:
    known = load()["env"].names | load(**PRODUCTION)["env"].names
    known |= runpy.run_path(str(ROOT / "gunicorn.conf.py"))["env"].names

    rows = [
        line.split("|")[1].strip()
        for line in (ROOT / "docs" / "settings.md").read_text().splitlines()
        if line.startswith("| `") and line.split("|")[1].strip().strip("`").isupper()
    ]

    assert sorted(rows) == sorted(f"`{name}`" for name in known)
