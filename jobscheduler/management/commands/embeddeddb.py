"""`manage.py embeddeddb start|stop|status`"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobscheduler.embeddeddb.server import EmbeddedDatabaseError, EmbeddedServer


class Command(BaseCommand):
    help = "Start or stop the project's own PostgreSQL, or say where it is and whether it runs."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status"])

    def handle(self, *, action: str, **options: Any) -> None:
        server = EmbeddedServer(settings.EMBEDDED_DATABASE_DIRECTORY)
        try:
            if action == "start":
                self.stdout.write("Started." if server.start() else "It was running already.")
            elif action == "stop":
                self.stdout.write("Stopped." if server.stop() else "It was not running.")
            else:
                self.show(server)
        except EmbeddedDatabaseError as error:
            raise CommandError(str(error)) from error

    def show(self, server: EmbeddedServer) -> None:
        """Exits with 3 when the server is stopped, as `pg_ctl status` does."""
        place = server.place
        running = server.is_running()
        lines = {
            "state": "running" if running else "stopped",
            "data": place.data,
            "log": server.log,
            "user": place.user or "yourself",
            "binaries": place.binaries,
        }
        if running:
            lines |= {"socket": server.socket_directory, "url": server.url()}
        for name, value in lines.items():
            self.stdout.write(f"{name + ':':<10}{value}")
        if settings.HAS_DATABASE_URL:
            self.stdout.write("The project does not use it, because DATABASE_URL is set.")
        if not running:
            raise SystemExit(3)
