"""A simulation answers what nodes would decide, for every fire time once. Proves I1, I28."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules import firing, simulating
from scheduler_app.rules.firing import Decision, Fire, Live, Suspension, decide
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.simulating import CANCELLED, QUEUED, RAN, Answer, simulate
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import Timetable

from .moments import NOON, after_noon, at

EVERY_10_S = JobSpec(schedule="*/10 * * * * *")
HOURLY = JobSpec(schedule="@hourly")
YEAR = 365 * 24 * 3600


def told(spec: JobSpec, until: float, duration_s: float, **options: object) -> list[str]:
    """The answers as words, in seconds after noon: `10 ran`, `20-40 overlap 3`."""
    words = []
    for found in simulate(spec, NOON, after_noon(until), duration_s=duration_s, **options):
        first, last = (ts - int(NOON.timestamp()) for ts in (found.first, found.last))
        span = f"{first}" if found.count == 1 else f"{first}-{last}"
        count = "" if found.count == 1 else f" {found.count}"
        words.append(f"{span} {found.verdict}{count}")
    return words


# --- What becomes of the fire times -----------------------------------------------------------


@pytest.mark.parametrize(
    ("on_overlap", "max_running", "duration_s", "expected"),
    [
        ("skip", None, 0, ["10-60 ran 6"]),
        ("skip", None, 9.999999, ["10-60 ran 6"]),
        # At the moment of its end it still counts: no real one begins early.
        ("skip", None, 10, ["10 ran", "20 overlap", "30 ran", "40 overlap", "50 ran", "60 overlap"]),
        ("skip", None, 10.000001, ["10 ran", "20 overlap", "30 ran", "40 overlap", "50 ran", "60 overlap"]),
        ("skip", None, 25, ["10 ran", "20-30 overlap 2", "40 ran", "50-60 overlap 2"]),
        ("skip", 2, 25, ["10 ran", "20 ran", "30 overlap", "40 ran", "50 ran", "60 overlap"]),
        ("queue_one", None, 25, ["10 ran", "20 queued", "30 overlap", "40 queued", "50-60 overlap 2"]),
        ("queue_all", None, 25, ["10 ran", "20 queued", "30 queued", "40 queued", "50 queued", "60 queued"]),
        # The last one is cancelled too, by one that comes after the period.
        ("cancel_running", None, 25, [f"{s} cancelled" for s in (10, 20, 30, 40, 50, 60)]),
        ("cancel_running", 2, 25, [f"{s} cancelled" for s in (10, 20, 30, 40, 50, 60)]),
        ("cancel_running", 3, 25, [f"{s} ran" for s in (10, 20, 30, 40, 50, 60)]),
        ("allow", None, 3600, ["10-60 ran 6"]),
        ("allow", 1, 25, ["10 ran", "20-30 overlap 2", "40 ran", "50-60 overlap 2"]),
    ],
)  # fmt: skip
def test_overlap(on_overlap, max_running, duration_s, expected):
    spec = replace(EVERY_10_S, on_overlap=on_overlap, max_running=max_running)

    assert told(spec, 60, duration_s) == expected


def test_what_does_not_run_says_who_and_why():
    pause = Suspension(after_noon(15), after_noon(35), "ann", "inventory")

    answers = list(simulate(EVERY_10_S, NOON, after_noon(50), suspensions=[pause]))

    assert [(a.verdict, a.count, a.who, a.detail) for a in answers] == [
        ("ran", 1, "", ""),
        ("paused", 2, "ann", "inventory"),
        ("ran", 2, "", ""),
    ]


def test_what_began_before_a_pause_may_still_run_after_it():
    pause = Suspension(after_noon(15), after_noon(35))

    assert told(EVERY_10_S, 60, 31, suspensions=[pause]) == [
        "10 ran",
        "20-30 paused 2",
        "40 overlap",
        "50 ran",
        "60 overlap",
    ]


@pytest.mark.parametrize(
    ("max_runs", "runs", "duration_s", "expected"),
    [
        (2, 0, 0, ["10 ran", "20 ran"]),
        (2, 1, 0, ["10 ran"]),
        (2, 2, 0, []),
        (2, 5, 0, []),
        (6, 0, 0, ["10-60 ran 6"]),
        (2, 0, 15, ["10 ran", "20 overlap", "30 ran"]),
    ],
)
def test_after_its_last_run_there_are_no_more_fire_times(max_runs, runs, duration_s, expected):
    spec = replace(EVERY_10_S, max_runs=max_runs)

    assert told(spec, 60, duration_s, runs=runs) == expected


def test_the_runs_before_the_period_count():
    spec = replace(EVERY_10_S, max_runs=5)

    def runs(until: float, **options) -> int:
        values = {"duration_s": 15, "suspensions": (), "runs": 1} | options
        return simulating.runs_before(spec, NOON, after_noon(until), **values)

    assert runs(0) == runs(-10) == 1
    assert runs(40) == 3
    assert runs(40, duration_s=0) == 5
    assert simulating.runs_before(EVERY_10_S, NOON, after_noon(40), duration_s=0, suspensions=(), runs=1) == 1  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [
        replace(EVERY_10_S, enabled=False),
        replace(EVERY_10_S, deleted_at=NOON),
        replace(EVERY_10_S, schedule="@manual"),
        replace(EVERY_10_S, end_at=NOON),
    ],
    ids=["disabled", "deleted", "by hand", "over"],
)
def test_a_job_without_fire_times_has_no_answers(spec):
    assert told(spec, 3600, 5) == []


def test_what_cannot_be_read_is_refused():
    with pytest.raises(Invalid):
        list(simulate(replace(HOURLY, schedule="nonsense"), NOON, after_noon(60)))


# --- The cost ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "duration_s", "expected"),
    [
        ("* * * * * *", 0.9, [(RAN, YEAR)]),
        ("17 * * * *", 3599, [(RAN, 8760)]),
        ("@every 90s", 89, [(RAN, YEAR // 90)]),
        ("@at 2030-06-01T00:00:00", 86400, [(RAN, 1)]),
    ],
)
def test_where_nothing_meets_a_year_is_one_answer(schedule, duration_s, expected):
    spec = JobSpec(schedule=schedule)

    answers = simulate(spec, NOON, after_noon(YEAR), duration_s=duration_s)

    assert [(found.verdict, found.count) for found in answers] == expected


def test_a_year_of_pause_is_one_answer():
    answers = list(
        simulate(
            JobSpec(schedule="* * * * * *"),
            NOON,
            after_noon(YEAR),
            duration_s=5,
            suspensions=[Suspension(NOON, None)],
        )
    )

    assert [(found.verdict, found.count) for found in answers] == [("paused", YEAR)]


def test_fire_times_that_meet_one_long_run_are_counted_and_not_walked_through(monkeypatch):
    steps = []
    original = Timetable.between_ts
    monkeypatch.setattr(
        Timetable,
        "between_ts",
        lambda *args: (steps.append(ts) or ts for ts in original(*args)),
    )
    spec = JobSpec(schedule="* * * * * *")

    answers = list(simulate(spec, NOON, after_noon(10 * 86400), duration_s=86399.5))

    assert sum(found.count for found in answers) == 10 * 86400
    assert Counter(found.verdict for found in answers) == {"ran": 10, "overlap": 10}
    assert len(steps) < 10 * 2 * (simulating._PATIENCE + 2)


# --- Against a node, step by step -------------------------------------------------------------


def as_a_node_decides(
    spec: JobSpec,
    start: datetime,
    end: datetime,
    *,
    step_s: int,
    duration_s: float,
    suspensions: Sequence[Suspension],
    runs: int,
) -> list[tuple[datetime, str]]:
    """Fire times and verdicts of a node that looks every `step_s`, until nothing of the period runs any more."""
    duration = timedelta(seconds=duration_s)
    decision = Decision(start, runs)
    running: list[tuple[datetime, datetime]] = []  # end, fire time
    blocked: list[datetime] = []
    verdicts: dict[datetime, str] = {}

    def promote(now: datetime) -> None:
        while blocked and len(running) < (spec.limit or 10**9):
            running.append((now + duration, blocked.pop(0)))

    now = start
    while now < end or any(fire_time <= end for _, fire_time in running):
        now += timedelta(seconds=step_s)
        while running and min(running)[0] < now:
            ended = min(running)
            running.remove(ended)
            promote(ended[0])
        decision.verdicts.clear()
        decision.cancel_running = False
        live = Live(running=len(running), blocked=len(blocked))
        decide(
            decision,
            spec,
            until=now,
            now=now,
            live=live,
            pauses=suspensions,
            misfire_after_s=step_s + 5,
        )
        assert len(decision.verdicts) <= 1, "the steps are too long for this schedule"
        for verdict in decision.verdicts:
            if isinstance(verdict, Fire):
                verdicts[verdict.scheduled_for] = QUEUED if verdict.blocked else RAN
                if decision.cancel_running:
                    for _, fire_time in running:
                        verdicts[fire_time] = CANCELLED
                    running.clear()
                    verdicts[verdict.scheduled_for] = RAN
                blocked.append(verdict.scheduled_for)
                promote(verdict.scheduled_for)
            else:
                assert verdict.count == 1
                verdicts[verdict.first_at] = verdict.reason
    return [(moment, verdict) for moment, verdict in sorted(verdicts.items()) if moment <= end]


def walked_through(timetable: Timetable, answers: Iterator[Answer]) -> list[tuple[datetime, str]]:
    """The fire times of the answers with their verdicts, one by one."""
    found = []
    for one in answers:
        moments = list(timetable.between_ts(one.first - 1, one.last))
        assert (moments[0], moments[-1], len(moments)) == (one.first, one.last, one.count)
        found += [(at_second(ts), one.verdict) for ts in moments]
    return found


def at_second(ts: int) -> datetime:
    return datetime.fromtimestamp(ts, NOON.tzinfo)


# Where clocks change: New York in spring and autumn, Lord Howe by half an hour, Paris.
STARTS = {
    "UTC": ["2030-01-01 11:58:00"],
    "America/New_York": ["2030-03-10 06:40:00", "2030-11-03 04:40:00", "2030-11-03 05:45:00"],
    "Australia/Lord_Howe": ["2030-04-06 14:10:00", "2030-10-05 15:10:00"],
    "Europe/Paris": ["2030-03-31 00:40:00", "2030-10-27 00:10:00"],
}
BY_SECONDS = ["* * * * * *", "*/7 * * * * *", "0,1,30 * * * * *", "@every 13s", "5-8 */2 * * * *"]
BY_MINUTES = [
    "* * * * *", "*/7 * * * *", "30 * * * *", "30 2 * * *", "1,31 2 * * *", "59 1 * * *", "0 2,3 * * *",
    "15,45 1-3 * * *", "0 */2 * * *", "@every 35m", "@hourly",
]  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    by_minutes = draw(st.booleans())
    step_s, steps = (60, 480) if by_minutes else (1, 900)
    zone = draw(st.sampled_from(sorted(STARTS)))
    start = at(draw(st.sampled_from(STARTS[zone])))
    period = draw(st.integers(1, steps)) * step_s

    def moments() -> st.SearchStrategy[datetime]:
        return st.integers(-period, 2 * period).map(lambda s: start + timedelta(seconds=s))

    calendar = by_minutes and draw(st.booleans())
    spec = JobSpec(
        name="job",
        schedule=draw(st.sampled_from(BY_MINUTES if by_minutes else BY_SECONDS)),
        timezone=zone,
        anchor_at=at("2030-01-01 00:00:00"),
        on_overlap=draw(
            st.sampled_from(["skip", "queue_one", "queue_all", "cancel_running", "allow"])
        ),
        max_running=draw(st.sampled_from([None, None, 1, 2, 3])),
        max_runs=draw(st.sampled_from([None, None, 3, 20])),
        start_at=draw(st.none() | moments()),
        # A node that looks every minute must find its fire times where it looks.
        jitter_s=0 if by_minutes else draw(st.sampled_from([0, 300])),
        calendar_name="closed" if calendar else "",
        calendar_days=((start.date().isoformat(), start.date().isoformat()),) if calendar else (),
        on_closed=draw(st.sampled_from(["skip", "shift", "run"])),
    )
    suspensions = [*firing.own_closures(spec)]
    for reason in draw(st.lists(st.sampled_from(["paused", "skipped"]), max_size=3)):
        since = draw(moments())
        until = draw(st.none() | moments())
        if until is None or until > since:
            suspensions.append(Suspension(since, until, reason=reason))
    return {
        "spec": spec,
        "start": start,
        "end": start + timedelta(seconds=period),
        "step_s": step_s,
        "duration_s": draw(
            st.sampled_from([0.0, 0.4, 1.0, 6.5, 7.0, 29.0, 60.0, 1799.5, 1800.0, 3600.0])
            | st.floats(0, 10 * step_s).map(lambda s: round(s, 6))
        ),
        "suspensions": suspensions,
        "runs": draw(st.sampled_from([0, 0, 2])),
    }


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(cases())
def test_the_answers_are_those_of_a_node_that_looks_second_by_second(case):
    step_s = case.pop("step_s")
    expected = as_a_node_decides(**case, step_s=step_s)

    spec, start, end = case.pop("spec"), case.pop("start"), case.pop("end")
    timetable = Timetable.of(spec)
    assert walked_through(timetable, simulate(spec, start, end, **case)) == expected
    if spec.max_runs is None and (spec.enabled and spec.deleted_at is None):
        assert [moment for moment, _ in expected] == list(timetable.between(start, end))
