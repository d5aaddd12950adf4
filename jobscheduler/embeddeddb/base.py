"""Django's PostgreSQL engine on the embedded server, which it starts when a connection is first wanted."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

from django.db.backends.postgresql import base

from jobscheduler.embeddeddb.client import DatabaseClient
from jobscheduler.embeddeddb.server import PORT, EmbeddedServer

_starting = threading.Lock()
_started: set[EmbeddedServer] = set()


@cache
def server_in(directory: Path, durable: bool) -> EmbeddedServer:
    """One object for all connections of this process."""
    return EmbeddedServer(directory, durable=durable)


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    @property
    def server(self) -> EmbeddedServer:
        """The server of this database, running or not."""
        return server_in(
            self.settings_dict["DATA_DIRECTORY"], self.settings_dict.get("DURABLE", True)
        )

    def ensure_started(self) -> None:
        """Start the server once in this process's life: who stops it later means it."""
        with _starting:
            if self.server not in _started:
                self.server.start()
                _started.add(self.server)
        self.settings_dict["HOST"] = str(self.server.socket_directory)
        self.settings_dict["PORT"] = str(PORT)

    def get_connection_params(self) -> dict[str, Any]:
        self.ensure_started()
        return super().get_connection_params()
