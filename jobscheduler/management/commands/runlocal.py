"""`manage.py runlocal`, or `make run`: the whole project on this machine, until Ctrl-C."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection, connections

from jobscheduler.embeddeddb.base import DatabaseWrapper
from jobscheduler.embeddeddb.server import EmbeddedDatabaseError
from jobscheduler.models import FirstRunStep
from jobscheduler.operator_account import (
    USERNAME,
    NoPassword,
    create_operator_once,
    operator_password,
)
from jobscheduler.processes import ProcessGroup, read_procfile
from scheduler_app.conf import get_config

PROCESSES = ("web", "scheduler")

SETUP_LOCK = 0x6A6F6273
"""Advisory lock of the preparation, so that two first runs on one database do not migrate at the same time."""

WEB_TIMEOUT = 60.0
"""Seconds until the web process must answer."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM during the preparation."""


class Command(BaseCommand):
    help = "Prepare the database, run the web and scheduler processes of the Procfile, stop all on Ctrl-C."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        self.stopping = threading.Event()
        self.urged = threading.Event()
        self.preparing = True
        self.writing = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        self.host = os.environ.setdefault("BIND", "127.0.0.1")
        require_free_port(self.host, settings.PORT)
        self.say("Preparing the database.")
        try:
            with self.database():
                self.prepare()
                self.preparing = False
                self.run_processes()
        except Interrupted:
            self.say("Stopped.")
        except EmbeddedDatabaseError as error:
            raise CommandError(str(error)) from error

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        urged = self.stopping.is_set()
        self.stopping.set()
        if urged and not self.urged.is_set():
            self.urged.set()
            if self.preparing:
                # Something takes long, another run's migrations perhaps.
                raise Interrupted

    def check_stopping(self) -> None:
        """The first signal waits for the step under way to end."""
        if self.stopping.is_set():
            raise Interrupted

    def say(self, text: str) -> None:
        with self.writing:
            try:
                self.stdout.write(text)
                self.stdout.flush()
            except OSError:
                # Whoever read the output is gone; the processes need not suffer.
                pass

    # --- Before ---

    @contextmanager
    def database(self) -> Iterator[None]:
        """The embedded server for as long as this runs; or the one that DATABASE_URL names, if it answers."""
        default = connections["default"]
        if isinstance(default, DatabaseWrapper):
            with default.server.session():
                yield
        else:
            try:
                default.ensure_connection()
            except DatabaseError as error:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(
                    f"The database of DATABASE_URL does not answer: {reason}"
                ) from error
            yield

    def prepare(self) -> None:
        self.check_stopping()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [SETUP_LOCK])
            try:
                call_command("migrate", interactive=False, verbosity=0)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [SETUP_LOCK])
        self.check_stopping()
        create_operator_once()
        call_command("createsamplejobs", verbosity=0)
        if not settings.DEBUG:
            call_command("collectstatic", interactive=False, verbosity=0)
        connections.close_all()
        self.check_stopping()

    # --- While ---

    def run_processes(self) -> None:
        commands = read_procfile(settings.BASE_DIR / "Procfile")
        environment = self.environment()
        group = ProcessGroup(self.say)
        try:
            for name in PROCESSES:
                group.start(name, commands[name], environment)
            if self.wait_for_web(group):
                self.say(self.summary())
            while not self.stopping.wait(0.2) and not self.ended_badly(group):
                pass
            if (ended := group.first_ended()) and not self.stopping.is_set():
                raise CommandError(
                    f"{ended.name} ended with exit code {ended.exit_code}; its last lines are above."
                )
        finally:
            self.say(
                "Stopping. What runs may finish for a moment; Ctrl-C again makes it stop sooner."
            )
            config = get_config()
            patience = float(environment["SCHEDULER_DRAIN_TIMEOUT"]) + config.kill_grace
            group.stop(patience=patience, urged=self.urged)
        self.say("Stopped.")

    def ended_badly(self, group: ProcessGroup) -> bool:
        """Whether a process ended that should not have; a drained node is followed by another."""
        ended = group.first_ended()
        if ended is None or (ended.name, ended.exit_code) != ("scheduler", 0):
            return ended is not None
        self.say("The scheduler was drained and has ended; another one starts.")
        group.start_again(ended)
        return False

    def environment(self) -> dict[str, str]:
        """That of the processes: this Python first, and what suits a machine where a person waits."""
        sample_host = FirstRunStep.objects.filter(name="sample jobs").values_list(
            "detail", flat=True
        )
        hosts = {*get_config().http_allowed_hosts, *filter(None, sample_host)}
        connections.close_all()
        return {
            "SCHEDULER_DRAIN_TIMEOUT": "10",
            "SCHEDULER_HTTP_ALLOWED_HOSTS": ",".join(sorted(hosts)),
            "WEB_CONCURRENCY": "1",
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
        }

    def wait_for_web(self, group: ProcessGroup) -> bool:
        """Whether the liveness page answers; False when there is a reason to stop waiting."""
        for _ in range(int(WEB_TIMEOUT / 0.1)):
            if self.stopping.wait(0.1) or self.ended_badly(group):
                return False
            if answers(self.host, settings.PORT):
                return True
        raise CommandError(f"The web process did not answer within {WEB_TIMEOUT:.0f} s.")

    def summary(self) -> str:
        """Where to look; the last thing that a person reads before the processes' own lines."""
        site = f"http://localhost:{settings.PORT}"
        try:
            password = operator_password()
        except NoPassword:
            login = "with an account of yours  (forgotten: manage.py changepassword NAME)"
            user = "NAME"
        else:
            login = f"user {USERNAME}, password {password}  (again: make password)"
            user = f"{USERNAME}:{password}"
        connections.close_all()
        return (
            "\n"
            f"  Admin   {site}/admin/\n"
            f"  Log in  {login}\n"
            f"  API     curl -u {user} {site}/api/v1/executions/latest\n"
            "  Stop    Ctrl-C\n"
        )


def require_free_port(host: str, port: int) -> None:
    """Nothing is started when the web process could not listen."""
    try:
        taken = not can_listen(host, port)
    except OSError as error:
        raise CommandError(
            f"Port {port} of {host} cannot be used ({error.strerror}): choose another, for example"
            " make run PORT=8000."
        ) from error
    if taken:
        another = next((p for p in range(port + 1, 65536) if can_listen(host, p)), 8000)
        raise CommandError(
            f"Port {port} is taken by another program: choose another, for example make run PORT={another}."
        )


def can_listen(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As gunicorn does, or a port would count as taken for a minute after its last use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


def answers(host: str, port: int) -> bool:
    server = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=2)
    try:
        server.request("GET", "/livez")
        return server.getresponse().status == 200
    except OSError:
        return False
    finally:
        server.close()
