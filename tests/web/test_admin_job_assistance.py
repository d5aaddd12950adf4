"""What the job's form tells and offers before anything is saved: what the schedule means, fields for arguments, a test run."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_app import lifecycle
from scheduler_app.admin.display import per_day
from scheduler_app.admin.typed_arguments import Unfit, texts_of, typed_arguments
from scheduler_app.lifecycle import same_seconds
from scheduler_app.models import AuditEntry, Calendar, Execution, Job, JobPlan, Status, database_now

from .admin_support import (
    AUTHOR,
    JOBS,
    OPERATOR,
    Browser,
    Page,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db

TASKS = "tests.testapp.tasks"


@pytest.fixture
def author() -> Browser:
    return Browser(*AUTHOR)


def add_page(browser: Browser) -> Page:
    return browser.open(f"{JOBS}add/")


# --- What the schedule means ------------------------------------------------------------------


def preview(browser: Browser, **values: Any) -> str:
    return browser.press("Preview the schedule", **values).main


def test_a_preview_without_a_script_tells_what_the_schedule_means_and_saves_nothing(
    author: Browser,
) -> None:
    add_page(author)

    text = preview(author, schedule="30 2 * * *", timezone="Europe/Berlin")

    assert "At 02:30 every day (Europe/Berlin)" in text
    assert "1 run a day" in text
    assert "does not exist in Europe/Berlin" in text and "comes twice" in text
    assert text.count("02:30:00 +0") >= 9
    assert not Job.objects.exists()


def test_the_part_of_the_schedule_that_is_wrong_is_named(author: Browser) -> None:
    add_page(author)

    text = preview(author, schedule="61 * * * *")

    assert "Schedule : minute" in text and "61" in text


def test_what_an_edit_changes_stands_beside_what_was(author: Browser) -> None:
    now = database_now()
    other = make_job(name="the other one", schedule="0 * * * *")
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    JobPlan.objects.filter(job=other).update(dirty=False, next_fire_at=hour)
    job = make_job(schedule="0 0 * * *")
    make_execution(job, status=Status.READY)
    make_execution(job, status=Status.RUNNING, node=make_node(), trigger="manual")
    author.open(f"{JOBS}{job.pk}/change/")
    assert "Before this edit" not in author.page.main

    text = preview(author, schedule="0 * * * *")

    assert "24 runs a day instead of 1 run a day" in text
    assert "Before this edit" in text and "After it" in text
    assert "1 other job: the other one" in text
    assert "1 running, 1 waiting. They keep the definition" in text
    job.refresh_from_db()
    assert job.schedule == "0 0 * * *"


@pytest.mark.parametrize(
    ("bound", "value", "words"),
    [
        ("COUNTED_TO", 1, "At least 1 other job: the other one"),
        ("ASKED", 0, "None of the jobs that were asked"),
    ],
)
def test_where_not_all_other_jobs_can_be_asked_the_preview_says_so(
    bound: str, value: int, words: str, author: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_job(name="the other one", schedule="0 * * * *")
    JobPlan.objects.filter(job=other).update(dirty=False, next_fire_at=database_now())
    monkeypatch.setattr(same_seconds, bound, value)
    add_page(author)

    text = preview(author, schedule="0 * * * *")
    assert words in text
    assert "They are too many, or too different, to ask all" in text


def test_a_calendar_and_a_jitter_show_in_the_preview(author: Browser) -> None:
    tomorrow = (database_now() + timedelta(days=1)).date()
    calendar = Calendar.objects.create(name="closing days", days=str(tomorrow))
    add_page(author)

    text = preview(author, name="a", schedule="0 0 * * *", calendar=calendar.pk, jitter_s=3600)

    assert "does not run: closed by calendar closing days" in text


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0, "no run in the next 30 days"),
        (1 / 30, "one run in 30 days"),
        (0.5, "one run in 2 days"),
        (1, "1 run a day"),
        (1.5, "1.5 runs a day"),
        (24, "24 runs a day"),
        (86400, "86,400 runs a day"),
    ],
)
def test_how_often_in_words(rate: float, words: str) -> None:
    assert per_day(rate) == words


# --- What the script asks for -----------------------------------------------------------------


def assist(browser: Browser, query: str = "", **values: Any) -> Any:
    data = {"kind": "task", "timezone": "UTC", **values}
    return browser.post(f"{JOBS}assist/{query}", **data)


def test_the_script_is_told_the_same_as_the_page(author: Browser) -> None:
    answer = assist(author, schedule="*/7 * * * *", _preview="1").content.decode()

    assert "A step of 7 in the minute starts again each hour" in answer
    assert Page("", answer).refused == []


def test_the_script_gets_the_fields_of_a_task(author: Browser) -> None:
    answer = assist(author, target=f"{TASKS}.add", schedule="@manual", _fields="1").content.decode()

    assert "The sum of two numbers." in answer
    assert 'name="arg_a"' in answer and 'name="arg_b"' in answer


@pytest.mark.parametrize(
    ("rights", "own", "foreign"),
    [(("view_job", "add_job"), 200, 403), (("view_job", "change_job"), 403, 200)],
)
def test_only_who_could_save_is_told(rights: tuple[str, ...], own: int, foreign: int) -> None:
    job = make_job()
    browser = Browser(*rights)

    assert assist(browser, schedule="@daily").status_code == own
    assert assist(browser, f"?job={job.pk}", schedule="@daily").status_code == foreign
    assert browser.client.get(f"{JOBS}assist/").status_code == 405
    assert assist(browser, "?job=99999999", schedule="@daily").status_code in (403, 404)


def test_a_preview_costs_the_same_however_much_waits(author: Browser) -> None:
    job = make_job(schedule="@hourly")
    author.open(f"{JOBS}{job.pk}/change/")
    form = {**dict(author.page.form_of("schedule").values), "_preview": "1"}

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            answer = author.client.post(f"{JOBS}assist/?job={job.pk}", form)
        assert answer.status_code == 200
        return len(captured)

    few = cost()
    for _ in range(30):
        make_execution(job, status=Status.READY, trigger="manual")

    assert cost() == few


# --- Arguments as fields ----------------------------------------------------------------------


def test_a_job_is_added_with_arguments_in_fields_of_the_signature(author: Browser) -> None:
    add_page(author)
    page = author.press("Show its fields", name="sums", target=f"{TASKS}.add")
    assert "The sum of two numbers." in page.main and not Job.objects.exists()
    assert "1 unless given" in page.html

    author.press("Save", arg_a="5")

    job = Job.objects.get()
    assert job.arguments == {"a": 5}
    page = author.open(f"{JOBS}{job.pk}/change/")
    assert dict(page.form_of("schedule").values)["arg_a"] == "5"
    author.press("Save", arg_b="-2")
    job.refresh_from_db()
    assert job.arguments == {"a": 5, "b": -2}


def test_who_has_only_chosen_a_task_is_not_told_what_is_missing(author: Browser) -> None:
    for asked in ("_fields", "_preview"):
        answer = assist(author, target=f"{TASKS}.add", schedule="@manual", **{asked: "1"})
        arguments = answer.content.decode().partition('id="preview-body"')[0]
        assert 'name="arg_a"' in arguments and "errorlist" not in arguments
    add_page(author)

    page = author.press("Show its fields", target=f"{TASKS}.add")

    assert author.errors == {} and "Please correct" not in page.main


def test_another_kind_is_no_submission(author: Browser) -> None:
    add_page(author)

    page = author.press("Show its fields", name="shop", kind="http")

    assert author.errors == {} and "Please correct" not in page.main
    assert "arg_method" in dict(page.form_of("schedule").values)
    author.press("Save")
    assert "required" in author.errors["target"][0]


EVERY_TYPE = {
    "flag": "false",
    "kind": '"y"',
    "day": "2030-01-31",
    "price": "9.90",
    "size": '"large"',
    "tags": "one\ntwo words",
    "at": "2030-01-31 09:00",
    "ref": "123e4567-e89b-12d3-a456-426614174000",
}


def test_every_type_has_its_input_and_goes_into_the_json_as_the_task_takes_it(
    author: Browser,
) -> None:
    add_page(author)
    page = author.press("Show its fields", name="types", target=f"{TASKS}.take_every_type")
    values = dict(page.form_of("schedule").values)
    assert (values["arg_flag"], values["arg_kind"]) == ("", ""), "nobody has chosen"

    author.press("Save")
    assert {"arg_flag", "arg_kind", "arg_day", "arg_price"} <= author.errors.keys()
    author.press("Save", **{f"arg_{name}": text for name, text in EVERY_TYPE.items()})

    job = Job.objects.get()
    assert job.arguments == {
        **EVERY_TYPE,
        "flag": False,
        "kind": "y",
        "size": "large",
        "tags": ["one", "two words"],
    }
    values = dict(author.open(f"{JOBS}{job.pk}/change/").form_of("schedule").values)
    assert {name: values[f"arg_{name}"] for name in EVERY_TYPE} == EVERY_TYPE


@pytest.mark.parametrize(
    ("name", "text"), [("day", "31.1.2030"), ("price", "dear"), ("at", "noon"), ("ref", "7")]
)
def test_a_text_that_is_not_of_the_type_is_refused_at_its_field(
    author: Browser, name: str, text: str
) -> None:
    add_page(author)
    author.press("Show its fields", name="types", target=f"{TASKS}.take_every_type")

    author.press(
        "Save", **{f"arg_{name}": text for name, text in (EVERY_TYPE | {name: text}).items()}
    )

    assert "does not fit. Write it as" in author.errors[f"arg_{name}"][0]


@pytest.mark.parametrize(
    ("values", "field", "problem"),
    [
        ({"arg_a": "many"}, "arg_a", "'many' is not a whole number"),
        ({"arg_a": ""}, "arg_a", "required"),
        ({"arg_a": "1.5"}, "arg_a", "is not a whole number"),
    ],
)
def test_what_does_not_fit_a_field_is_said_there(
    author: Browser, values: dict[str, str], field: str, problem: str
) -> None:
    add_page(author)
    author.press("Show its fields", name="sums", target=f"{TASKS}.add")

    author.press("Save", **values)

    assert problem in author.errors[field][0]
    assert not Job.objects.exists()


def test_json_is_the_way_that_always_works(author: Browser) -> None:
    job = make_job(target=f"{TASKS}.add", arguments={"a": 1})
    author.open(f"{JOBS}{job.pk}/change/")

    author.press("Save", arguments_as="json", arguments="[3, 4]")

    job.refresh_from_db()
    assert job.arguments == [3, 4]
    values = dict(author.open(f"{JOBS}{job.pk}/change/").form_of("schedule").values)
    assert (values["arguments_as"], values["arg_a"]) == ("json", "")


def test_fields_of_another_task_are_shown_and_not_saved(author: Browser) -> None:
    job = make_job(target=f"{TASKS}.add", arguments={"a": 1})
    author.open(f"{JOBS}{job.pk}/change/")

    page = author.press("Save", target=f"{TASKS}.echo", arg_a="7")

    assert "Its fields are shown now" in author.errors["arguments"][0]
    assert "arg_value" in dict(page.form_of("schedule").values)
    author.press("Save", arg_value='"north"')
    job.refresh_from_db()
    assert (job.target, job.arguments) == (f"{TASKS}.echo", {"value": "north"})


def test_what_the_fields_say_is_shown_as_json_too(author: Browser) -> None:
    add_page(author)
    author.press("Show its fields", target=f"{TASKS}.add", arguments='{"a": 4}')
    assert dict(author.page.form_of("schedule").values)["arg_a"] == "4"

    page = author.press("Show its fields", arg_a="9", arg_b="3")

    assert '"a": 9' in dict(page.form_of("schedule").values)["arguments"]


def test_who_switches_finds_on_the_other_side_what_was_typed(author: Browser) -> None:
    add_page(author)
    author.press("Show its fields", target=f"{TASKS}.add", arguments='{"a": 4}')
    values = dict(author.page.form_of("schedule").values)

    def switched(**changes: str) -> dict[str, str]:
        answer = author.client.post(f"{JOBS}assist/", {**values, **changes, "_fields": "switched"})
        page = Page("", f"<form>{answer.content.decode()}</form>")
        return dict(page.form_of("arguments").values)

    to_json = switched(arguments_as="json", arg_a="7", arg_b="2")
    assert to_json["arguments_as"] == "json"
    assert json.loads(to_json["arguments"]) == {"a": 7, "b": 2}
    to_fields = switched(arguments_as="fields", arguments='{"b": 5}', arg_a="7")
    assert (to_fields["arguments_as"], to_fields["arg_a"], to_fields["arg_b"]) == (
        "fields",
        "",
        "5",
    )
    # A list has no names that the fields could show.
    assert switched(arguments_as="fields", arguments="[1]")["arguments_as"] == "json"


def test_a_request_has_fields_whose_secrets_stay_hidden(author: Browser) -> None:
    job = make_job(
        kind="http",
        target="https://example.org/a",
        arguments={"method": "POST", "headers": {"Authorization": "Bearer s3cr3t", "A": "b"}},
    )
    page = author.open(f"{JOBS}{job.pk}/change/")
    assert "s3cr3t" not in page.html
    values = dict(page.form_of("schedule").values)
    assert values["arg_headers"] == "A: b\nAuthorization: ********"

    author.press(
        "Save",
        arg_headers=values["arg_headers"].replace("A: b", "A: c"),
        arg_body='{"x": [1]}',
        arg_expected_status="200, 300-399",
    )

    job.refresh_from_db()
    assert job.arguments == {
        "method": "POST",
        "headers": {"Authorization": "Bearer s3cr3t", "A": "c"},
        "body": {"x": [1]},
        "expected_status": [200, "300-399"],
    }


@pytest.mark.parametrize(
    ("kind", "target", "arguments"),
    [
        ("task", f"{TASKS}.add", {"a": 2**70, "b": -1}),
        ("task", f"{TASKS}.echo", {"value": [1, {"x": None}]}),
        ("task", f"{TASKS}.note", {"path": "/tmp/x", "text": "two\nlines "}),
        ("task", f"{TASKS}.note_slowly", {"path": "", "seconds": 0.5}),
        ("task", f"{TASKS}.note_slowly", {"path": "p", "seconds": 2}),
        ("http", "https://example.org", {"body": "plain", "connect_timeout_s": 1.5}),
        ("http", "https://example.org", {"expected_status": "200-299"}),
        ("management", "say", {"args": ["a", ""], "options": {"verbosity": 2}}),
    ],
)
def test_fields_mean_exactly_what_they_were_made_from(
    kind: str, target: str, arguments: Any
) -> None:
    typed = typed_arguments(kind, target)
    by_name = {one.name: one for one in typed}

    texts = texts_of(typed, arguments)

    assert {name: by_name[name].value_of(text) for name, text in texts.items()} == arguments


@pytest.mark.parametrize(
    ("kind", "target", "arguments"),
    [
        ("task", f"{TASKS}.add", [1, 2]),
        ("task", f"{TASKS}.add", {"a": "1"}),
        ("task", f"{TASKS}.add", {"a": True}),
        ("task", f"{TASKS}.add", {"c": 1}),
        ("task", f"{TASKS}.note", {"path": "a\r\nb"}),
        ("task", f"{TASKS}.take_every_type", {"kind": "z"}),
        ("task", f"{TASKS}.take_every_type", {"price": 9.9}),
        ("task", f"{TASKS}.take_every_type", {"tags": []}),
        ("http", "https://example.org", {"body": '{"looks": "like JSON"}'}),
        ("http", "https://example.org", {"headers": {"A": " padded "}}),
        ("http", "https://example.org", {"headers": {"A": 1}}),
        ("http", "https://example.org", "text"),
    ],
)
def test_what_fields_cannot_say_exactly_is_left_to_json(
    kind: str, target: str, arguments: Any
) -> None:
    with pytest.raises(Unfit):
        texts_of(typed_arguments(kind, target), arguments)


# --- The test run -----------------------------------------------------------------------------


@pytest.fixture
def tester() -> Browser:
    return Browser(*AUTHOR, *OPERATOR, name="tess")


def test_a_test_run_runs_what_the_form_says_and_saves_no_job(tester: Browser) -> None:
    add_page(tester)

    page = tester.press(
        "Test run", target=f"{TASKS}.add", arguments='{"a": 5}', schedule="nonsense"
    )

    execution = Execution.objects.get()
    assert f"execution {execution.pk}" in page.links
    assert (execution.job, execution.trigger, execution.status) == (None, "test", "ready")
    assert execution.spec["target"] == f"{TASKS}.add" and execution.spec["arguments"] == {"a": 5}
    assert execution.spec["max_attempts"] == 1
    assert execution.requested_by == "tess"
    assert not Job.objects.exists()
    assert AuditEntry.objects.get().verb == "job.test"


def test_a_test_run_of_an_edit_keeps_secrets_and_leaves_the_job_alone(tester: Browser) -> None:
    job = make_job(arguments={"value": {"token": "s3cr3t", "size": 1}}, name="nightly")
    tester.open(f"{JOBS}{job.pk}/change/")

    tester.press("Test run", arg_value='{"token": "********", "size": 2}')

    execution = Execution.objects.get()
    assert execution.spec["arguments"] == {"value": {"token": "s3cr3t", "size": 2}}
    assert execution.spec["name"] == "Test of nightly"
    job.refresh_from_db()
    assert (job.arguments["value"]["size"], job.version) == (1, 1)
    assert "s3cr3t" not in str(AuditEntry.objects.get(verb="job.test").changes)
    tester.open(f"/admin/scheduler_app/execution/{execution.pk}/change/")
    assert "Test of nightly" in tester.page.main and "Test run" in tester.page.main


@pytest.mark.parametrize(
    "values", [{"target": "os.system"}, {"arguments": "{"}, {"timeout_s": "0"}, {"target": ""}]
)
def test_what_cannot_run_is_not_tried(tester: Browser, values: dict[str, str]) -> None:
    add_page(tester)

    page = tester.press("Test run", **{"target": f"{TASKS}.echo", **values})

    assert "Not run. Please correct first" in page.main
    assert not Execution.objects.exists()


def test_a_test_run_needs_the_right_to_run(author: Browser) -> None:
    page = add_page(author)
    assert "Test run" not in [button.text for button in page.buttons]
    values = dict(page.form_of("schedule").values)

    answer = author.client.post(f"{JOBS}add/", {**values, "target": f"{TASKS}.echo", "_test": "1"})

    assert answer.status_code == 403
    assert not Execution.objects.exists()


def test_a_target_that_cannot_work_is_refused_by_the_verb_as_well() -> None:
    with pytest.raises(lifecycle.CannotDo, match="No task is registered"):
        lifecycle.try_out(Job(target="os.system"), by="ana")
