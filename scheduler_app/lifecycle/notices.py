"""Notifications: hints that make nodes look sooner. Polling alone is correct."""

from __future__ import annotations

from typing import Any

import psycopg

CHANNEL = "scheduler"
"""The one channel; its name is a constant, never made from input."""

PLAN = "plan"
READY = "ready"
CANCEL = "cancel"
NODE = "node"
"""A node's row has something to say to it."""
BULK = "bulk"


def notify(connection: psycopg.Connection[Any], notice: str) -> None:
    """Tell all nodes when the transaction commits; equal notices of one transaction arrive as one."""
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, notice])
