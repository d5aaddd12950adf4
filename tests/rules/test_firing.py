"""What becomes of each fire time: one verdict, and the one that the job's policies ask for. Proves I1, I7, I10, I27, I28."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules import firing
from scheduler_app.rules.firing import Decision, Fire, Live, Skip, Suspension, decide, next_fire_at
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import CronSchedule
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable, jitter_of

from .moments import NOON, after_noon, at

MISFIRE_AFTER_S = 5

EVERY_SECOND = JobSpec(schedule="* * * * * *")
EVERY_10_S = JobSpec(schedule="*/10 * * * * *")


def decided(
    spec: JobSpec,
    now: float,
    *,
    since: float = 0,
    until: float | None = None,
    live: Live | None = None,
    pauses: Sequence[Suspension] = (),
    runs: int = 0,
) -> Decision:
    """What is decided at `now`, all in seconds after noon, about the time since `since`."""
    decision = Decision(after_noon(since), runs)
    decide(
        decision,
        spec,
        until=after_noon(now if until is None else until),
        now=after_noon(now),
        live=Live() if live is None else live,
        pauses=pauses,
        misfire_after_s=MISFIRE_AFTER_S,
    )
    return decision


def told(decision: Decision) -> list[str]:
    """The verdicts as words: `20 runs`, `20 waits`, `20-40 overlap 3`, in seconds after noon."""
    words = []
    for verdict in decision.verdicts:
        if isinstance(verdict, Fire):
            moment = (verdict.scheduled_for - NOON).total_seconds()
            words.append(f"{moment:g} {'waits' if verdict.blocked else 'runs'}")
        else:
            first = (verdict.first_at - NOON).total_seconds()
            last = (verdict.last_at - NOON).total_seconds()
            words.append(f"{first:g}-{last:g} {verdict.reason} {verdict.count}")
    return words


def pause(since: float, until: float | None = None, who: str = "ann", why: str = "") -> Suspension:
    return Suspension(after_noon(since), None if until is None else after_noon(until), who, why)


# --- On time ----------------------------------------------------------------------------------


def test_a_fire_time_runs_when_it_has_come_and_not_before():
    assert told(decided(EVERY_10_S, 9.999)) == []
    assert told(decided(EVERY_10_S, 10)) == ["10 runs"]


def test_the_decision_reaches_to_now_and_the_next_goes_on_from_there():
    decision = decided(EVERY_10_S, 13)

    assert decision.decided_until == after_noon(13)
    assert decision.runs == 1
    assert next_fire_at(decision, EVERY_10_S) == after_noon(20)


def test_deciding_the_same_stretch_again_adds_nothing():
    decision = decided(EVERY_SECOND, 3)
    before = list(decision.verdicts)

    for now in (3, 2, -3600):  # the clock stands, or steps back
        decide(
            decision,
            EVERY_SECOND,
            until=after_noon(now),
            now=after_noon(now),
            live=Live(),
            misfire_after_s=MISFIRE_AFTER_S,
        )

    assert decision.verdicts == before
    assert decision.decided_until == after_noon(3)


def test_a_schedule_that_cannot_be_read_changes_nothing():
    decision = Decision(NOON, 4)

    with pytest.raises(Invalid):
        decide(
            decision,
            JobSpec(schedule="nonsense"),
            until=after_noon(10),
            now=after_noon(10),
            live=Live(),
            misfire_after_s=MISFIRE_AFTER_S,
        )

    assert decision == Decision(NOON, 4)


@pytest.mark.parametrize(
    "spec",
    [
        replace(EVERY_SECOND, enabled=False),
        replace(EVERY_SECOND, deleted_at=NOON),
        replace(EVERY_SECOND, schedule="@manual"),
        replace(EVERY_SECOND, start_at=after_noon(100)),
        replace(EVERY_SECOND, end_at=after_noon(-1)),
    ],
    ids=["disabled", "deleted", "by hand", "before its start", "after its end"],
)
def test_a_job_without_fire_times_gets_no_verdicts_but_its_time_is_decided(spec):
    decision = decided(spec, 50)

    assert decision.verdicts == []
    assert decision.decided_until == after_noon(50)


# --- Overlap: what lives, the policy, what becomes of the fire times -------------------------


IDLE = Live()
RUNNING = Live(running=1)
WAITING = Live(waiting=1)
RETRYING = Live(retrying=1)
QUEUED = Live(running=1, blocked=1)


@pytest.mark.parametrize(
    ("on_overlap", "max_running", "live", "expected"),
    [
        # Nothing lives: the first runs, and the second meets the first.
        ("skip", None, IDLE, ["10 runs", "11-12 overlap 2"]),
        ("queue_one", None, IDLE, ["10 runs", "11 waits", "12-12 overlap 1"]),
        ("queue_all", None, IDLE, ["10 runs", "11 waits", "12 waits"]),
        ("cancel_running", None, IDLE, ["10 runs", "11 waits", "12-12 overlap 1"]),
        ("allow", None, IDLE, ["10 runs", "11 runs", "12 runs"]),
        # One runs.
        ("skip", None, RUNNING, ["10-12 overlap 3"]),
        ("queue_one", None, RUNNING, ["10 waits", "11-12 overlap 2"]),
        ("queue_all", None, RUNNING, ["10 waits", "11 waits", "12 waits"]),
        ("cancel_running", None, RUNNING, ["10 waits", "11-12 overlap 2"]),
        ("allow", None, RUNNING, ["10 runs", "11 runs", "12 runs"]),
        # One is ready and no node has taken it.
        ("skip", None, WAITING, ["10-12 overlap 3"]),
        ("queue_one", None, WAITING, ["10 waits", "11-12 overlap 2"]),
        ("allow", None, WAITING, ["10 runs", "11 runs", "12 runs"]),
        # One waits for its next attempt.
        ("skip", None, RETRYING, ["10-12 retrying 3"]),
        ("skip", None, Live(running=1, retrying=1), ["10-12 overlap 3"]),
        ("queue_one", None, RETRYING, ["10 waits", "11-12 retrying 2"]),
        ("queue_all", None, RETRYING, ["10 waits", "11 waits", "12 waits"]),
        ("allow", None, RETRYING, ["10 runs", "11 runs", "12 runs"]),
        # One runs and one waits for it: nobody overtakes.
        ("skip", None, QUEUED, ["10-12 overlap 3"]),
        ("queue_one", None, QUEUED, ["10-12 overlap 3"]),
        ("queue_all", None, QUEUED, ["10 waits", "11 waits", "12 waits"]),
        ("cancel_running", None, QUEUED, ["10-12 overlap 3"]),
        ("queue_all", None, Live(blocked=1), ["10 waits", "11 waits", "12 waits"]),
        # A limit above one.
        ("skip", 2, RUNNING, ["10 runs", "11-12 overlap 2"]),
        ("queue_one", 2, RUNNING, ["10 runs", "11 waits", "12-12 overlap 1"]),
        ("queue_all", 2, RUNNING, ["10 runs", "11 waits", "12 waits"]),
        ("cancel_running", 2, RUNNING, ["10 runs", "11 waits", "12-12 overlap 1"]),
        ("allow", 2, RUNNING, ["10 runs", "11-12 overlap 2"]),
        ("skip", 3, Live(running=1, waiting=1, retrying=1), ["10-12 overlap 3"]),
    ],
)
def test_overlap(on_overlap, max_running, live, expected):
    spec = replace(EVERY_SECOND, on_overlap=on_overlap, max_running=max_running)

    assert told(decided(spec, 12, since=9, live=replace(live))) == expected


@pytest.mark.parametrize(
    ("on_overlap", "live", "cancels"),
    [
        ("cancel_running", RUNNING, True),
        ("cancel_running", RETRYING, True),
        ("cancel_running", IDLE, False),
        ("queue_one", RUNNING, False),
        ("skip", RUNNING, False),
    ],
)
def test_only_cancel_running_cancels_what_runs_and_only_for_one_that_waits(
    on_overlap, live, cancels
):
    spec = replace(EVERY_10_S, on_overlap=on_overlap)

    assert decided(spec, 10, live=replace(live)).cancel_running is cancels


def test_queue_all_keeps_no_more_waiting_than_its_bound():
    spec = replace(EVERY_SECOND, on_overlap="queue_all")
    live = Live(running=1, blocked=firing.QUEUE_LIMIT - 1)

    assert told(decided(spec, 3, live=live)) == ["1 waits", "2-3 overlap 2"]


# --- Misfire ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_misfire", "grace_s", "now", "expected"),
    [
        # Late by less than the time after which a fire time counts as missed: nothing was missed.
        ("latest", None, 14.9, ["10 runs"]),
        ("skip", None, 14.9, ["10 runs"]),
        ("all", None, 14.9, ["10 runs"]),
        # Exactly that late: missed.
        ("latest", None, 15, ["10 runs"]),
        ("skip", None, 15, ["10-10 missed 1"]),
        ("all", None, 15, ["10 runs"]),
        # Several missed, none on time.
        ("latest", None, 37, ["10-20 coalesced 2", "30 runs"]),
        ("skip", None, 37, ["10-30 missed 3"]),
        ("all", None, 37, ["10 runs", "20 waits", "30 waits"]),
        # Several missed and one on time, which stands for them.
        ("latest", None, 34, ["10-20 coalesced 2", "30 runs"]),
        ("skip", None, 34, ["10-20 missed 2", "30 runs"]),
        ("all", None, 34, ["10 runs", "20 waits", "30-30 overlap 1"]),
        # Missed for longer than the grace.
        ("latest", 15, 37, ["10-20 missed 2", "30 runs"]),
        ("latest", 7, 37, ["10-20 missed 2", "30 runs"]),
        ("latest", 6, 37, ["10-30 missed 3"]),
        ("latest", 0, 34, ["10-20 missed 2", "30 runs"]),
        ("skip", 15, 37, ["10-30 missed 3"]),
        ("all", 17, 37, ["10-10 missed 1", "20 runs", "30 waits"]),
        ("all", 16, 37, ["10-20 missed 2", "30 runs"]),
        ("all", 0, 37, ["10-30 missed 3"]),
        ("latest", 3600, 37, ["10-20 coalesced 2", "30 runs"]),
    ],
)
def test_misfire(on_misfire, grace_s, now, expected):
    spec = replace(EVERY_10_S, on_misfire=on_misfire, misfire_grace_s=grace_s)

    assert told(decided(spec, now)) == expected


@pytest.mark.parametrize(
    ("on_misfire", "on_overlap", "live", "expected"),
    [
        ("latest", "skip", RUNNING, ["10-20 coalesced 2", "30-30 overlap 1"]),
        ("latest", "skip", RETRYING, ["10-20 coalesced 2", "30-30 retrying 1"]),
        ("latest", "queue_one", RUNNING, ["10-20 coalesced 2", "30 waits"]),
        ("latest", "queue_all", RUNNING, ["10-20 coalesced 2", "30 waits"]),
        ("latest", "cancel_running", RUNNING, ["10-20 coalesced 2", "30 waits"]),
        ("latest", "allow", RUNNING, ["10-20 coalesced 2", "30 runs"]),
        ("skip", "queue_all", RUNNING, ["10-30 missed 3"]),
        # Catching up waits in line whatever the overlap policy says of new fire times.
        ("all", "skip", RUNNING, ["10 waits", "20 waits", "30 waits"]),
        ("all", "queue_one", RUNNING, ["10 waits", "20 waits", "30 waits"]),
        ("all", "queue_all", RUNNING, ["10 waits", "20 waits", "30 waits"]),
        ("all", "allow", RUNNING, ["10 runs", "20 runs", "30 runs"]),
        ("all", "skip", Live(running=1, blocked=firing.QUEUE_LIMIT), ["10-30 overlap 3"]),
    ],
)
def test_misfire_meets_overlap(on_misfire, on_overlap, live, expected):
    spec = replace(EVERY_10_S, on_misfire=on_misfire, on_overlap=on_overlap)

    assert told(decided(spec, 37, live=replace(live))) == expected


def test_what_was_coalesced_says_into_which_run():
    [coalesced, _] = decided(EVERY_10_S, 37).verdicts

    assert coalesced.detail == "into 2030-01-01 12:00:30 UTC"


def test_all_runs_the_newest_hundred_and_counts_the_others():
    spec = replace(EVERY_SECOND, on_misfire="all", on_overlap="allow")
    words = told(decided(spec, 1000))

    assert words[0] == "1-895 limit 895"
    assert words[1:] == [f"{second} runs" for second in range(896, 1001)]


@pytest.mark.parametrize("on_misfire", ["latest", "skip", "all"])
@pytest.mark.parametrize("on_overlap", ["skip", "queue_one", "queue_all", "cancel_running"])
def test_a_year_of_seconds_costs_a_handful_of_verdicts_and_steps(
    on_misfire, on_overlap, monkeypatch
):
    spec = replace(EVERY_SECOND, on_misfire=on_misfire, on_overlap=on_overlap)
    steps = count_steps(monkeypatch)
    now = after_noon(365 * 24 * 3600)
    decision = Decision(NOON, 0)

    decide(
        decision, spec, until=now, now=now, live=Live(running=1), misfire_after_s=MISFIRE_AFTER_S
    )

    assert sum(count_of(verdict) for verdict in decision.verdicts) == 365 * 24 * 3600
    assert len(decision.verdicts) <= firing.CATCH_UP_LIMIT + 10
    assert len(steps) <= 2 * firing.CATCH_UP_LIMIT + 50


def test_a_year_of_pause_is_one_verdict(monkeypatch):
    steps = count_steps(monkeypatch)
    year = 365 * 24 * 3600

    decision = decided(EVERY_SECOND, year, pauses=[pause(-10)])

    assert [(verdict.reason, count_of(verdict)) for verdict in decision.verdicts] == [
        ("paused", year)
    ]
    assert len(steps) <= 10


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every fire time that is looked for."""
    steps: list[int] = []
    for name in ("next_after_ts", "previous_before_ts", "count_ts"):
        original = getattr(CronSchedule, name)

        def counted(self, *args, original=original):
            steps.append(1)
            return original(self, *args)

        monkeypatch.setattr(CronSchedule, name, counted)
    return steps


def count_of(verdict: Fire | Skip) -> int:
    return verdict.count if isinstance(verdict, Skip) else 1


# --- Pauses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ([pause(-5)], ["10-40 paused 4"]),
        ([pause(20)], ["10 runs", "20-40 paused 3"]),
        ([pause(20.5)], ["10 runs", "20 runs", "30-40 paused 2"]),
        # A pause covers the moment at which it begins and not the one at which it ends.
        ([pause(20, 30)], ["10 runs", "20-20 paused 1", "30 runs", "40 runs"]),
        ([pause(21, 29)], ["10 runs", "20 runs", "30 runs", "40 runs"]),
        ([pause(-50, -20)], ["10 runs", "20 runs", "30 runs", "40 runs"]),
        ([pause(90)], ["10 runs", "20 runs", "30 runs", "40 runs"]),
        ([pause(-5, 15), pause(35)], ["10-10 paused 1", "20 runs", "30 runs", "40-40 paused 1"]),
        # Two pauses by two people: each fire time belongs to the one that began first.
        ([pause(25, who="bob"), pause(5, 25)], ["10-20 paused 2", "30-40 paused 2"]),
        ([pause(15, 35, who="bob"), pause(5)], ["10-40 paused 4"]),
        ([pause(5, 35), pause(15, 25, who="bob")], ["10-30 paused 3", "40 runs"]),
        # One pause after another by the same person with the same reason is one stretch.
        ([pause(5, 25), pause(25, 45)], ["10-40 paused 4"]),
        ([pause(5, 25, why="a"), pause(25, 45, why="b")], ["10-20 paused 2", "30-40 paused 2"]),
    ],
)
def test_pauses(pauses, expected):
    spec = replace(EVERY_10_S, on_overlap="allow", on_misfire="all")

    assert told(decided(spec, 40, pauses=pauses)) == expected


def test_a_paused_verdict_says_who_and_why():
    [verdict] = decided(EVERY_10_S, 10, pauses=[pause(0, None, "ann", "inventory")]).verdicts

    assert (verdict.who, verdict.detail) == ("ann", "inventory")


def test_an_absence_with_a_pause_in_it_is_made_up_for_once():
    """Proves I27: one run for the newest missed, however often the job was paused meanwhile."""
    spec = replace(EVERY_10_S, on_overlap="allow")
    words = told(decided(spec, 67, until=65, pauses=[pause(25, 35), pause(45, 55)]))

    assert words == [
        "10-20 coalesced 2",
        "30-30 paused 1",
        "40-40 coalesced 1",
        "50-50 paused 1",
        "60 runs",
    ]


def test_all_makes_up_for_a_hundred_at_most_however_many_pauses_lie_between():
    """Proves I27."""
    spec = replace(EVERY_SECOND, on_misfire="all", on_overlap="allow")
    pauses = [pause(second, second + 10) for second in range(100, 1000, 100)]
    now = after_noon(2000)
    decision = decided(spec, 2000, until=1000, pauses=pauses)

    fired = [verdict for verdict in decision.verdicts if isinstance(verdict, Fire)]
    assert len(fired) == firing.CATCH_UP_LIMIT
    assert all(verdict.scheduled_for < now for verdict in fired)


def test_the_pause_on_the_job_itself_comes_from_its_definition():
    spec = replace(
        EVERY_10_S,
        paused_at=after_noon(5),
        paused_by="ann",
        paused_until=after_noon(25),
        pause_reason="inventory",
    )

    assert firing.own_pause(spec) == [pause(5, 25, "ann", "inventory")]
    assert firing.own_pause(EVERY_10_S) == []


# --- max_runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_misfire", "max_runs", "runs", "now", "expected"),
    [
        ("latest", 2, 0, 12, ["10 runs", "11 runs"]),
        ("latest", 2, 1, 12, ["10 runs"]),
        ("latest", 2, 2, 12, []),
        ("latest", 2, 5, 12, []),  # the number was lowered
        ("skip", 2, 2, 60, []),
        ("all", 3, 1, 60, ["10 runs", "11 runs"]),
        ("latest", 1, 0, 60, ["10-55 coalesced 46", "56 runs"]),
    ],
)
def test_after_its_last_run_a_job_is_over_and_has_no_verdicts(
    on_misfire, max_runs, runs, now, expected
):
    spec = replace(EVERY_SECOND, on_misfire=on_misfire, on_overlap="allow", max_runs=max_runs)

    decision = decided(spec, now, since=9, runs=runs)

    assert told(decision) == expected


def test_a_job_that_is_over_is_not_paused():
    spec = replace(EVERY_SECOND, max_runs=1, on_overlap="allow")

    assert told(decided(spec, 10, runs=1, pauses=[pause(2)])) == []
    assert told(decided(spec, 4, pauses=[pause(2)])) == ["1 runs"]


def test_a_skipped_fire_time_is_no_run():
    spec = replace(EVERY_SECOND, max_runs=2)
    decision = decided(spec, 4, live=Live(running=1))

    assert decision.runs == 0
    assert next_fire_at(decision, spec) == after_noon(5)


# --- When to look again -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "pauses", "expected"),
    [
        (EVERY_10_S, [], 10),
        (replace(EVERY_10_S, enabled=False), [], None),
        (replace(EVERY_10_S, deleted_at=NOON), [], None),
        (replace(EVERY_10_S, schedule="@manual"), [], None),
        (replace(EVERY_10_S, schedule="@at 2030-01-01T12:00:07"), [], 7),
        (replace(EVERY_10_S, schedule="@at 2030-01-01T12:00:00"), [], None),
        (replace(EVERY_10_S, max_runs=7), [], None),
        (replace(EVERY_10_S, max_runs=8), [], 10),
        (replace(EVERY_10_S, end_at=after_noon(9)), [], None),
        (replace(EVERY_10_S, start_at=after_noon(15)), [], 20),
        # A pause without an end is ended by an edit; one with an end, at its end.
        (EVERY_10_S, [pause(-5)], None),
        (EVERY_10_S, [pause(-5, 25)], 30),
        (EVERY_10_S, [pause(-5, 30)], 30),
        (EVERY_10_S, [pause(-5, 30.000001)], 40),
        (EVERY_10_S, [Suspension(NOON, at("9999-12-31 23:59:59"), "ann", "")], None),
    ],
)
def test_the_next_fire_time_to_look_at(spec, pauses, expected):
    found = next_fire_at(Decision(NOON, 7), spec, pauses)

    assert found == (None if expected is None else after_noon(expected))


def test_planning_goes_on_from_what_was_decided_however_late_it_is():
    """Proves I7: the next fire time follows from the one before, never from now."""
    decision = Decision(NOON, 0)
    spec = replace(EVERY_10_S, on_overlap="allow")
    chance = random.Random(7)
    now, fired = 0.0, []

    for _ in range(200):
        now = (next_fire_at(decision, spec) - NOON).total_seconds() + chance.uniform(0, 4.9)
        decision.verdicts.clear()
        decide(
            decision,
            spec,
            until=after_noon(now),
            now=after_noon(now),
            live=Live(),
            misfire_after_s=MISFIRE_AFTER_S,
        )
        fired += [(verdict.scheduled_for - NOON).total_seconds() for verdict in decision.verdicts]

    assert fired == [10 * number for number in range(1, 201)]


# --- Against a slow model that looks at every second --------------------------------------------


@dataclass(frozen=True)
class Rhythm:
    """A schedule and, independently of how it is read, whether it fires at a second after noon."""

    text: str
    fires: Callable[[int], bool]


RHYTHMS = [
    Rhythm("* * * * * *", lambda second: True),
    Rhythm("*/7 * * * * *", lambda second: second % 60 % 7 == 0),
    Rhythm("13,50 * * * * *", lambda second: second % 60 in (13, 50)),
    Rhythm("* * * * *", lambda second: second % 60 == 0),
    Rhythm("@every 11s", lambda second: (second + int(NOON.timestamp())) % 11 == 0),
    Rhythm("@at 2030-01-01T12:00:42", lambda second: second == 42),
    Rhythm("@manual", lambda second: False),
]


def expected_fire_times(spec: JobSpec, start: datetime, end: datetime) -> list[datetime]:
    """Those in (start, end], found by asking of every second whether the job fires there."""
    if not spec.enabled or spec.deleted_at is not None:
        return []
    rhythm = next(rhythm for rhythm in RHYTHMS if rhythm.text == spec.schedule)
    shift = round(jitter_of(spec.name, spec.jitter_s).total_seconds())
    low = int((start - NOON).total_seconds()) - 1
    high = int((end - NOON).total_seconds()) + 1
    return [
        moment
        for second in range(low, high + 1)
        if start < (moment := after_noon(second)) <= end
        and rhythm.fires(second - shift)
        and (spec.start_at is None or spec.start_at <= moment)
        and (spec.end_at is None or moment <= spec.end_at)
    ]


class SlowModel:
    """The policies once more, one fire time after another, with no shortcut for long stretches."""

    def __init__(self, spec: JobSpec, now: datetime, live: Live, runs: int) -> None:
        self.spec, self.now, self.live, self.runs = spec, now, live, runs
        self.verdicts: list[tuple[datetime, str]] = []

    def decide(self, fire_times: list[datetime], suspensions: Sequence[Suspension]) -> None:
        self.suspensions = suspensions
        given_up = self.given_up([moment for moment in fire_times if not self.reason_at(moment)])
        for moment in fire_times:
            if self.is_over:
                return
            reason = self.reason_at(moment) or given_up.get(moment)
            if reason:
                self.verdicts.append((moment, reason))
            else:
                self.run(moment)

    def reason_at(self, moment: datetime) -> str:
        """Why there is no execution at that moment: of several suspensions, the one that began first."""
        covering = [
            suspension
            for suspension in self.suspensions
            if suspension.since <= moment
            and (suspension.until is None or moment < suspension.until)
        ]
        first = min(covering, key=lambda suspension: suspension.since, default=None)
        return "" if first is None else first.reason

    @property
    def is_over(self) -> bool:
        return self.spec.max_runs is not None and self.runs >= self.spec.max_runs

    def is_missed(self, moment: datetime) -> bool:
        return self.now - moment >= timedelta(seconds=MISFIRE_AFTER_S)

    def given_up(self, moments: list[datetime]) -> dict[datetime, str]:
        """Those of the fire times that were missed and are not made up for."""
        spec = self.spec
        missed = [moment for moment in moments if self.is_missed(moment)]
        if spec.on_misfire == "skip":
            return dict.fromkeys(missed, "missed")
        grace = timedelta.max
        if spec.misfire_grace_s is not None:
            grace = timedelta(seconds=spec.misfire_grace_s)
        too_old = [moment for moment in missed if self.now - moment > grace]
        missed = missed[len(too_old) :]
        if spec.on_misfire == "latest":
            some_are_on_time = any(not self.is_missed(moment) for moment in moments)
            others = missed if some_are_on_time else missed[:-1]
            reason = "coalesced"
        else:
            others, reason = missed[:-100], "limit"
        return dict.fromkeys(too_old, "missed") | dict.fromkeys(others, reason)

    def run(self, moment: datetime) -> None:
        spec, live = self.spec, self.live
        limit = spec.max_running or (10**9 if spec.on_overlap == "allow" else 1)
        line = {"skip": 0, "allow": 0, "queue_one": 1, "cancel_running": 1, "queue_all": 1000}
        unblocked = live.running + live.waiting + live.retrying
        catching_up = self.is_missed(moment) and spec.on_misfire == "all"
        if limit == 10**9 or (unblocked < limit and live.blocked == 0):
            live.waiting += 1
            self.runs += 1
            self.verdicts.append((moment, "runs"))
        elif live.blocked < (1000 if catching_up else line[spec.on_overlap]):
            live.blocked += 1
            self.runs += 1
            self.verdicts.append((moment, "waits"))
        elif live.retrying and not live.running and not live.waiting:
            self.verdicts.append((moment, "retrying"))
        else:
            self.verdicts.append((moment, "overlap"))


def spelled_out(
    decision: Decision, spec: JobSpec, *, start: datetime
) -> list[tuple[datetime, str]]:
    """One entry for each fire time that the decision answers, skips taken apart; fails where counts are wrong."""
    words: list[tuple[datetime, str]] = []
    for verdict in decision.verdicts:
        if isinstance(verdict, Fire):
            words.append((verdict.scheduled_for, "waits" if verdict.blocked else "runs"))
            continue
        covered = expected_fire_times(spec, verdict.first_at - TICK, verdict.last_at)
        assert verdict.count == len(covered), verdict
        assert covered[0] == verdict.first_at and covered[-1] == verdict.last_at
        words += [(moment, verdict.reason) for moment in covered]
    assert all(moment > start for moment, _ in words)
    return words


offsets = st.integers(-30, 330) | st.floats(-30, 330).map(lambda value: round(value, 3))
specs = st.builds(
    JobSpec,
    name=st.sampled_from(["a", "b", "c"]),
    schedule=st.sampled_from([rhythm.text for rhythm in RHYTHMS]),
    jitter_s=st.sampled_from([0, 0, 5, 100]),
    start_at=st.none() | offsets.map(after_noon),
    end_at=st.none() | offsets.map(after_noon),
    max_runs=st.sampled_from([None, None, None, 1, 3, 60]),
    on_misfire=st.sampled_from(["latest", "skip", "all"]),
    misfire_grace_s=st.sampled_from([None, None, 0, 5, 30, 200]),
    on_overlap=st.sampled_from(["skip", "queue_one", "queue_all", "cancel_running", "allow"]),
    max_running=st.sampled_from([None, None, 1, 2, 7]),
    enabled=st.sampled_from([True] * 9 + [False]),
)
suspension_lists = st.lists(
    st.builds(
        lambda since, length, who, reason: Suspension(
            after_noon(since),
            None if length is None else after_noon(since + length),
            who,
            reason=reason,
        ),
        offsets,
        st.none() | st.integers(1, 200) | st.sampled_from([0.000001, 0.5]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["paused", "calendar", "skipped"]),
    ),
    max_size=4,
)
lives = st.builds(Live, *[st.integers(0, 2)] * 4)


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(
    spec=specs,
    pauses=suspension_lists,
    live=lives,
    runs=st.integers(0, 3),
    since=offsets,
    length=st.integers(0, 300),
    later=st.sampled_from([0, 0, 0, 2, 5, 60]),
)
def test_every_fire_time_gets_the_verdict_that_a_slow_model_gives(
    spec, pauses, live, runs, since, length, later
):
    start, until = after_noon(since), after_noon(since + length)
    now = until + timedelta(seconds=later)  # `until` is earlier where an edit ended the definition
    model = SlowModel(spec, now, replace(live), runs)
    model.decide(expected_fire_times(spec, start, until), pauses)

    decision = Decision(start, runs)
    decide(
        decision,
        spec,
        until=until,
        now=now,
        live=live,
        pauses=pauses,
        misfire_after_s=MISFIRE_AFTER_S,
    )

    assert spelled_out(decision, spec, start=start) == model.verdicts
    assert decision.runs == model.runs
    assert decision.decided_until == max(start, until)
    assert live == model.live


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    definitions=st.lists(specs, min_size=1, max_size=4),
    pauses=suspension_lists,
    turns=st.lists(
        st.tuples(
            st.sampled_from([0.4, 1, 1, 2.7, 10, 45]),  # until the next look
            st.lists(st.floats(0, 1), max_size=3),  # edits meanwhile, by their place in that time
            lives,
        ),
        max_size=12,
    ),
)
def test_over_edits_pauses_and_absences_each_fire_time_gets_exactly_one_verdict(
    definitions, pauses, turns
):
    """Proves I1 for the rules: what the definitions in force demand is what was decided, nothing twice, nothing lost."""
    now, decision, answered, demanded = NOON, Decision(NOON, 0), [], []
    following = itertools.cycle(definitions)
    in_force = next(following)
    for wait, edits, live in turns:
        looked_at, now = now, now + timedelta(seconds=wait)
        cuts = sorted(looked_at + timedelta(seconds=wait * place) for place in edits)
        for until in [*cuts, now]:
            start, runs = decision.decided_until, decision.runs
            decision.verdicts.clear()
            decide(
                decision,
                in_force,
                until=until,
                now=now,
                live=live,
                pauses=pauses,
                misfire_after_s=MISFIRE_AFTER_S,
            )
            answered += [moment for moment, _ in spelled_out(decision, in_force, start=start)]
            owed = expected_fire_times(in_force, start, until)
            if in_force.max_runs is not None:
                # What comes after the last run is not owed.
                fired = [v.scheduled_for for v in decision.verdicts if isinstance(v, Fire)]
                if decision.runs >= in_force.max_runs:
                    last = fired[-1] if decision.runs > runs else start
                    owed = [moment for moment in owed if moment <= last]
            demanded += owed
            if until is not now:
                in_force = next(following)
        planned = next_fire_at(decision, in_force, ())
        assert planned is None or planned > decision.decided_until

    assert answered == demanded
    assert len(set(answered)) == len(answered)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    definitions=st.lists(
        st.tuples(specs, st.integers(1, 90), suspension_lists), min_size=1, max_size=5
    ),
    later=st.sampled_from([0, 0, 2, 5, 60]),
    most=st.sampled_from([3, 100]),
)
def test_an_absence_is_made_up_for_once_however_many_edits_lie_in_it(definitions, later, most):
    """Proves I27, against a model that walks from the newest fire time of the last definition to the oldest."""
    definitions = [
        (replace(spec, on_overlap="allow", max_running=None, max_runs=None), length, pauses)
        for spec, length, pauses in definitions
    ]
    cuts = [0, *itertools.accumulate(length for _, length, _ in definitions)]
    now = after_noon(cuts[-1] + later)
    expected: dict[datetime, str] = {}
    into, runs = None, 0
    for (spec, _, pauses), start, end in reversed(
        list(zip(definitions, cuts, cuts[1:], strict=False))
    ):
        model = SlowModel(spec, now, Live(), 0)
        model.suspensions = pauses
        fire_times = expected_fire_times(spec, after_noon(start), after_noon(end))
        for moment in reversed([m for m in fire_times if not model.reason_at(m)]):
            grace = spec.misfire_grace_s
            if not model.is_missed(moment):
                into = moment
            elif spec.on_misfire == "skip" or (
                grace is not None and now - moment > timedelta(seconds=grace)
            ):
                expected[moment] = "missed"
            elif spec.on_misfire == "latest" and into is not None:
                expected[moment] = "coalesced"
            elif spec.on_misfire == "all" and runs == most:
                expected[moment] = "limit"
            else:
                into, runs = moment, runs + (spec.on_misfire == "all")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(firing, "CATCH_UP_LIMIT", most)
        made_up = [firing.NOTHING_MADE_UP]
        for (spec, _, pauses), start, end in reversed(
            list(zip(definitions, cuts, cuts[1:], strict=False))[1:]
        ):
            made_up.append(
                firing.made_up(
                    spec,
                    after_noon(start),
                    after_noon(end),
                    now=now,
                    pauses=pauses,
                    misfire_after_s=MISFIRE_AFTER_S,
                    later=made_up[-1],
                )
            )
        for (spec, _, pauses), start, end, after in zip(
            definitions, cuts, cuts[1:], reversed(made_up), strict=False
        ):
            decision = Decision(after_noon(start), 0)
            decide(
                decision,
                spec,
                until=after_noon(end),
                now=now,
                live=Live(),
                pauses=pauses,
                misfire_after_s=MISFIRE_AFTER_S,
                later=after,
            )
            for moment, what in spelled_out(decision, spec, start=after_noon(start)):
                if what in ("runs", "missed", "coalesced", "limit"):
                    assert what == expected.get(moment, "runs"), moment


def test_the_next_fire_time_is_the_first_that_has_no_verdict_and_lies_in_no_suspension():
    chance = random.Random(11)
    for _ in range(500):
        spec = replace(
            EVERY_10_S,
            schedule=chance.choice(RHYTHMS).text,
            start_at=chance.choice([None, after_noon(chance.uniform(0, 90))]),
            end_at=chance.choice([None, after_noon(chance.uniform(0, 90))]),
            jitter_s=chance.choice([0, 40]),
        )
        suspensions = [
            pause(begin, chance.choice([begin + chance.choice([1, 20, 60]), None]))
            for begin in chance.sample(range(-50, 150), chance.choice([0, 1, 4]))
        ]
        since = chance.uniform(0, 60)
        coming = expected_fire_times(spec, after_noon(since), after_noon(since + 300))
        open_ones = [
            moment
            for moment in coming
            if not any(s.since <= moment and (not s.until or moment < s.until) for s in suspensions)
        ]

        found = next_fire_at(Decision(after_noon(since), 0), spec, suspensions)

        assert found == (open_ones[0] if open_ones else None)
        assert Timetable.of(spec).count(after_noon(since), after_noon(since + 300)) == len(coming)
