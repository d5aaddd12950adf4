"""Tests of the lifecycle commit for real, on connections as the engine opens them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from .support import ClusterClock, Connection, empty_tables, open_connection, replace_clock


@pytest.fixture(autouse=True)
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database, with the scheduler's tables emptied afterwards: a tenth of the time of Django's flush."""
    with django_db_blocker.unblock():
        yield
        empty_tables()
        connections.close_all()


@pytest.fixture
def connection(transactional_db: None) -> Iterator[Connection]:
    """One connection of a node."""
    with open_connection() as opened:
        yield opened


@pytest.fixture
def clock(transactional_db: None) -> Iterator[ClusterClock]:
    """The cluster's clock, at noon of 2030-01-01, in the test's hand."""
    yield ClusterClock()
    replace_clock("SELECT statement_timestamp()")
