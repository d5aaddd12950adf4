"""What schemathesis is told beyond the document: texts that mean something, and which refusals no document can foresee.

It loads this file by itself (SCHEMATHESIS_HOOKS), outside of pytest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import schemathesis
from hypothesis import strategies as st

MOMENTS = st.datetimes(
    # A day within the bounds, so that no offset leads out of them.
    min_value=datetime(1970, 1, 2),
    max_value=datetime(2100, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
SCHEDULES = (
    *("* * * * *", "*/5 * * * * *", "0 9 * * MON-FRI", "H 4 * * *", "0 0 29 2 *", "0 12 L * ?"),
    *("@hourly", "@every 90s", "@at 2030-01-31T09:00:00", "@manual"),
)
ZONES = ("UTC", "Europe/Paris", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia")
TARGETS = ("tests.testapp.tasks.echo", "https://example.com/report")

schemathesis.openapi.format("date-time", MOMENTS.map(datetime.isoformat))
schemathesis.openapi.format("schedule", st.sampled_from(SCHEDULES))
schemathesis.openapi.format("time-zone", st.sampled_from(ZONES))
schemathesis.openapi.format("etag", st.sampled_from(['"1"', '"2"', 'W/"1"', '"1", "2"', "1", "*"]))
schemathesis.openapi.format("calendar-name", st.just("contract"))
schemathesis.openapi.format("target", st.sampled_from(TARGETS))

BEYOND = {
    "schedule": "whether what is written ever fires",
    "timezone": "which zones the zone data have",
    "target": "which tasks and commands there are, and what the HTTP guard lets through",
    "arguments": "what the target takes",
    "days": "which days there are: 2030-02-31 is none",
    "name": "which names are taken",
    "calendar": "which calendars there are",
    "job": "which jobs there are",
    "jobs": "which jobs there are",
    "node": "which nodes there are",
    "cursor": "which cursors were given out, for which list in which order",
    "scheduled_for": "what comes after now",
    "until": "what comes after another moment, or after now",
    "end_at": "what comes after another moment",
    "at": "what comes after another moment",
    "memory_limit_mb": "that a limit wants a process of its own",
    "cpu_limit_s": "that a limit wants a process of its own",
    "tail": "that of two parameters of a query only one is given",
}
"""The fields that may be wrong though they fit the document, and what is not to be seen from the request alone."""


@schemathesis.check
def refused_for_what_no_document_can_say(ctx: Any, response: Any, case: Any) -> None:
    """A request that fits the document is a 400 only for these fields, and names them."""
    if (
        response.status_code != 400
        or case.meta is None
        or not case.meta.generation.mode.is_positive
    ):
        return
    entries = response.json().get("errors", [])
    wrong = [entry["field"] for entry in entries if _last_name(entry["field"]) not in BEYOND]
    assert not wrong, f"The document allows what is refused: {entries}"
    # Within `arguments`, which may be any JSON, not even a NUL can be ruled out.
    assert entries or "\\u0000" in repr(case.body).replace("\\x00", "\\u0000"), response.text


def _last_name(path: str) -> str:
    """`job` of `runs.3.job`, and of `filter.job.0`."""
    names = [name for name in path.split(".") if not name.isdigit()]
    return names[-1] if names else ""
