"""Commands work on what the lifecycle wrote, by the same clock."""

from tests.engine.conftest import start_node
from tests.lifecycle.conftest import clock, connection, transactional_db

__all__ = ["clock", "connection", "start_node", "transactional_db"]
