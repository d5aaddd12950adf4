"""The scratch database of a drill: made beside the site's own, used by its nodes through proxies, and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connections
from psycopg import sql

from scheduler_app.conf import get_config

from .course import Wanted
from .evidence import install_journal
from .proxy import Address, Proxy

MARK = "scratch database of schedulerdrill, may be removed"


class Scratch:
    """A database that a drill made itself, and the environment of processes that work on it."""

    def __init__(self, name: str = "", *, scheduler: Mapping[str, Any]) -> None:
        self._alias = get_config().database
        self._scheduler = dict(scheduler)
        wrapper = connections[self._alias]
        try:
            wrapper.ensure_connection()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be reached: {error}") from error
        info = wrapper.connection.info
        self._parameters = {
            key: value
            for key, value in wrapper.get_connection_params().items()
            if key not in ("context", "cursor_factory", "prepare_threshold", "server_side_binding")
        }
        self._host, self._port, self._user = info.host, info.port, info.user
        self.site_name = info.dbname
        self.name = name or f"{info.dbname}_drill"[:63]
        wrapper.close()

    @property
    def target(self) -> Address:
        """Where the server listens."""
        if self._host.startswith("/"):
            return f"{self._host}/.s.PGSQL.{self._port}"
        return (self._host, self._port)

    def connect(self, name: str = "") -> psycopg.Connection[Any]:
        """A connection past the proxies."""
        return psycopg.connect(
            **{
                **self._parameters,
                "dbname": name or self.name,
                "application_name": "drill",
                "autocommit": True,
            }
        )

    def create(self) -> None:
        """Make it; one that a drill left behind is made anew, any other is not touched."""
        if self.name == self.site_name:
            raise CommandError(
                f"{self.name} is the site's own database. A drill works on one that it makes itself; "
                "leave --database out, or give a name that is free."
            )
        with self.connect(self.site_name) as connection:
            found = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                [self.name],
            ).fetchone()
            if found is not None:
                self._refuse_unless_left_behind(found[0])
                self._drop(connection)
            name = sql.Identifier(self.name)
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
            except psycopg.errors.InsufficientPrivilege as error:
                raise CommandError(
                    f"The user {self._user} may not create databases, and a drill works only on one that it made: "
                    f"run ALTER ROLE {self._user} CREATEDB, or drill on a server of your own."
                ) from error
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, MARK))

    def _refuse_unless_left_behind(self, comment: str | None) -> None:
        with self.connect() as connection:
            has_table = connection.execute(
                "SELECT to_regclass('scheduler_app_job') IS NOT NULL"
            ).fetchone()
            jobs = (
                connection.execute("SELECT count(*) FROM scheduler_app_job").fetchone()
                if has_table and has_table[0]
                else (0,)
            )
        if comment == MARK:
            return
        holds = f"holds {jobs[0]} jobs and " if jobs and jobs[0] else ""
        raise CommandError(
            f"There is a database {self.name} that {holds}was not made by a drill; it is not touched. "
            "Give another name with --database."
        )

    def fill(self, wanted: Sequence[Wanted]) -> dict[int, Wanted]:
        """Make the tables, the jobs and the journal; the jobs by id."""
        done = subprocess.run(
            [sys.executable, "-m", "scheduler_app.management.drill.prepare", "migrate"],
            env=self.environment(),
            input=json.dumps([each.as_fields() for each in wanted]),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CommandError(f"The scratch database could not be made ready: {done.stderr}")
        ids = json.loads(done.stdout)
        with self.connect() as connection:
            install_journal(connection)
        return {ids[each.name]: each for each in wanted}

    def drop(self) -> None:
        """Remove it."""
        with self.connect(self.site_name) as connection:
            self._drop(connection)

    def _drop(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))
        )

    def environment(self, proxy: Proxy | None = None) -> dict[str, str]:
        """That of a process that works on it, through a proxy when one is given."""
        database: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.name,
            "USER": self._user,
            "HOST": self._host,
            "PORT": str(self._port),
        }
        options: dict[str, Any] = {}
        if proxy is not None:
            database["PORT"] = str(proxy.port)
            if self._host.startswith("/"):
                database["HOST"] = "127.0.0.1"
            else:
                # The name stays, for whoever verifies the server's certificate.
                options["hostaddr"] = "127.0.0.1"
        changes = {
            "alias": self._alias,
            "database": database,
            "options": options,
            "scheduler": self._scheduler,
        }
        path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
        return {
            **os.environ,
            ENVIRONMENT_VARIABLE: "scheduler_app.management.drill.settings",
            "DRILL_SETTINGS": settings.SETTINGS_MODULE,
            "DRILL_CHANGES": json.dumps(changes),
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
        }
