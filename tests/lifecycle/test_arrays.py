"""Columns reach PostgreSQL as they are."""

from datetime import UTC, datetime, timedelta, timezone

from scheduler_app.lifecycle.arrays import moments, numbers, texts

TEXTS = [
    *(
        "",
        " ",
        "plain",
        "NULL",
        "null",
        "a,b",
        "{}",
        "{a}",
        '"',
        "\\",
        '\\"',
        "it's",
        "%s %(x)s",
        "$1",
    ),
    *("line\nbreak\ttab", "käse 🧀", '{"a": "b\\"c"}', None, "\u2028"),
]


def test_texts_come_back_as_they_were(connection):
    [found] = connection.execute("SELECT %s::text[]", [texts(TEXTS)]).fetchone()

    assert found == TEXTS


def test_numbers_come_back_as_they_were(connection):
    whole = [0, -1, 2**62, None]
    broken = [0.1, 1e-9, 1e300, -2.5, None, 3]

    row = connection.execute(
        "SELECT %s::bigint[], %s::float8[]", [numbers(whole), numbers(broken)]
    ).fetchone()

    assert row == (whole, broken)


def test_moments_come_back_to_the_microsecond_whatever_their_zone(connection):
    given = [
        datetime(2030, 1, 1, 12, 0, 0, 1, UTC),
        datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(2100, 12, 31, 23, 59, 59, 999_999, UTC),
        None,
    ]

    [found] = connection.execute("SELECT %s::timestamptz[]", [moments(given)]).fetchone()

    assert found == given


def test_columns_may_be_empty(connection):
    row = connection.execute(
        "SELECT %s::bigint[], %s::text[], %s::timestamptz[]",
        [numbers([]), texts([]), moments([])],
    ).fetchone()

    assert row == ([], [], [])
