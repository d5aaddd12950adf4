"""PgBouncer in transaction mode before the suite's PostgreSQL, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import suppress

from jobscheduler.embeddeddb.server import PORT, as_user
from scheduler_app.management.drill.nodes import wait_until
from tests.ports import free_port

from .cluster import PATIENCE_S, Cluster

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

CONFIG = """\
[databases]
* = host={socket_directory} port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
ignore_startup_parameters = extra_float_digits,options
"""


class Pooler:
    """A context manager; `address` is where it listens."""

    def __init__(self, cluster: Cluster) -> None:
        self.address = ("127.0.0.1", free_port())
        self._server = cluster.server
        self._config = cluster.directory / f"pgbouncer-{self.address[1]}.ini"
        self._config.write_text(
            CONFIG.format(
                socket_directory=self._server.socket_directory,
                server_port=PORT,
                port=self.address[1],
            )
        )
        self._config.chmod(0o644)
        self._log = self._config.with_suffix(".log").open("wb")

    def __enter__(self) -> Pooler:
        assert PGBOUNCER is not None
        self._process = subprocess.Popen(
            [PGBOUNCER, str(self._config)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # It refuses to run as root, and the server's user is there already.
            **as_user(self._server.place.user),
        )
        if not wait_until(self._answers, PATIENCE_S):
            self.__exit__()
            raise TimeoutError(f"PgBouncer does not listen; {self._config.with_suffix('.log')}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, timeout=1.0):
            return True
        return False
