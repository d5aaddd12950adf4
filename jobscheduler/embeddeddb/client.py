"""`manage.py dbshell` on the embedded server, with the psql that came with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db.backends.postgresql import client

if TYPE_CHECKING:
    from jobscheduler.embeddeddb.base import DatabaseWrapper


class DatabaseClient(client.DatabaseClient):
    connection: DatabaseWrapper

    def runshell(self, parameters: Iterable[str]) -> None:
        self.connection.ensure_started()
        binaries = self.connection.server.place.binaries
        os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        super().runshell(parameters)
