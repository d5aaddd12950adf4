"""Count for ever, in the transaction of what is counted; and read the counts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psycopg
from django.db.models import Sum

from scheduler_app.models import Tally
from scheduler_app.rules.tallies import Tallies

# The last statement of its transaction: who holds these rows waits for nothing but the commit.
TALLY_SQL = """
INSERT INTO scheduler_app_tally AS tally (stripe, name, label, bucket, count, seconds)
SELECT pg_backend_pid() %% 16, more.*
FROM unnest(
    %(names)s::text[], %(labels)s::text[], %(buckets)s::smallint[], %(counts)s::bigint[],
    %(seconds)s::float8[]
) AS more (name, label, bucket, count, seconds)
ON CONFLICT (stripe, name, label, bucket) DO UPDATE
SET count = tally.count + excluded.count, seconds = tally.seconds + excluded.seconds
"""


def write_tallies(connection: psycopg.Connection[Any], tallies: Tallies) -> None:
    """Add them to those of the database."""
    rows = list(tallies.rows())
    if rows:
        names, labels, buckets, counts, seconds = map(list, zip(*rows, strict=True))
        connection.execute(
            TALLY_SQL,
            {
                "names": names,
                "labels": labels,
                "buckets": buckets,
                "counts": counts,
                "seconds": seconds,
            },
        )


def read_tallies() -> dict[str, dict[tuple[str, int], tuple[int, float]]]:
    """By name: by label and bucket, the count and the sum of the seconds."""
    found: dict[str, dict[tuple[str, int], tuple[int, float]]] = defaultdict(dict)
    rows = Tally.objects.values_list("name", "label", "bucket").annotate(
        Sum("count"), Sum("seconds")
    )
    for name, label, bucket, count, seconds in rows:
        found[name][label, bucket] = (int(count), seconds)
    return found
