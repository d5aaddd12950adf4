"""Moments for tests of the rules: around noon of 2030-01-01, UTC, unless said otherwise."""

from datetime import UTC, datetime, timedelta

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def after_noon(seconds: float) -> datetime:
    """So many seconds after noon; before it when negative."""
    return NOON + timedelta(seconds=seconds)


def at(text: str) -> datetime:
    """`2030-01-01 12:00:05` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
