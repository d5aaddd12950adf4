"""Plan anew what another release of the time zone data moves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from scheduler_app.rules.schedules import zone_fingerprint

KNOWN_SQL = "SELECT name, fingerprint FROM scheduler_app_zonedata"

REMEMBER_SQL = """
INSERT INTO scheduler_app_zonedata (name, fingerprint)
SELECT * FROM unnest(%(names)s::text[], %(fingerprints)s::text[])
ON CONFLICT (name) DO NOTHING
"""

REPLAN_SQL = """
WITH moved AS (
    UPDATE scheduler_app_zonedata AS zone
    SET fingerprint = new.fingerprint
    FROM unnest(%(names)s::text[], %(fingerprints)s::text[]) AS new (name, fingerprint)
    WHERE zone.name = new.name AND zone.fingerprint <> new.fingerprint
    RETURNING zone.name
), touched AS MATERIALIZED (
    SELECT plan.job_id
    FROM scheduler_app_jobplan AS plan
    JOIN scheduler_app_job AS job ON job.id = plan.job_id
    WHERE job.timezone IN (SELECT name FROM moved) AND job.deleted_at IS NULL
    ORDER BY plan.job_id
    FOR UPDATE OF plan
)
UPDATE scheduler_app_jobplan AS plan
SET dirty = true
FROM touched
WHERE plan.job_id = touched.job_id
"""


def remember_zones(connection: psycopg.Connection[Any], names: Iterable[str]) -> None:
    """Keep with which data plans in these zones are made, where that is not known yet."""
    ordered = sorted(names)
    connection.execute(
        REMEMBER_SQL,
        {"names": ordered, "fingerprints": [zone_fingerprint(name) for name in ordered]},
    )


def replan_moved_zones(connection: psycopg.Connection[Any]) -> int:
    """Mark the plans in zones whose data is not what it was when they were made; returns how many.

    Fire times that have their verdict keep it; planning goes on from there with the data of this process.
    """
    known = dict(connection.execute(KNOWN_SQL).fetchall())
    now = {name: _fingerprint(name, known[name]) for name in known}
    moved = sorted(name for name in known if now[name] != known[name])
    if not moved:
        return 0
    return connection.execute(
        REPLAN_SQL, {"names": moved, "fingerprints": [now[name] for name in moved]}
    ).rowcount


def _fingerprint(name: str, kept: str) -> str:
    try:
        return zone_fingerprint(name)
    except (ValueError, LookupError):
        # A zone that this machine's data does not have: nodes that have it go on with it.
        return kept
