"""The checker is tested before it is believed: an honest story has no finding, and each lie in it is named."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from scheduler_app.management.drill.checker import KINDS, check
from scheduler_app.management.drill.evidence import (
    Change,
    ClockStep,
    Definition,
    Evidence,
    GapRow,
    NodeRow,
    PlannedJob,
    Row,
)
from scheduler_app.management.drill.ledger import Band, Ledger, Life, Order, Signal
from scheduler_app.management.drill.sidelog import Run, collect

T0 = 1_900_000_000.0
"""A second that every schedule below names."""
STEADY, SECOND, RAISING = 1, 2, 3


def honest() -> Evidence:
    """Two minutes of two nodes and three jobs, in which everything is as promised.

    `steady` fires every two seconds, `second` every second but skips what overlaps, `raising` every ten and fails.
    The node `a` dies at T0 + 60.5 while it runs an execution of `steady`, which `b` runs again; `second` is paused
    from T0 + 80.2 to T0 + 85.5.
    """
    ledger = Ledger(
        lives=[
            Life("a", 100, T0 - 20, T0 + 60.5, -signal.SIGKILL),
            Life("b", 200, T0 - 20, T0 + 125, 0),
        ],
        signals=[
            Signal(T0 + 60.5, "a", 100, signal.SIGKILL),
            Signal(T0 + 124, "b", 200, signal.SIGTERM),
        ],
        orders=[
            Order("pause", SECOND, T0 + 80.1, T0 + 80.2),
            Order("resume", SECOND, T0 + 85.4, T0 + 85.5),
        ],
    )

    def definitions(schedule: str) -> list[Definition]:
        return [
            Definition(schedule, T0 - 0.2, T0 - 0.1),
            Definition(None, T0 + 120.5, T0 + 120.6),
        ]

    evidence = Evidence(
        jobs=[
            PlannedJob(STEADY, "steady", definitions("*/2 * * * * *"), overlap="allow"),
            PlannedJob(SECOND, "second", definitions("* * * * * *")),
            PlannedJob(RAISING, "raising", definitions("@every 10s"), raises=True, overlap="allow"),
        ],
        ledger=ledger,
        runs=[],
        nodes=[NodeRow(1, "a", 100, "dead", T0 - 19), NodeRow(2, "b", 200, "stopped", T0 - 19)],
        lease=6.0,
        ended=T0 + 123,
    )
    for second in range(121):
        node = 1 + (second % 4 == 0 and second < 60)
        node = 2 if second > 60 else node
        if second % 2 == 0:
            tell(evidence, STEADY, second, node=1 if second == 60 else node, dies=second == 60)
        if second == 40:
            tell(evidence, SECOND, second, node=node, works_s=1.5)
        elif second != 41 and not 80.2 < second < 85.4:
            tell(evidence, SECOND, second, node=node if second != 60 else 2)
        if second % 10 == 0:
            tell(evidence, RAISING, second, node=2, raises=True)
    evidence.gaps = [
        GapRow(SECOND, T0 + 41, T0 + 41, 1, "overlap"),
        GapRow(SECOND, T0 + 81, T0 + 85, 5, "paused"),
    ]
    evidence.runs.sort(key=lambda run: run.began)
    return evidence


def tell(
    evidence: Evidence,
    job: int,
    second: int,
    *,
    node: int,
    works_s: float = 0.3,
    raises: bool = False,
    dies: bool = False,
) -> None:
    """One execution, from firing to outcome; `dies`: its first node goes with it, and `b` takes it up."""
    id_ = max((row.id for row in evidence.rows), default=0) + 1
    at = T0 + second
    key = f"key{id_:04}"
    pid = {1: 100, 2: 200}
    status, how = ("failed", "raised") if raises else ("succeeded", "returned")
    evidence.changes.append(Change(id_, at + 0.01, None, "ready", 0, 0, 0, 0, "", ""))
    evidence.changes.append(Change(id_, at + 0.02, "ready", "running", 0, 1, 0, node, "", ""))
    evidence.runs.append(Run(key, id_, 1, at, (pid[node], 1), at + 0.03, at + works_s, how))
    token, ended = 1, at + works_s
    if dies:
        evidence.runs[-1].ended, evidence.runs[-1].how = None, ""
        again, key, token = at + 7.5, key + "again", 3
        ended = again + works_s
        evidence.changes += [
            Change(id_, at + 7.0, "running", "ready", 1, 2, node, 0, "rescued", ""),
            Change(id_, again, "ready", "running", 2, 3, 0, 2, "rescued", ""),
        ]
        evidence.runs.append(Run(key, id_, 1, at, (200, 1), again, ended, how))
        node = 2
    outcome = f'"{key}"'
    evidence.changes.append(
        Change(id_, ended + 0.01, "running", status, token, token, node, node, "", outcome)
    )
    evidence.rows.append(Row(id_, job, "schedule", at, status, "", token, node))


def kinds(evidence: Evidence) -> set[str]:
    return {finding.kind for finding in check(evidence).findings}


def row_at(evidence: Evidence, job: int, second: int) -> Row:
    return next(row for row in evidence.rows if (row.job, row.fire_time) == (job, T0 + second))


def change_row(evidence: Evidence, row: Row, **values: object) -> None:
    evidence.rows[evidence.rows.index(row)] = replace(row, **values)


def forget(evidence: Evidence, row: Row) -> None:
    """As if it had never been."""
    evidence.rows.remove(row)
    evidence.changes = [change for change in evidence.changes if change.execution != row.id]
    evidence.runs = [run for run in evidence.runs if run.execution != row.id]


def run_of(evidence: Evidence, row: Row) -> Run:
    return [run for run in evidence.runs if run.execution == row.id][-1]


def changes_of(evidence: Evidence, row: Row) -> list[Change]:
    return [change for change in evidence.changes if change.execution == row.id]


# --- Lies -----------------------------------------------------------------------------------------


def a_missing_run(evidence: Evidence) -> None:
    forget(evidence, row_at(evidence, STEADY, 10))


def an_acknowledged_execution_that_is_gone(evidence: Evidence) -> None:
    evidence.acknowledged = [1, 99_999]


def a_fire_time_with_two_executions(evidence: Evidence) -> None:
    tell(evidence, STEADY, 10, node=2)


def an_execution_that_runs_twice_in_one_claim(evidence: Evidence) -> None:
    run = run_of(evidence, row_at(evidence, STEADY, 10))
    evidence.runs.append(replace(run, key="another", began=run.began + 0.1))


def a_run_after_its_execution_was_over(evidence: Evidence) -> None:
    run = run_of(evidence, row_at(evidence, STEADY, 10))
    evidence.runs.append(replace(run, key="another", began=run.began + 5, ended=run.began + 6))


def a_run_that_nobody_claimed(evidence: Evidence) -> None:
    run = run_of(evidence, row_at(evidence, STEADY, 10))
    evidence.runs.append(replace(run, key="another", pids=(300, 1)))


def a_rescue_from_a_node_that_was_well(evidence: Evidence) -> None:
    evidence.ledger.lives[0].ended = T0 + 100
    evidence.ledger.signals[0] = Signal(T0 + 100, "a", 100, signal.SIGKILL)


def a_hand_back_of_what_ran(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 60)
    call_the_rescue(evidence, row, "")


def a_hand_back_that_nobody_asked_for(evidence: Evidence) -> None:
    call_the_rescue(evidence, row_at(evidence, STEADY, 60), "drained")


def a_fence_without_a_cut(evidence: Evidence) -> None:
    call_the_rescue(evidence, row_at(evidence, STEADY, 60), "fenced")


def call_the_rescue(evidence: Evidence, row: Row, reason: str) -> None:
    for number, change in enumerate(evidence.changes):
        if change.execution == row.id and change.old_status == "running" and change.token == 2:
            evidence.changes[number] = replace(change, reason=reason)


def a_try_too_many(evidence: Evidence) -> None:
    row = row_at(evidence, RAISING, 20)
    key = run_of(evidence, row).key
    final = changes_of(evidence, row)[-1]
    at = evidence.changes.index(final)
    evidence.changes[at : at + 1] = [
        replace(final, status="ready", outcome=key),
        Change(row.id, final.at + 1, "ready", "running", 1, 2, 0, 2, "", ""),
        replace(final, at=final.at + 2, old_token=2, token=2, outcome="keyagain"),
    ]
    evidence.runs.append(
        Run(
            "keyagain", row.id, 2, row.fire_time, (200, 1), final.at + 1.1, final.at + 1.5, "raised"
        )
    )


def a_gap_over_an_execution(evidence: Evidence) -> None:
    evidence.gaps[0] = replace(evidence.gaps[0], last=T0 + 42, count=2)


def two_gaps_over_a_fire_time(evidence: Evidence) -> None:
    evidence.gaps.append(GapRow(SECOND, T0 + 82, T0 + 82, 1, "paused"))


def a_gap_that_counts_wrong(evidence: Evidence) -> None:
    evidence.gaps[1] = replace(evidence.gaps[1], count=4)


def an_overlap_with_nothing(evidence: Evidence) -> None:
    forget(evidence, row_at(evidence, SECOND, 30))
    evidence.gaps.append(GapRow(SECOND, T0 + 30, T0 + 30, 1, "overlap"))


def an_overlap_of_a_job_that_may(evidence: Evidence) -> None:
    forget(evidence, row_at(evidence, STEADY, 30))
    evidence.gaps.append(GapRow(STEADY, T0 + 30, T0 + 30, 1, "overlap"))


def a_pause_that_nobody_ordered(evidence: Evidence) -> None:
    forget(evidence, row_at(evidence, SECOND, 30))
    evidence.gaps.append(GapRow(SECOND, T0 + 30, T0 + 30, 1, "paused"))


def a_miss_although_a_node_was_there(evidence: Evidence) -> None:
    forget(evidence, row_at(evidence, SECOND, 30))
    evidence.gaps.append(GapRow(SECOND, T0 + 30, T0 + 30, 1, "coalesced"))


def a_reason_that_does_not_exist(evidence: Evidence) -> None:
    evidence.gaps[0] = replace(evidence.gaps[0], reason="bored")


def a_fire_time_that_no_schedule_names(evidence: Evidence) -> None:
    tell(evidence, STEADY, 11, node=2)


def a_run_before_the_job_was_there(evidence: Evidence) -> None:
    tell(evidence, STEADY, -4, node=2)


def an_early_run(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 10)
    for number, change in enumerate(evidence.changes):
        if change.execution == row.id:
            evidence.changes[number] = replace(change, at=change.at - 0.4)
    run_of(evidence, row).began -= 0.4


def an_execution_fired_while_paused(evidence: Evidence) -> None:
    evidence.gaps[1] = replace(evidence.gaps[1], first=T0 + 82, count=4)
    tell(evidence, SECOND, 81, node=2)


def a_run_that_begins_while_paused(evidence: Evidence) -> None:
    row = row_at(evidence, SECOND, 80)
    for number, change in enumerate(evidence.changes):
        if change.execution == row.id and change.old_status is not None:
            evidence.changes[number] = replace(change, at=change.at + 2)
    run = run_of(evidence, row)
    run.began, run.ended = run.began + 2, run.began + 2.1


def an_outcome_of_an_earlier_run(evidence: Evidence) -> None:
    """The node that died had frozen, and wrote its result when it woke."""
    row = row_at(evidence, STEADY, 60)
    runs = [run for run in evidence.runs if run.execution == row.id]
    runs[0].ended, runs[0].how = T0 + 68, "returned"
    for number, change in enumerate(evidence.changes):
        if change.execution == row.id and change.status == "succeeded":
            evidence.changes[number] = replace(change, outcome=f'"{runs[0].key}"')


def a_final_outcome_that_changes(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 10)
    final = changes_of(evidence, row)[-1]
    evidence.changes.append(replace(final, at=final.at + 3, old_status="succeeded"))


def an_outcome_that_is_nowhere(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 10)
    evidence.changes.remove(changes_of(evidence, row)[-1])
    change_row(evidence, row, status="running")


def an_outcome_that_is_another(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 10)
    final = changes_of(evidence, row)[-1]
    evidence.changes[evidence.changes.index(final)] = replace(final, outcome="null")


def a_result_given_up_in_a_drain(evidence: Evidence) -> None:
    """It had returned long before the hand-back, on a node that lived."""
    row = row_at(evidence, STEADY, 60)
    evidence.ledger.lives[0] = Life("a", 100, T0 - 20, T0 + 68, 0)
    evidence.ledger.signals[0] = Signal(T0 + 60.5, "a", 100, signal.SIGTERM)
    evidence.nodes[0] = replace(evidence.nodes[0], state="stopped")
    call_the_rescue(evidence, row, "drained")
    run = next(run for run in evidence.runs if run.execution == row.id)
    run.ended, run.how = T0 + 61, "returned"


def a_success_without_a_run(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 10)
    evidence.runs.remove(run_of(evidence, row))


def a_failure_that_was_a_success(evidence: Evidence) -> None:
    change_row(evidence, row_at(evidence, STEADY, 10), status="failed")


def a_cancel_by_nobody(evidence: Evidence) -> None:
    change_row(evidence, row_at(evidence, STEADY, 10), status="cancelled")


def a_lost_execution_of_a_job_that_may_run_again(evidence: Evidence) -> None:
    change_row(evidence, row_at(evidence, STEADY, 10), status="lost")


def a_row_that_waits_for_ever(evidence: Evidence) -> None:
    change_row(evidence, row_at(evidence, STEADY, 110), status="ready")


def a_node_that_ended_and_does_not_say_so(evidence: Evidence) -> None:
    evidence.nodes[1] = replace(evidence.nodes[1], state="active")


def a_process_that_ended_by_itself(evidence: Evidence) -> None:
    evidence.ledger.signals = evidence.ledger.signals[1:]


def a_process_that_ended_with_an_error(evidence: Evidence) -> None:
    evidence.ledger.lives[1].code = 1


def a_node_declared_dead_for_nothing(evidence: Evidence) -> None:
    evidence.ledger.lives[1].code = 75


def a_rescue_that_came_late(evidence: Evidence) -> None:
    row = row_at(evidence, STEADY, 60)
    for number, change in enumerate(evidence.changes):
        if change.execution == row.id and change.old_status is not None and change.at > T0 + 61:
            evidence.changes[number] = replace(change, at=change.at + 4)
    run = run_of(evidence, row)
    run.began, run.ended = run.began + 4, run.began + 4.3


LIES: list[tuple[Callable[[Evidence], None], str]] = [
    (a_missing_run, "missing"),
    (an_acknowledged_execution_that_is_gone, "missing"),
    (a_fire_time_with_two_executions, "doubled"),
    (an_execution_that_runs_twice_in_one_claim, "doubled"),
    (a_run_after_its_execution_was_over, "doubled"),
    (a_run_that_nobody_claimed, "doubled"),
    (a_rescue_from_a_node_that_was_well, "doubled"),
    (a_hand_back_of_what_ran, "doubled"),
    (a_hand_back_that_nobody_asked_for, "doubled"),
    (a_fence_without_a_cut, "doubled"),
    (a_try_too_many, "doubled"),
    (a_gap_over_an_execution, "gap_overlap"),
    (two_gaps_over_a_fire_time, "gap_overlap"),
    (a_gap_that_counts_wrong, "gap_count"),
    (an_overlap_with_nothing, "unlawful_gap"),
    (an_overlap_of_a_job_that_may, "unlawful_gap"),
    (a_pause_that_nobody_ordered, "unlawful_gap"),
    (a_miss_although_a_node_was_there, "unlawful_gap"),
    (a_reason_that_does_not_exist, "unlawful_gap"),
    (a_fire_time_that_no_schedule_names, "unexpected"),
    (a_run_before_the_job_was_there, "unexpected"),
    (an_early_run, "early"),
    (an_execution_fired_while_paused, "paused"),
    (a_run_that_begins_while_paused, "paused"),
    (an_outcome_of_an_earlier_run, "stale_overwrite"),
    (a_final_outcome_that_changes, "stale_overwrite"),
    (an_outcome_that_is_nowhere, "lost_outcome"),
    (an_outcome_that_is_another, "lost_outcome"),
    (a_result_given_up_in_a_drain, "lost_outcome"),
    (a_success_without_a_run, "untrue_end"),
    (a_failure_that_was_a_success, "untrue_end"),
    (a_cancel_by_nobody, "untrue_end"),
    (a_lost_execution_of_a_job_that_may_run_again, "untrue_end"),
    (a_row_that_waits_for_ever, "stuck"),
    (a_node_that_ended_and_does_not_say_so, "stuck"),
    (a_process_that_ended_by_itself, "unordered_exit"),
    (a_process_that_ended_with_an_error, "unordered_exit"),
    (a_node_declared_dead_for_nothing, "unordered_exit"),
    (a_rescue_that_came_late, "slow_rescue"),
]


def test_an_honest_story_has_no_finding():
    report = check(honest())

    assert report.findings == []
    assert report.figures.runs == len(honest().rows) + 1
    assert (report.figures.reruns, report.figures.rescues) == (1, 1)
    assert 6.9 < report.figures.rescue_max_s < 7.1
    assert report.figures.gaps == {"overlap": 1, "paused": 5}
    assert report.figures.exits == {"SIGKILL": 1, "exit 0": 1}


@pytest.mark.parametrize(("lie", "kind"), LIES, ids=lambda value: getattr(value, "__name__", value))
def test_a_lie_is_named(lie, kind):
    evidence = honest()

    lie(evidence)

    assert kind in kinds(evidence)


def test_there_is_a_lie_for_every_kind_of_finding():
    assert {kind for _, kind in LIES} == set(KINDS)


# --- What excuses, and what does not --------------------------------------------------------------


def missed(evidence: Evidence) -> None:
    """`second` has a gap instead of runs from T0 + 30 to T0 + 37."""
    for second in range(30, 38):
        forget(evidence, row_at(evidence, SECOND, second))
    evidence.gaps.append(GapRow(SECOND, T0 + 30, T0 + 37, 8, "coalesced"))


def test_a_miss_is_lawful_while_nobody_was_able():
    evidence = honest()
    missed(evidence)
    evidence.ledger.bands.append(Band("database away", T0 + 29, T0 + 37.5))

    assert "unlawful_gap" not in kinds(evidence)


def test_an_outage_excuses_an_overlap_that_the_journal_does_not_show():
    evidence = honest()
    an_overlap_with_nothing(evidence)
    evidence.ledger.bands.append(Band("updates sleep", T0 + 28, T0 + 31))

    assert "unlawful_gap" not in kinds(evidence)


def test_a_miss_is_not_excused_by_trouble_of_one_node():
    evidence = honest()
    missed(evidence)
    evidence.ledger.bands.append(Band("frozen", T0 + 29, T0 + 37.5, node="a"))

    assert "unlawful_gap" in kinds(evidence)


def test_a_machine_that_stood_still_excuses_lateness_but_no_loss():
    evidence = honest()
    missed(evidence)
    evidence.stalls.append((T0 + 30, T0 + 42.5))
    assert "unlawful_gap" not in kinds(evidence)

    an_execution_that_runs_twice_in_one_claim(evidence)
    forget(evidence, row_at(evidence, STEADY, 20))

    assert {"missing", "doubled"} <= kinds(evidence)


def test_an_outage_of_all_nodes_is_no_reason_for_a_rescue():
    evidence = honest()
    a_rescue_from_a_node_that_was_well(evidence)
    evidence.ledger.bands.append(Band("database away", T0 + 55, T0 + 64))

    assert "doubled" in kinds(evidence)


def test_a_retry_that_was_ordered_may_change_a_final_outcome():
    evidence = honest()
    row = row_at(evidence, STEADY, 10)
    a_final_outcome_that_changes(evidence)
    evidence.ledger.orders.append(Order("retry", row.id, T0 + 11, T0 + 11.1))

    assert "stale_overwrite" not in kinds(evidence)


def test_an_edit_counts_from_its_answer_and_may_count_from_its_question():
    evidence = honest()
    evidence.jobs[0].definitions.insert(1, Definition("@every 5s", T0 + 50.5, T0 + 52.5))
    for second in range(52, 122, 2):
        forget(evidence, row_at(evidence, STEADY, second))
    for second in range(55, 121, 5):
        tell(evidence, STEADY, second, node=2)
    assert kinds(evidence) == set()

    tell(evidence, STEADY, 54, node=2)

    assert kinds(evidence) == {"unexpected"}


def test_a_clock_that_leaps_excuses_what_it_leapt_over():
    evidence = honest()
    evidence.clock = [ClockStep(T0 + 122.5, 3600.0)]
    assert kinds(evidence) == set()

    # An hour later by the cluster's clock and half a second by any other, nothing of that hour has a verdict.
    for job in evidence.jobs:
        job.definitions[-1] = Definition(None, T0 + 122.7, T0 + 122.8)
    assert "missing" in kinds(evidence)


def test_a_run_is_early_by_the_clock_of_the_cluster():
    evidence = honest()
    evidence.clock = [ClockStep(T0 + 30, -2.0)]

    assert "early" in kinds(evidence)


def test_the_side_log_survives_a_line_that_was_cut_off():
    whole = '{"step": "began", "key": "k", "execution": 1, "attempt": 1, "fire_time": 5.0, "pids": [7], "monotonic": 2.1}'

    [run] = collect([whole, '{"step": "returned", "key": "k", "monotonic": 2.2, "pi'], offset=3.0)

    assert (run.execution, run.began, run.ended) == (1, 5.1, None)
