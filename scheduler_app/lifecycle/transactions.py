"""What the verbs stand on: Django's connection as the psycopg connection beneath it, and their one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections, transaction

from scheduler_app.conf import get_config
from scheduler_app.rules.problems import Problem


class CannotDo(ValueError):
    """A verb does not fit what it was asked of; the message says why and what would."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@contextmanager
def transaction_on_psycopg() -> Iterator[psycopg.Connection[Any]]:
    """A transaction of Django's, in which the ORM and the statements of this package work side by side."""
    alias = get_config().database
    with transaction.atomic(using=alias):
        connections[alias].ensure_connection()
        yield connections[alias].connection


@contextmanager
def statement_on_psycopg() -> Iterator[psycopg.Connection[Any]]:
    """As `transaction_on_psycopg`, for one statement: with no transaction open it is one by itself, and says no more."""
    alias = get_config().database
    connection = connections[alias]
    if connection.in_atomic_block or not connection.get_autocommit():
        with transaction_on_psycopg() as inner:
            yield inner
    else:
        connection.ensure_connection()
        yield connection.connection
