"""What time it is: the database's clock, and no other, decides what is due."""

from __future__ import annotations

from datetime import datetime

from django.db import connections, models
from django.db.models.functions import Now
from psycopg.errors import QueryCanceled

from scheduler_app.conf import get_config


class DatabaseNow(Now):
    """`scheduler_now()` as a default or in a query: one clock for all nodes, which tests can move."""

    function = "scheduler_now"
    template = "%(function)s()"
    output_field = models.DateTimeField()

    def as_postgresql(self, compiler, connection, **extra_context):  # type: ignore[no-untyped-def]
        return self.as_sql(compiler, connection, **extra_context)


def database_now() -> datetime:
    """The moment, by the database's clock."""
    with connections[get_config().database].cursor() as cursor:
        cursor.execute("SELECT scheduler_now()")
        moment: datetime = cursor.fetchone()[0]
        return moment


def is_too_slow(error: BaseException) -> bool:
    """Whether the database gave a statement up because it took longer than it may."""
    return isinstance(error.__cause__, QueryCanceled)
