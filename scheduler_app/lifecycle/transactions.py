"""What the verbs stand on: Django's connection as the psycopg connection beneath it, and their one error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from django.db import connections, transaction

from scheduler_app.conf import get_config
from scheduler_app.rules.problems import Problem

PREPARED_AFTER = 3
"""Times that a statement is planned for its values, on the connections of people and programs."""


class CannotDo(ValueError):
    """A verb does not fit what it was asked of; the message says why and what would."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@contextmanager
def transaction_on_psycopg() -> Iterator[psycopg.Connection[Any]]:
    """A transaction of Django's, in which the ORM and the statements of this package work side by side."""
    with transaction.atomic(using=get_config().database):
        yield psycopg_beneath()


def psycopg_beneath() -> psycopg.Connection[Any]:
    """The psycopg connection of Django's, in whatever transaction that is."""
    connection = connections[get_config().database]
    connection.ensure_connection()
    found: psycopg.Connection[Any] = connection.connection
    return found


@contextmanager
def statement_on_psycopg() -> Iterator[psycopg.Connection[Any]]:
    """As `transaction_on_psycopg`, for one statement: with no transaction open it is one by itself, and says no more."""
    connection = connections[get_config().database]
    if connection.in_atomic_block or not connection.get_autocommit():
        with transaction_on_psycopg() as inner:
            yield inner
        return
    # What Django does around its own statements: a connection that broke is not kept for the next one.
    connection.close_if_health_check_failed()
    try:
        yield psycopg_beneath()
    except psycopg.Error:
        if connection.connection is not None and connection.connection.closed:
            connection.close()
        raise


def execute_prepared(
    connection: psycopg.Connection[Any], statement: LiteralString, parameters: Mapping[str, Any]
) -> psycopg.Cursor[Any]:
    """An INSERT that programs repeat: planned for the first few times only, where a session keeps what it planned.

    Not for what reads tables: a plan that was made while they were empty would stay when they are not.
    Django's own cursors put values into the text, so that nothing is ever the same statement twice.
    """
    threshold = connection.prepare_threshold
    if threshold is None and not get_config().pooled:
        connection.prepare_threshold = PREPARED_AFTER
    try:
        return psycopg.Cursor(connection).execute(statement, parameters)
    finally:
        # For this statement alone: whether others are prepared is the site's to say.
        connection.prepare_threshold = threshold
