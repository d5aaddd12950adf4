"""When should a job have fired? Every second is asked, one after the other: slow, plain, and nothing of the product's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil


def fire_times(schedule: str, since: float, until: float) -> Iterator[int]:
    """The seconds of 1970 in [since, until] that a schedule in UTC names.

    Reads what drills use: cron of six fields with `*`, `*/n`, numbers and commas, `@every Ns`, and `@at` with an offset.
    """
    if schedule.startswith("@at "):
        moment = int(datetime.fromisoformat(schedule.removeprefix("@at ")).timestamp())
        if since <= moment <= until:
            yield moment
        return
    for second in range(ceil(since), int(until) + 1):
        if fires(schedule, second):
            yield second


def fires(schedule: str, second: int) -> bool:
    """Whether the schedule names this second."""
    if schedule.startswith("@every "):
        return second % int(schedule.removeprefix("@every ").removesuffix("s")) == 0
    if schedule == "@manual":
        return False
    moment = datetime.fromtimestamp(second, UTC)
    values = (
        moment.second,
        moment.minute,
        moment.hour,
        moment.day,
        moment.month,
        moment.isoweekday() % 7,
    )
    return all(_names(field, value) for field, value in zip(schedule.split(), values, strict=True))


def _names(field: str, value: int) -> bool:
    for piece in field.split(","):
        if piece == "*" or (piece.startswith("*/") and value % int(piece[2:]) == 0):
            return True
        if piece.isdigit() and int(piece) == value:
            return True
    return False
