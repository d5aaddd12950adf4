"""Commands work on what the lifecycle wrote, by the same clock."""

from tests.lifecycle.conftest import clock, connection, transactional_db

__all__ = ["clock", "connection", "transactional_db"]
