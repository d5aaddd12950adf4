"""What is wrong with the database, as a word for machines and a sentence for the person who can mend it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import errors

UNREACHABLE = "unreachable"
STALLED = "stalled"
TOO_MANY = "too_many_connections"
DEAF = "deaf"
OUTAGES = (UNREACHABLE, STALLED, TOO_MANY)
"""The database did not answer; all others are answers."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    name: str
    sentence: str

    @property
    def is_outage(self) -> bool:
        """Whether there was no contact, so that others may have been cut off as well."""
        return self.name in OUTAGES


_BY_CLASS: tuple[tuple[tuple[type[psycopg.Error], ...], str, str], ...] = (
    (
        (errors.ReadOnlySqlTransaction,),
        "read_only",
        "The server is read-only: a standby, or a failover under way.",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction),
        "missing_migration",
        "Run `manage.py migrate`.",
    ),
    (
        (errors.InsufficientPrivilege,),
        "no_permission",
        "Grant the node's database user its rights on the scheduler's tables.",
    ),
    ((errors.DiskFull,), "disk_full", "Make room on the database server's disk."),
    (
        (errors.TooManyConnections,),
        TOO_MANY,
        "Raise max_connections, or close what holds them.",
    ),
    ((errors.OutOfMemory,), "out_of_memory", "The database server has no memory left."),
    ((errors.LockNotAvailable,), "locked", "Another transaction holds a lock for long."),
    ((errors.QueryCanceled,), "slow", "The database took too long to answer."),
    ((errors.SerializationFailure, errors.DeadlockDetected), "conflict", ""),
)

# Refused while connecting, an error carries no SQLSTATE, only what the server or the pooler wrote.
_BY_TEXT = (
    (
        ("too many clients", "too many connections", "connection slots", "no more connections"),
        TOO_MANY,
        "Raise max_connections, or close what holds them.",
    ),
    (
        ("authentication failed", "pg_hba.conf", "permission denied"),
        "no_permission",
        "Check user and password of the database URL.",
    ),
)


def trouble_of(error: psycopg.Error) -> Trouble:
    """The name of what an error means, and its first line with what to do where that is known."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for classes, name, advice in _BY_CLASS:
        if isinstance(error, classes):
            return Trouble(name, f"{line}. {advice}" if advice else line)
    for words, name, advice in _BY_TEXT:
        if any(word in str(error) for word in words):
            return Trouble(name, f"{line}. {advice}")
    return Trouble(UNREACHABLE if isinstance(error, psycopg.OperationalError) else "error", line)
