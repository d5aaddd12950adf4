"""What a connection says to the server, counted on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import psycopg


@dataclass
class Sent:
    """Filled when the block that it is for has ended."""

    statements: int = 0
    transactions: int = 0


@contextmanager
def sent_by(connection: psycopg.Connection[Any]) -> Iterator[Sent]:
    """Counts what the connection sends inside."""
    sent = Sent()
    with TemporaryFile() as file:
        connection.pgconn.trace(file.fileno())
        connection.pgconn.set_trace_flags(psycopg.pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield sent
        finally:
            connection.pgconn.untrace()
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    messages = [line.split("\t") for line in lines]
    sent.statements = sum(
        parts[0] == "F" and parts[2] in ("Query", "Execute") for parts in messages
    )
    # After each the server says that it is ready, and that no transaction is open.
    sent.transactions = sum(parts[2:4] == ["ReadyForQuery", " I"] for parts in messages)
