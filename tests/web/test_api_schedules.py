"""Look before you save: what a schedule means, what is wrong with it, what an edit would change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app import lifecycle
from scheduler_app.lifecycle.same_seconds import COUNTED_TO
from scheduler_app.models import Calendar, Job, JobPlan, Status
from scheduler_app.rules.firing import own_closures
from scheduler_app.rules.previewing import preview
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import Timetable
from tests.lifecycle.support import replace_clock

from .api_support import (
    API,
    NOON,
    ApiClient,
    client_of,
    errors_of,
    make_execution,
    make_job,
    make_user,
    statements,
)

pytestmark = pytest.mark.django_db

PREVIEW = f"{API}/schedules/preview"


@pytest.fixture
def viewer(db: None) -> ApiClient:
    """At noon of a day in June that does not pass: what is told of the year ahead depends on the day."""
    # Taken back with all that a test writes.
    replace_clock("SELECT timestamptz '2027-06-01 12:00+00'")
    return client_of("viewer")


def times(answer: dict[str, Any]) -> list[str]:
    return [fire_time["utc"] for fire_time in answer["fire_times"]]


# --- The function -----------------------------------------------------------------------------


def test_fire_times_have_their_offset_and_what_a_clock_change_does_to_them() -> None:
    spec = JobSpec(schedule="30 2 * * *", timezone="Europe/Paris")

    found = preview(spec, now=datetime(2027, 3, 27, 12, tzinfo=UTC))

    assert [fire_time.local.isoformat() for fire_time in found.fire_times[:2]] == [
        "2027-03-28T03:00:00+02:00",
        "2027-03-29T02:30:00+02:00",
    ]
    assert found.fire_times[0].note
    assert not found.fire_times[1].note
    assert found.sentence == "At 02:30 every day (Europe/Paris)"
    assert found.runs_per_day == 1


def test_closed_days_are_told_once_and_cost_nothing_however_often_the_job_runs() -> None:
    spec = JobSpec(
        schedule="* * * * * *",
        calendar_name="holidays",
        calendar_days=(("2030-01-01", "2030-01-10"),),
    )

    found = preview(spec, now=NOON)

    assert [fire_time.runs for fire_time in found.fire_times] == [False] + [True] * 9
    assert found.fire_times[0].note == "closed by calendar holidays; so are the next 820,798"
    assert found.fire_times[1].at == datetime(2030, 1, 11, tzinfo=UTC)
    assert found.runs_per_day * 30 == 30 * 86400 - 820_799


def test_a_run_that_is_moved_to_the_next_open_day_says_so() -> None:
    spec = JobSpec(
        schedule="0 9 * * 3",
        calendar_name="holidays",
        calendar_days=(("2030-01-02", "2030-01-02"),),
        on_closed="shift",
    )

    closed, moved, regular = preview(spec, now=NOON).fire_times[:3]

    assert (closed.runs, closed.at.day) == (False, 2)
    assert (moved.note, moved.at.day) == ("moved here from a closed day", 3)
    assert (regular.note, regular.at.day) == ("", 9)


@pytest.mark.parametrize(
    ("changed", "note", "count"),
    [
        ({"enabled": False}, "disabled", 10),
        ({"paused_at": NOON}, "paused", 10),
        ({"paused_at": NOON, "paused_until": NOON + timedelta(days=3)}, "end of the pause", 10),
        ({"end_at": NOON - timedelta(days=1)}, "no fire time", 0),
        ({"max_runs": 3}, "", 3),
        ({"schedule": "@manual"}, "", 0),
        ({"calendar_name": "never", "calendar_mode": "follow"}, "", 1),
    ],
)
def test_why_fire_times_come_later_or_not_at_all(
    changed: dict[str, Any], note: str, count: int
) -> None:
    found = preview(JobSpec(**{"schedule": "@daily", **changed}), now=NOON)

    assert note in found.note
    assert bool(note) == bool(found.note)
    assert len(found.fire_times) == count


def test_a_fire_time_at_the_end_of_the_pause_runs() -> None:
    midnight = datetime(2030, 1, 4, tzinfo=UTC)
    spec = JobSpec(schedule="@daily", paused_at=NOON, paused_until=midnight)

    assert preview(spec, now=NOON).fire_times[0].at == midnight


DAYS = st.dates(datetime(2029, 12, 1).date(), datetime(2030, 3, 1).date())


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["0 9 * * *", "*/7 * * * *", "@every 5h", "0 0 1 * *", "0 3 * * 1-5"]),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
    st.lists(st.tuples(DAYS, DAYS), max_size=4),
    st.sampled_from(["avoid", "follow"]),
    st.sampled_from(["run", "skip", "shift"]),
    st.integers(0, 7200),
)
def test_a_preview_agrees_with_looking_at_each_fire_time(
    schedule: str, zone: str, days: Any, mode: str, on_closed: str, jitter_s: int
) -> None:
    spec = JobSpec(
        name="a",
        schedule=schedule,
        timezone=zone,
        jitter_s=jitter_s,
        calendar_name="c",
        calendar_days=tuple((str(min(pair)), str(max(pair))) for pair in days),
        calendar_mode=mode,
        on_closed=on_closed,
    )
    end = NOON + timedelta(days=30)
    closures = own_closures(spec)

    found = preview(spec, now=NOON)

    expected = [
        moment
        for moment in Timetable.of(spec).between(NOON, end)
        if not any(closure.covers(moment) for closure in closures)
    ]
    open_ones = [fire_time.at for fire_time in found.fire_times if fire_time.runs]
    within = [moment for moment in open_ones if moment <= end]
    assert round(found.runs_per_day * 30) == len(expected)
    assert within == expected[: len(within)]
    assert len(within) == len(expected) or len(found.fire_times) == 10


# --- The address ------------------------------------------------------------------------------


def test_a_schedule_is_explained_before_it_is_saved(viewer: ApiClient) -> None:
    answer = viewer.post(PREVIEW, {"schedule": "0 0 13 * 5", "timezone": "Asia/Tokyo"}).json()

    assert "13" in answer["sentence"]
    assert "Asia/Tokyo" in answer["sentence"]
    assert len(answer["fire_times"]) == 10
    first = answer["fire_times"][0]
    assert first["local"].endswith("T00:00:00+09:00")
    assert first["utc"].endswith("T15:00:00Z")
    assert (first["runs"], first["note"]) == (True, "")
    assert 'choose "both must match"' in answer["warnings"][0]
    assert 0 < answer["runs_per_day"] < 1
    assert answer["before"] is None
    nobody = {"count": 0, "counted_to": COUNTED_TO, "at_least": False, "jobs": []}
    assert answer["same_seconds"] == nobody
    assert Job.objects.count() == 0


def test_before_and_after_an_edit(viewer: ApiClient) -> None:
    job = make_job(name="team/report", schedule="0 9 * * *", timezone="Asia/Tokyo")

    for which in (job.name, job.pk, str(job.pk)):
        answer = viewer.post(PREVIEW, {"job": which, "schedule": "0 */6 * * *"}).json()

        assert "Asia/Tokyo" in answer["sentence"]
        assert answer["before"]["sentence"] == "At 09:00 every day (Asia/Tokyo)"
        assert (answer["before"]["runs_per_day"], answer["runs_per_day"]) == (1, 4)
    job.refresh_from_db()
    assert (job.version, job.schedule) == (1, "0 9 * * *")


@pytest.mark.parametrize(
    ("scope", "value"), [("all", ""), ("queue", "slow"), ("tag", "nightly"), ("job", "")]
)
def test_a_pause_takes_away_what_would_run(viewer: ApiClient, scope: str, value: str) -> None:
    job = make_job(schedule="0 9 * * *", queue="slow", tags=["nightly"])
    if scope == "job":
        lifecycle.pause([job.pk], by="ann", reason="inventory")
    else:
        lifecycle.pause_scope(scope, value, by="ann", reason="inventory")

    answer = viewer.post(PREVIEW, {"job": job.pk, "schedule": "@hourly"}).json()

    for told in (answer, answer["before"]):
        assert {(at["runs"], at["note"]) for at in told["fire_times"]} == {
            (False, "paused by ann (inventory)")
        }
        assert len(told["fire_times"]) == 10
    new = viewer.post(PREVIEW, {"schedule": "@hourly"}).json()
    assert {at["runs"] for at in new["fire_times"]} == {scope != "all"}


def test_a_name_decides_where_h_and_jitter_fall(viewer: ApiClient) -> None:
    def at(**given: Any) -> list[str]:
        return times(viewer.post(PREVIEW, {"schedule": "H H * * *", **given}).json())

    assert at(name="a") == at(name="a") != at(name="b")
    assert at(name="a", jitter_s=3600) != at(name="a")
    assert at(job=make_job(name="a", schedule="@daily").name) == at(name="a")


def test_a_calendar_is_chosen_by_name_or_id(viewer: ApiClient) -> None:
    calendar = Calendar.objects.create(name="never", days="1970-01-01 - 2100-12-31")

    for which in ("never", calendar.pk):
        given = {"schedule": "@daily", "calendar": which}
        answer = viewer.post(PREVIEW, given).json()
        [only] = answer["fire_times"] or [None]
        assert only is None or not only["runs"]
        assert answer["runs_per_day"] == 0
    job = make_job(schedule="@daily", calendar=calendar, on_closed="run")
    answer = viewer.post(PREVIEW, {"job": job.pk, "calendar": None}).json()
    assert answer["runs_per_day"] == answer["before"]["runs_per_day"] == 1


def test_other_jobs_in_the_same_seconds_are_counted_and_named(viewer: ApiClient) -> None:
    for number in range(12):
        make_job(name=f"other {number:02}", schedule="@daily")
    mine = make_job(name="mine", schedule="@daily")
    elsewhere = make_job(name="elsewhere", schedule="@hourly")
    [midnight, *_] = times(viewer.post(PREVIEW, {"schedule": "@daily"}).json())
    JobPlan.objects.update(next_fire_at=midnight, dirty=False)
    JobPlan.objects.filter(pk=elsewhere.pk).update(next_fire_at=f"{midnight[:10]}T00:30:00Z")

    found = viewer.post(PREVIEW, {"job": mine.pk}).json()["same_seconds"]

    assert found["count"] == 12
    assert len(found["jobs"]) == 10
    assert all(name.startswith("other") for name in found["jobs"])
    assert viewer.post(PREVIEW, {"schedule": "@daily"}).json()["same_seconds"]["count"] == 13
    assert viewer.post(PREVIEW, {"schedule": "7 7 * * *"}).json()["same_seconds"]["count"] == 0


def test_a_preview_tells_what_the_clocks_do_and_what_is_on_the_way(viewer: ApiClient) -> None:
    job = make_job(schedule="30 2 * * *", timezone="Europe/Paris")
    for status in (Status.RUNNING, Status.READY, Status.BLOCKED, Status.SUCCEEDED):
        make_execution(job, status=status)

    answer = viewer.post(PREVIEW, {"job": job.pk}).json()

    assert len(answer["clock_changes"]) == 2
    for change in answer["clock_changes"]:
        before, after = (datetime.fromisoformat(change[key]) for key in ("before", "after"))
        assert before == after == datetime.fromisoformat(change["at"])
        assert abs(before.utcoffset() - after.utcoffset()) == timedelta(hours=1)
    in_autumn = [change for change in answer["clock_changes"] if "+02:00" in change["before"]]
    assert "02:30" in in_autumn[0]["note"]
    assert answer["live"] == {"running": 1, "waiting": 2}
    assert viewer.post(PREVIEW, {"schedule": "@daily"}).json()["live"] is None
    assert viewer.post(PREVIEW, {"schedule": "@daily"}).json()["clock_changes"] == []
    user = make_user("viewer")
    user.user_permissions.remove(Permission.objects.get(codename="view_execution"))
    viewer.force_login(user)
    assert viewer.post(PREVIEW, {"job": job.pk}).json()["live"] is None


def test_a_preview_costs_the_same_for_any_number_of_jobs(viewer: ApiClient) -> None:
    def cost() -> int:
        with statements() as sent:
            assert (
                viewer.post(PREVIEW, {"job": "job", "schedule": "* * * * * *"}).status_code == 200
            )
        return len(sent)

    make_job(name="job", schedule="@daily")
    few = cost()
    for _ in range(20):
        make_job(schedule="* * * * * *")

    assert cost() == few <= 5


GOOD = {"schedule": "@daily"}
REFUSED = [
    ({"schedule": "61 * * * *"}, "schedule", "61 is not allowed (0-59)"),
    ({"schedule": "0 0 30 2 *"}, "schedule", "never runs: February has no day 30"),
    ({"schedule": ""}, "schedule", "blank"),
    ({"schedule": "*" * 201}, "schedule", "200"),
    ({"schedule": 5}, "schedule", "must be a text"),
    ({"schedule": "@every 0s"}, "schedule", "1 s to 100 years"),
    ({"timezone": "Mars/Base"}, "timezone", "is not a known time zone"),
    ({"timezone": "europe/paris"}, "timezone", "did you mean Europe/Paris?"),
    ({"timezone": "../../etc/passwd"}, "timezone", "is not a known time zone"),
    ({"day_match": "xor"}, "day_match", "or, and"),
    ({"anchor_at": "2030-01-01T00:00:00"}, "anchor_at", "has no time zone"),
    ({"start_at": "2101-01-01T00:00:00Z"}, "start_at", "outside of 1970 to 2100"),
    (
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-02T00:00:00Z"},
        "end_at",
        "must come after the start",
    ),
    ({"jitter_s": -1}, "jitter_s", "86400"),
    ({"jitter_s": 1.5}, "jitter_s", "integer"),
    ({"max_runs": 0}, "max_runs", "1"),
    ({"calendar": "nowhere"}, "calendar", "none with this name"),
    ({"calendar": 10**30}, "calendar", "none with this name"),
    ({"calendar": True}, "calendar", "none with this name"),
    ({"calendar_mode": "ignore"}, "calendar_mode", "avoid, follow"),
    ({"on_closed": "open"}, "on_closed", "run, skip, shift"),
    ({"job": "nobody"}, "job", "There is no job"),
    ({"job": ["a"]}, "job", ""),
    ({"job": 10**40}, "job", "There is no job"),
    ({"shedule": "@daily"}, "shedule", "is not a field of a preview"),
]


@pytest.mark.parametrize(("changed", "field", "words"), REFUSED)
def test_what_cannot_be_is_refused_under_its_field(
    viewer: ApiClient, changed: dict[str, Any], field: str, words: str
) -> None:
    errors = errors_of(viewer.post(PREVIEW, GOOD | changed))

    assert field in errors, errors
    assert words in errors[field]["message"] + errors[field].get("allowed", "")


@pytest.mark.parametrize("body", [{}, [], "text", None, 5])
def test_a_preview_of_nothing_is_refused(viewer: ApiClient, body: Any) -> None:
    assert viewer.post(PREVIEW, body).status_code == 400


def test_a_job_that_was_written_past_the_validation_can_be_mended_with_a_preview(
    viewer: ApiClient,
) -> None:
    job = make_job(schedule="nonsense")

    answer = viewer.post(PREVIEW, {"job": job.pk, "schedule": "@daily"})

    assert answer.status_code == 200
    assert answer.json()["before"] is None


# --- A schedule in a sentence ------------------------------------------------------------------


def test_a_schedule_is_described(viewer: ApiClient) -> None:
    answer = viewer.get(
        f"{API}/schedules/describe", {"schedule": "30 2 * * *", "timezone": "Europe/Paris"}
    ).json()

    assert answer["sentence"] == "At 02:30 every day (Europe/Paris)"
    assert answer["next_fire_at"] == "2027-06-02T00:30:00Z"
    assert any("2027-10-31" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "schedule"),
        ({"schedule": "61 * * * *"}, "schedule"),
        ({"schedule": "@daily", "timezone": "Mars/Base"}, "timezone"),
        ({"schedule": "@daily", "day_match": "xor"}, "day_match"),
        ({"schedule": "@daily", "nmae": "x"}, "nmae"),
    ],
)
def test_what_is_no_schedule_is_not_described(
    viewer: ApiClient, query: dict[str, str], field: str
) -> None:
    assert field in errors_of(viewer.get(f"{API}/schedules/describe", query))


def test_a_schedule_without_fire_times_has_no_next_one(viewer: ApiClient) -> None:
    answer = viewer.get(f"{API}/schedules/describe?schedule=@manual").json()

    assert (answer["next_fire_at"], answer["warnings"]) == (None, [])
