"""`manage.py simulate`: every fire time of a period and what would become of it, and nothing is written."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection as django_connection
from django.test.utils import CaptureQueriesContext

from scheduler_app import lifecycle
from scheduler_app.management.commands import simulate as command
from scheduler_app.models import Calendar, Job
from tests.lifecycle.support import Connection, after_noon, make_execution, make_job, settle


def simulate(*arguments: str, start: str = "12:00", end: str = "13:00") -> str:
    """Standard output."""
    return both(*arguments, start=start, end=end)[0]


def both(*arguments: str, start: str = "12:00", end: str = "13:00") -> tuple[str, str]:
    """Standard output and standard error."""
    out, err = StringIO(), StringIO()
    call_command("simulate", "--from", start, "--to", end, *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def in_json(*arguments: str, **period: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(simulate("--json", *arguments, **period))
    return found


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        call_command("simulate", *arguments, stdout=StringIO(), stderr=StringIO())
    return str(error.value)


def test_each_fire_time_is_a_line_in_the_order_of_time_and_in_the_jobs_zone(clock):
    make_job(name="a", schedule="*/20 * * * *")
    make_job(name="b", schedule="10,20 * * * *", timezone="Europe/Paris")

    assert simulate() == (
        "2030-01-01T12:00:00+00:00  ran        a\n"
        "2030-01-01T13:10:00+01:00  ran        b\n"
        "2030-01-01T12:20:00+00:00  ran        a\n"
        "2030-01-01T13:20:00+01:00  ran        b\n"
        "2030-01-01T12:40:00+00:00  ran        a\n"
    )


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(clock):
    make_job(name="a", schedule="0 * * * *")

    parts = [simulate(start=start, end=end) for start, end in [("10:00", "12:00"), ("12:00", "14:00")]]  # fmt: skip

    assert [len(part.splitlines()) for part in parts] == [2, 2]
    assert "".join(parts) == simulate(start="10:00", end="14:00")


def test_a_clock_change_shows_in_the_offsets(clock):
    make_job(name="a", schedule="30 2 * * *", timezone="Europe/Paris")

    assert simulate(start="2030-03-30", end="2030-04-02").splitlines() == [
        "2030-03-30T02:30:00+01:00  ran        a",
        "2030-03-31T03:00:00+02:00  ran        a",
        "2030-04-01T02:30:00+02:00  ran        a",
    ]


def test_what_would_not_run_says_why(connection, clock):
    calendar = Calendar(name="holidays", days="2030-01-02")
    calendar.save()
    job = make_job(name="a", schedule="0 */6 * * *", calendar=calendar)
    settle(connection)
    lifecycle.skip_next(job.pk, by="bob")
    lifecycle.pause([job.pk], by="ann", reason="stock\ntaking", until=after_noon(86400 + 12 * 3600))

    assert simulate(start="12:00", end="2030-01-03 19:00").splitlines() == [
        "2030-01-01T12:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-01T18:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-02T00:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-02T06:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-02T12:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-02T18:00:00+00:00  paused     a (by ann, stock taking)",
        "2030-01-03T00:00:00+00:00  ran        a",
        "2030-01-03T06:00:00+00:00  ran        a",
        "2030-01-03T12:00:00+00:00  ran        a",
        "2030-01-03T18:00:00+00:00  ran        a",
    ]
    lifecycle.resume([job.pk], by="ann")
    assert [line.split()[1] for line in simulate(end="2030-01-02 07:00").splitlines()] == [
        "ran", "skipped", "calendar", "calendar",
    ]  # fmt: skip


@pytest.mark.parametrize(("scope", "value"), [("all", ""), ("queue", "mail"), ("tag", "night")])
def test_pauses_of_many_jobs_hold(clock, scope, value):
    make_job(name="a", schedule="@hourly", queue="mail", tags=["night"])
    clock.set(after_noon(-3600))
    lifecycle.pause_scope(scope, value, by="ann")

    assert in_json("--summary")["counts"] == {"paused": 1}


def test_an_overlap_follows_from_the_duration_that_is_given(clock):
    make_job(name="a", schedule="*/10 * * * *")

    assert in_json("--summary", "--duration", "0")["counts"] == {"ran": 6}
    assert in_json("--summary", "--duration", "900.5")["counts"] == {"ran": 3, "overlap": 3}


def test_or_from_what_is_usual_for_the_job(clock):
    job = make_job(name="a", schedule="*/10 * * * *")
    make_job(name="b", schedule="*/10 * * * *")
    for seconds in (700, 701, 9000):
        make_execution(
            job,
            status="succeeded",
            scheduled_for=after_noon(-86400 + seconds),
            started_at=after_noon(-86400),
            finished_at=after_noon(-86400 + seconds),
        )

    a, b = in_json("--summary")["jobs"]

    assert (a["duration_s"], a["counts"]) == (701, {"ran": 3, "overlap": 3})
    assert (b["duration_s"], b["counts"]) == (0, {"ran": 6})


def test_only_the_named_jobs(clock):
    for name in ("a", "b", "c"):
        make_job(name=name, schedule="@hourly")

    lines = simulate("--job", "c", "--job", "a", "--job", "c").splitlines()

    assert [line.split()[-1] for line in lines] == ["a", "c"]


def test_disabled_and_deleted_jobs_do_nothing(clock):
    make_job(name="disabled", enabled=False)
    deleted = make_job(name="deleted")
    lifecycle.delete_jobs([deleted.pk], by="ann")

    out, err = both("--json", "--summary")

    assert [job["job"] for job in json.loads(out)["jobs"]] == ["disabled"]
    assert err == "There are no fire times in this period.\n"


def test_the_summary_counts_by_job_and_names_the_busiest_moments(clock):
    make_job(name="a", schedule="*/20 * * * *")
    make_job(name="b", schedule="0,20 * * * *")
    make_job(name="c", schedule="5 20 * * * *")

    assert simulate("--summary", "--duration", "1500").splitlines() == [
        "job    takes  fire times  ran  overlap",
        "a    1,500 s           3    2        1",
        "b    1,500 s           2    1        1",
        "c    1,500 s           1    1        0",
        "all                    6    4        2",
        "",
        "Executions due in the same second, the most:",
        "  2030-01-01T12:00:00Z  2",
        "Executions due in the same minute, the most:",
        "  2030-01-01T12:00:00Z  2",
    ]


def test_in_too_many_fire_times_the_busiest_moments_are_not_looked_for(clock, monkeypatch):
    monkeypatch.setattr(command, "MOST_COMPARED", 10)
    make_job(name="a", schedule="*/20 * * * *")
    make_job(name="b", schedule="* * * * *")

    assert "looked for in up to 10 fire times; choose a shorter" in simulate("--summary")
    assert "busiest" not in in_json("--summary")
    assert in_json("--summary")["counts"] == {"ran": 63}
    assert simulate("--summary", "--job", "a").endswith("are due in the same minute.\n")


def test_json_is_one_object_with_the_same(clock):
    make_job(name='a "quoted" \x1b[31mname', schedule="*/30 * * * *")
    make_job(name="b", schedule="@manual")

    text = simulate("--json")
    found = json.loads(text)

    assert text.isascii() and "\x1b" not in text
    assert found["verdicts"] == [
        {"at": f"2030-01-01T12:{minute}:00+00:00", "job": 'a "quoted" \x1b[31mname', "verdict": "ran"}
        for minute in ("00", "30")
    ]  # fmt: skip
    assert (found["from"], found["to"]) == ("2030-01-01T12:00:00Z", "2030-01-01T13:00:00Z")
    assert (found["fire_times"], found["counts"]) == (2, {"ran": 2})
    assert [job["fire_times"] for job in found["jobs"]] == [2, 0]
    assert "verdicts" not in in_json("--summary")


@pytest.mark.parametrize("at_once", [1, 7, 100, 200_000])
def test_the_answers_do_not_depend_on_the_steps(clock, monkeypatch, at_once):
    """However the period is cut, the lines are those of one stretch, and the counts those of the lines."""
    make_job(name="a", schedule="*/7 * * * * *", timezone="Australia/Lord_Howe")
    make_job(name="b", schedule="0 * * * * *", on_overlap="queue_one")
    make_job(name="c", schedule="0 */2 * * * *", on_overlap="cancel_running")
    period = {"start": "2030-04-06T14:55:13", "end": "2030-04-06T15:10:37"}
    whole = simulate("--duration", "130", **period)

    monkeypatch.setattr(command, "AT_ONCE", at_once)

    assert simulate("--duration", "130", **period) == whole
    verdicts = [line.split()[1] for line in whole.splitlines()]
    counts = in_json("--summary", "--duration", "130", **period)["counts"]
    assert counts == {verdict: verdicts.count(verdict) for verdict in set(verdicts)}
    stamps = [line.split()[0] for line in whole.splitlines()]
    assert len(set(stamps)) > 100
    found = in_json("--summary", "--duration", "130", **period)["busiest"]
    assert found["minutes"][0]["count"] >= found["seconds"][0]["count"] == 2


def test_control_characters_do_not_reach_the_terminal(clock):
    make_job(name="\x1b]0;gotcha\x07\u202ejob", schedule="@hourly")

    for arguments in ([], ["--summary"]):
        assert all(line.isprintable() for line in simulate(*arguments).splitlines())


def test_a_job_that_cannot_be_read_is_left_out_and_named(clock):
    make_job(name="fine", schedule="@hourly")
    bad = make_job(name="bad", schedule="@hourly")
    Job.objects.filter(pk=bad.pk).update(schedule="nonsense")
    worse = make_job(name="worse", schedule="@hourly")
    Job.objects.filter(pk=worse.pk).update(timezone="Mars/Olympus")

    out, err = both()

    assert out == "2030-01-01T12:00:00+00:00  ran        fine\n"
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "bad is left out",
        "worse is left out",
    ]
    jobs = {job["job"]: job for job in in_json("--summary")["jobs"]}
    assert "problem" in jobs["bad"] and jobs["fine"]["counts"] == {"ran": 1}


def test_it_only_reads_and_the_number_of_statements_does_not_grow_with_the_jobs(clock):
    def statements(count: int) -> list[str]:
        for number in range(count):
            make_job(name=f"{count}-{number}", schedule="@hourly", max_runs=5)
        with CaptureQueriesContext(
            django_connection,
        ) as queries:
            simulate("--summary")
        return [query["sql"].split()[0] for query in queries]

    few, many = statements(1), statements(20)

    assert len(few) == len(many) < 10
    assert set(many) == {"SELECT"}


def test_the_runs_until_the_period_begins_count(connection, clock):
    make_job(name="a", schedule="* * * * *", max_runs=90)
    settle(connection)

    assert len(simulate(start="12:00", end="14:00").splitlines()) == 90
    assert len(simulate(start="13:00:30", end="14:00").splitlines()) == 30


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: --from, --to"),
        (["--from", "now"], "the following arguments are required: --to"),
        (["--from", "x", "--to", "now"], "--from: 'x' is not a moment; write "),
        (["--from", "now", "--to", "2030-02-30"], "--to: '2030-02-30' is not a moment"),
        (["--from", "1969-12-31", "--to", "now"], "moments are from 1970 to 2100"),
        (["--from", "now", "--to", "2101-01-01"], "moments are from 1970 to 2100"),
        (["--from", "now", "--to", "now"], "--to: 'now' must come after --from, 'now'."),
        (["--from", "now", "--to", "1h ago"], "--to: '1h ago' must come after --from"),
        (["--from", "now", "--to", "in 1h", "--duration", "-1"], "give seconds from 0 to"),
        (["--from", "now", "--to", "in 1h", "--duration", "nan"], "give seconds from 0 to"),
        (["--from", "now", "--to", "in 1h", "--job", "nigthly"], "Did you mean 'nightly'?"),
        (["--from", "now", "--to", "in 1h", "--job", "\x00"], "There is no job"),
        (["--from", "now", "--to", "in 1h", "--nonsense"], "unrecognized arguments"),
    ],
)
def test_what_is_refused(clock, arguments, expected):
    make_job(name="nightly", schedule="@hourly")

    assert expected in refused(*arguments)


# --- As a process --------------------------------------------------------------------------------


def start(process_env: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "simulate", "--from", "2030-01-01", *arguments],
        env=process_env,
        **options,
    )


def test_a_reader_that_goes_away_ends_it_without_a_word(connection: Connection, process_env):
    make_job(name="a")
    process = start(process_env, "--to", "2030-03-01", stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout and process.stderr
    assert process.stdout.readline().startswith(b"2030-01-01T00:00:00+00:00  ran")
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(60) == 1
    process.stderr.close()


def test_ctrl_c_ends_it_with_a_word(connection: Connection, process_env):
    make_job(name="a")
    process = start(process_env, "--to", "2060-01-01", stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, b"CommandError: Stopped.\n")


def test_on_a_terminal_a_bar_shows_how_far_it_is_and_leaves_nothing_behind(
    connection: Connection, process_env
):
    make_job(name="a")
    master, slave = pty.openpty()
    process = start(
        process_env, "--to", "2030-01-20", "--summary", stdout=subprocess.PIPE, stderr=slave
    )
    os.close(slave)
    out, _ = process.communicate(timeout=120)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)

    assert process.returncode == 0
    assert b"1,641,600" in out
    assert b"\r[" in shown and b"%" in shown
    assert shown.endswith(b" \r")
