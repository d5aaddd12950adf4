"""S3: whose a job is, who may give it to whom, and what follows for verbs that reach many jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.contrib.admin import ModelAdmin, site
from django.contrib.auth.models import Group, Permission
from django.core.checks import ERROR, Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection as django_connection

from scheduler_app import checks, lifecycle
from scheduler_app.access import NotAllowed, RequestCaller, calling, visible
from scheduler_app.conf import read_config
from scheduler_app.lifecycle import CannotDo, Run, Selection
from scheduler_app.lifecycle.statistics import error_groups, first_failure_of
from scheduler_app.models import (
    AuditEntry,
    BulkOperation,
    Calendar,
    Execution,
    Job,
    JobRevision,
    Pause,
    Source,
    Status,
    Trigger,
)
from tests.web.admin_support import Browser
from tests.web.api_support import API, ApiClient, errors_of, make_execution, make_job

from .ownership_support import CANARY, OURS, THEIRS, browser, make_world, somebody
from .support import Somebody

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ownership")]

JOBS = "/admin/scheduler_app/job/"
EXECUTIONS = "/admin/scheduler_app/execution/"


@pytest.fixture
def ana() -> Any:
    """Of our group, with every right but that to everybody's jobs."""
    Group.objects.create(name=THEIRS)
    return somebody()


@pytest.fixture
def client(ana: Any) -> ApiClient:
    return browser(ana)


def names_for(user: Any) -> set[str]:
    with calling(Somebody(user)):
        return set(visible.jobs().values_list("name", flat=True))


def names_in(client: ApiClient) -> set[str]:
    return {one["name"] for one in client.get(f"{API}/jobs").json()["results"]}


# --- Whose ---


def test_s03_a_job_belongs_to_its_owner_and_to_the_groups_that_its_tags_name(ana: Any) -> None:
    eve = somebody("eve", groups=(THEIRS,))
    make_job(name="of our group", tags=[OURS, "nightly"])
    make_job(name="of both groups", tags=[THEIRS, OURS])
    make_job(name="ana's", owner=ana)
    make_job(name="ana's, of the others", owner=ana, tags=[THEIRS])
    make_job(name="of the others", tags=[THEIRS])
    make_job(name="nobody's", tags=["nightly"])

    assert names_for(ana) == {
        *("of our group", "of both groups", "ana's", "ana's, of the others"),
    }
    assert names_for(eve) == {"of both groups", "ana's, of the others", "of the others"}
    assert len(names_for(somebody("root", see_all=True))) == 6


def test_s03_who_is_in_no_group_sees_what_they_own_alone() -> None:
    loner = somebody("loner", groups=())
    make_job(tags=[])
    make_job(name="mine", owner=loner)

    assert names_for(loner) == {"mine"}


def test_s03_nobody_in_a_request_sees_nothing(rf: Any) -> None:
    make_job()
    with calling(RequestCaller(rf.get("/"))):
        assert not visible.jobs().exists()
        assert not visible.executions().exists()
        assert not visible.executions_by_id().exists()
        assert not visible.bulk_operations().exists()


def test_s03_off_is_as_if_there_were_no_groups(ana: Any, client: ApiClient, settings: Any) -> None:
    make_job(name="of the others", tags=[THEIRS])
    settings.SCHEDULER = {**settings.SCHEDULER, "ownership": "none"}

    assert names_in(client) == {"of the others"}
    assert client.post(f"{API}/jobs", new_job(tags=[THEIRS])).status_code == 201


def test_s03_another_word_than_none_and_tag_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="ownership must be one of none, tag, got 'all'"):
        read_config({"ownership": "all"})


def test_s03_a_token_sees_what_its_user_sees(ana: Any) -> None:
    make_job(name="ours", tags=[OURS])
    theirs = make_job(name="theirs", tags=[THEIRS])
    _, text = lifecycle.create_token(ana, "ci", scopes=["read"], by="ana")
    program = ApiClient(headers={"Authorization": f"Bearer {text}"})

    assert names_in(program) == {"ours"}
    assert program.get(f"{API}/jobs/{theirs.pk}").status_code == 404


def test_s03_a_deleted_job_s_history_stays_its_group_s(ana: Any, client: ApiClient) -> None:
    for group in (OURS, THEIRS):
        job = make_job(name=f"gone of {group}", tags=[group])
        make_execution(job)
        lifecycle.delete_jobs([job.pk], by="somebody")

    [execution] = client.get(f"{API}/executions").json()["results"]
    assert execution["job"]["name"] == f"gone of {OURS}"


def test_s03_commands_see_and_do_everything(ana: Any) -> None:
    make_job(name="theirs", tags=[THEIRS])
    out = StringIO()

    call_command("jobs", "list", stdout=out)

    assert "theirs" in out.getvalue()


# --- Giving a job to a group ---


def new_job(**fields: Any) -> dict[str, Any]:
    return {"name": "new", "target": "tests.testapp.tasks.echo", **fields}


def test_s03_nobody_gives_a_job_to_a_group_that_they_are_not_in(client: ApiClient) -> None:
    refused = client.post(f"{API}/jobs", new_job(tags=[THEIRS, "nightly"]))

    entry = errors_of(refused)["tags"]
    assert "you are not in theirs" in entry["message"]
    assert "choose among your groups (ours)" in entry["message"]
    assert not Job.objects.exists()


def test_s03_a_new_job_is_its_creator_s_and_any_other_tag_is_free(client: ApiClient) -> None:
    assert client.post(f"{API}/jobs", new_job(tags=["nightly"])).status_code == 201
    assert client.post(f"{API}/jobs", new_job(name="2", tags=[OURS])).status_code == 201
    assert names_in(client) == {"new", "2"}


@pytest.mark.parametrize("method", ["put", "patch"])
def test_s03_no_edit_takes_a_job_away_by_accident(client: ApiClient, method: str) -> None:
    job = make_job(name="new", tags=[OURS, "nightly"])
    given = new_job() if method == "put" else {"tags": ["nightly"]}

    refused = getattr(client, method)(f"{API}/jobs/new", given)

    assert "you would lose this job: keep one (ours)" in errors_of(refused)["tags"]["message"]
    job.refresh_from_db()
    assert job.tags == [OURS, "nightly"]


def test_s03_an_owner_may_take_it_back_from_the_group(ana: Any, client: ApiClient) -> None:
    make_job(name="mine", tags=[OURS], owner=ana)

    assert client.patch(f"{API}/jobs/mine", {"tags": []}).status_code == 200
    assert names_in(client) == {"mine"}


def test_s03_tags_that_others_gave_stay_and_are_not_asked_for(client: ApiClient) -> None:
    make_job(name="both", tags=[OURS, THEIRS])

    edited = client.patch(f"{API}/jobs/both", {"tags": [THEIRS, OURS, "nightly"]})

    assert edited.status_code == 200, edited.content


def test_s03_the_form_says_the_same(ana: Any) -> None:
    job = make_job(name="report", tags=[OURS])
    person = Browser.of(ana)
    person.open(f"{JOBS}{job.pk}/change/")
    assert "yours are ours" in person.page.text

    person.press("Save", tags="nightly")
    assert "you would lose this job" in str(person.errors["tags"])

    person.press("Save", tags=f"{OURS}, {THEIRS}")
    assert "you are not in theirs" in str(person.errors["tags"])

    person.press("Save", tags=f"{OURS}, nightly")
    job.refresh_from_db()
    assert job.tags == [OURS, "nightly"]


def test_s03_the_verb_refuses_whatever_view_forgot(ana: Any) -> None:
    job = make_job(tags=[OURS])
    with calling(Somebody(ana)):
        with pytest.raises(NotAllowed, match="not in theirs"):
            lifecycle.save_job(Job(**new_job(tags=[THEIRS])), by="ana")
        job.tags = [THEIRS]
        with pytest.raises(NotAllowed, match="not in theirs"):
            lifecycle.save_job(job, by="ana")
        job.tags = []
        with pytest.raises(NotAllowed, match="lose this job"):
            lifecycle.save_job(job, by="ana")


# --- Names are unique among all ---


@pytest.mark.parametrize("method", ["post", "put"])
def test_s03_a_name_that_is_taken_is_all_that_one_learns(client: ApiClient, method: str) -> None:
    make_job(name="taken", tags=[THEIRS], description=CANARY, schedule="17 3 * * *")
    where = f"{API}/jobs" if method == "post" else f"{API}/jobs/taken"

    refused = getattr(client, method)(where, new_job(name="taken"))

    assert errors_of(refused)["name"]["message"] == "There is a job with this name already."
    assert CANARY not in refused.content.decode()
    assert "17 3" not in refused.content.decode()
    assert client.get(f"{API}/jobs/taken").status_code == 404
    assert client.patch(f"{API}/jobs/taken", {}).status_code == 404


# --- By ids and names within requests ---


def test_s03_another_s_job_is_no_job_in_a_body_or_a_query(client: ApiClient) -> None:
    theirs = make_job(name="theirs", tags=[THEIRS])
    make_execution(theirs)
    before = AuditEntry.objects.count()

    for ref in (theirs.pk, "theirs"):
        for answer, code in (
            (client.get(f"{API}/executions?job={ref}"), 404),
            (client.get(f"{API}/executions/latest?job={ref}"), 404),
            (client.get(f"{API}/audit?job={ref}"), 404),
            (client.post(f"{API}/bulk/jobs/pause", {"jobs": [ref]}), 400),
            (client.post(f"{API}/bulk/jobs/run", {"jobs": [ref]}), 400),
            (client.post(f"{API}/bulk/jobs/run", {"runs": [{"job": ref}]}), 400),
            (client.post(f"{API}/bulk/executions/retry", {"filter": {"job": [ref]}}), 400),
            (client.post(f"{API}/schedules/preview", {"job": ref}), 400),
        ):
            assert answer.status_code == code, (answer.request, answer.content)
            assert "There is no job" in answer.content.decode()
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize(
    "where",
    [
        f"{EXECUTIONS}?job={{job}}",
        f"{EXECUTIONS}bulk/?verb=retry&job={{job}}",
        "/admin/scheduler_app/gap/?job={job}",
        f"{EXECUTIONS}?q=%3D{{execution}}",
        "/admin/scheduler_app/auditentry/?q=%3D{job}",
    ],
)
def test_s03_an_id_in_a_query_of_a_page_tells_no_name(where: str, ana: Any) -> None:
    job = make_job(name=CANARY, tags=[THEIRS])
    execution = make_execution(job, status="failed")

    page = Browser.of(ana).open(where.format(job=job.pk, execution=execution.pk))

    assert CANARY not in page.html


def test_s03_a_filter_chooses_among_one_s_own(client: ApiClient) -> None:
    ours = make_job(name="our report", tags=[OURS, "nightly"])
    make_job(name="their report", tags=[THEIRS, "nightly"])

    found = client.post(f"{API}/bulk/jobs/pause", {"filter": {"tag": "nightly"}}).json()

    assert found["changed"] == [ours.pk]
    assert found["names"] == ["our report"]
    assert Job.objects.filter(paused_at=None).get().name == "their report"


def test_s03_an_action_of_the_list_on_another_s_job_does_nothing(ana: Any) -> None:
    theirs = make_job(tags=[THEIRS])
    execution = make_execution(theirs, status=Status.READY)
    person = Browser.of(ana)

    for where, action, pk in (
        (JOBS, "run_selected", theirs.pk),
        (JOBS, "delete_selected", theirs.pk),
        (EXECUTIONS, "cancel_selected", execution.pk),
    ):
        person.post(where, action=action, _selected_action=str(pk), post="yes")

    assert Execution.objects.get().status == Status.READY
    assert Job.objects.count() == 1


def test_s03_another_s_execution_lends_no_arguments(ana: Any) -> None:
    ours = make_job(tags=[OURS])
    theirs = make_job(tags=[THEIRS], arguments={"args": [CANARY]})
    person = Browser.of(ana)

    page = person.open(f"{JOBS}{ours.pk}/run/?execution={make_execution(theirs).pk}")

    assert CANARY not in page.html
    person.client.get(f"{JOBS}assist/?job={theirs.pk}")
    assert person.client.post(f"{JOBS}assist/?job={theirs.pk}").status_code in (403, 404)


def test_s03_the_verb_that_runs_jobs_leaves_another_s_out(ana: Any) -> None:
    ours, theirs = make_job(tags=[OURS]), make_job(tags=[THEIRS])
    mine = make_job(owner=ana)
    with calling(Somebody(ana)):
        ran = lifecycle.run_now([ours.pk, theirs.pk, mine.pk], by="ana")
        with pytest.raises(CannotDo, match="nothing was run"):
            lifecycle.run_many([Run(ours.pk), Run(theirs.pk)], by="ana")
        with pytest.raises(CannotDo) as refused:
            lifecycle.run_many([Run(theirs.pk, {"nope": CANARY})], by="ana")

    assert theirs.name not in str(refused.value)
    assert {one.job_id for one in ran} == {ours.pk, mine.pk}
    assert Execution.objects.count() == 2


def test_s03_what_was_done_to_shared_things_is_told_to_who_sees_all(ana: Any) -> None:
    calendar = lifecycle.save_calendar(Calendar(name="holidays"), by=CANARY)
    where = f"/admin/scheduler_app/calendar/{calendar.pk}/history/"

    assert CANARY not in browser(ana).get(where).content.decode()
    assert CANARY in browser(somebody("eve", see_all=True)).get(where).content.decode()


def test_s03_the_form_saves_no_job_that_was_given_away_before_it_is_locked(
    ana: Any, rf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tags=[OURS])

    def given_away(*_: Any) -> Job:
        Job.objects.filter(pk=job.pk).update(tags=[THEIRS])
        return job

    form = site._registry[Job]
    with calling(Somebody(ana)):
        assert form.get_object(rf.get("/"), str(job.pk)) == job
        monkeypatch.setattr(ModelAdmin, "get_object", given_away)
        assert form.get_object(rf.get("/"), str(job.pk)) is None


# --- Without the middleware ---


def test_s03_who_calls_is_known_to_the_api_without_the_middleware(ana: Any, settings: Any) -> None:
    make_job(name="ours", tags=[OURS])
    theirs = make_job(name="theirs", tags=[THEIRS])
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.MIDDLEWARE]
    client = browser(ana)

    assert names_in(client) == {"ours"}
    assert client.post(f"{API}/jobs/{theirs.pk}/run", {}).status_code == 404
    assert CANARY not in client.get(f"{API}/jobs", headers={"Accept": "text/html"}).content.decode()
    assert client.post(f"{API}/jobs/ours/run", {}).status_code == 202
    assert AuditEntry.objects.latest("id").source == Source.API


def test_s03_settings_without_the_middleware_are_an_error(settings: Any) -> None:
    assert run_checks(tags=[Tags.security]) == []
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.MIDDLEWARE]

    [found] = run_checks(tags=[Tags.security])

    assert (found.id, found.level) == ("scheduler_app.E002", ERROR)
    assert checks.MIDDLEWARE in str(found.hint)


# --- Everything that matches ---


@pytest.fixture
def connection(db: None) -> Iterator[psycopg.Connection[Any]]:
    """As a node has it, within the test's transaction."""
    django_connection.ensure_connection()
    yield django_connection.connection


def failures() -> tuple[Execution, Execution]:
    ours, theirs = make_job(tags=[OURS]), make_job(tags=[THEIRS])
    return make_execution(ours, status="failed"), make_execution(theirs, status="failed")


def test_s03_a_bulk_operation_counts_and_changes_one_s_own(client: ApiClient) -> None:
    ours, theirs = failures()
    body = {"filter": {"status": ["failed"]}}

    counted = client.post(f"{API}/bulk/executions/retry", {**body, "dry_run": True}).json()
    done = client.post(f"{API}/bulk/executions/retry", body).json()

    assert counted == {"suitable": 1, "is_capped": False, "refused": {}}
    assert (done["expected"], done["changed"]) == (1, 1)
    ours.refresh_from_db()
    theirs.refresh_from_db()
    assert (ours.status, theirs.status) == (Status.READY, Status.FAILED)


def test_s03_what_a_bulk_operation_refuses_is_counted_of_one_s_own(client: ApiClient) -> None:
    ours, theirs = make_job(tags=[OURS]), make_job(tags=[THEIRS])
    for job in (ours, theirs, theirs):
        make_execution(job)
    body = {"filter": {"since": "2020-01-01T00:00:00Z"}, "dry_run": True}

    counted = client.post(f"{API}/bulk/executions/retry", body).json()

    assert counted["refused"] == {"succeeded": 1}


def test_s03_nodes_go_on_with_what_its_starter_sees(
    ana: Any, connection: psycopg.Connection[Any]
) -> None:
    ours, theirs = failures()
    with calling(Somebody(ana)):
        lifecycle.start_bulk(
            uuid4(), "cancel", Selection(statuses=("ready",)), by="ana", budget_s=0
        )
    Execution.objects.update(status=Status.READY, finished_at=None, node=None)
    BulkOperation.objects.update(finished_at=None)

    while lifecycle.do_bulk_chunk(connection):
        pass

    ours.refresh_from_db()
    theirs.refresh_from_db()
    assert (ours.status, theirs.status) == (Status.CANCELLED, Status.READY)


def test_s03_whose_jobs_is_not_for_the_form_to_say(ana: Any) -> None:
    _, theirs = failures()
    person = Browser.of(ana)
    person.open(f"{EXECUTIONS}bulk/?verb=retry&status=failed")
    for view in (None, {"user": "1", "groups": [THEIRS]}):
        selection = {"statuses": ["failed"], **({"view": view} if view else {})}
        person.post(
            f"{EXECUTIONS}bulk/", key=str(uuid4()), verb="retry", selection=json.dumps(selection)
        )

    theirs.refresh_from_db()
    assert theirs.status == Status.FAILED
    assert {one.selection["view"]["user"] for one in BulkOperation.objects.all()} == {str(ana.pk)}


def test_s03_a_refused_bulk_operation_names_no_target_of_another_s(ana: Any) -> None:
    ours, theirs = make_job(tags=[OURS]), make_job(tags=[THEIRS], target=f"{CANARY}.secret_task")
    failed = make_execution(theirs, status="failed")
    ana.user_permissions.remove(*Permission.objects.filter(codename__startswith="use_"))
    person = Browser.of(ana)
    person.open(f"{EXECUTIONS}bulk/?verb=retry&status=failed")

    def ask(*jobs: int) -> str:
        selection = json.dumps({"jobs": jobs})
        where = f"{EXECUTIONS}bulk/"
        answer = person.post(where, key=str(uuid4()), verb="retry", selection=selection)
        assert CANARY not in answer.content.decode()
        # A refusal is a message on the list.
        assert answer.status_code == 302
        return person.open(answer["Location"]).html

    assert CANARY not in ask(theirs.pk)
    [operation] = BulkOperation.objects.all()
    assert (operation.selection["jobs"], operation.expected) == ([], 0)
    refused = ask(ours.pk, theirs.pk)
    assert "tests.testapp.tasks" in refused and "this needs the permission" in refused
    assert CANARY not in refused
    failed.refresh_from_db()
    assert failed.status == Status.FAILED


def test_s03_a_group_of_failures_holds_one_s_own_alone(ana: Any, client: ApiClient) -> None:
    ours, theirs = make_world(OURS), make_world(THEIRS)
    Execution.objects.filter(status="failed").update(error="the same")
    Execution.objects.filter(pk=theirs.execution.pk).update(
        scheduled_for=ours.execution.scheduled_for - timedelta(hours=1)
    )
    with calling(Somebody(ana)):
        [group] = error_groups(timedelta(days=1)).groups
        first_at = first_failure_of(group)
    assert group.execution_ids == [ours.execution.pk]
    assert first_at == ours.execution.scheduled_for

    person = Browser.of(ana)
    person.open(f"{EXECUTIONS}bulk/?verb=retry&failure={group.fingerprint}")
    person.press("Retry 1 execution")

    theirs.execution.refresh_from_db()
    ours.execution.refresh_from_db()
    assert theirs.execution.status == Status.FAILED
    assert ours.execution.status != Status.FAILED


# --- What is shared ---


@pytest.mark.parametrize(
    ("scope", "value", "allowed"),
    [
        ("tag", OURS, True),
        ("tag", THEIRS, False),
        ("tag", "nightly", False),
        ("queue", "default", False),
        ("all", "", False),
    ],
)
def test_s03_one_pauses_the_tag_of_a_group_of_one_s_own(
    scope: str, value: str, allowed: bool, client: ApiClient
) -> None:
    body = {"scope": scope, **({"value": value} if value else {})}

    answer = client.post(f"{API}/pauses", body)

    assert answer.status_code == (201 if allowed else 403), answer.content
    assert Pause.objects.exists() == allowed
    if not allowed:
        assert "see_all_jobs" in answer.json()["detail"]
        assert "(ours)" in answer.json()["detail"]


def test_s03_a_pause_that_holds_one_s_jobs_is_seen_and_not_ended(
    ana: Any, client: ApiClient
) -> None:
    make_job(tags=[OURS, "nightly"], queue="mail")
    for scope, value in (("all", ""), ("queue", "mail"), ("tag", "nightly"), ("tag", OURS)):
        lifecycle.pause_scope(scope, value, by="somebody")
    for scope, value in (("queue", "reports"), ("tag", THEIRS)):
        lifecycle.pause_scope(scope, value, by="somebody")

    seen = client.get(f"{API}/pauses").json()["results"]
    assert {(one["scope"], one["value"]) for one in seen} == {
        *(("all", ""), ("queue", "mail"), ("tag", "nightly"), ("tag", OURS)),
    }
    for one in seen:
        own = one["value"] == OURS
        for body in ({"dry_run": True}, {}):
            answer = client.post(f"{one['url']}/resume", body)
            assert answer.status_code == (200 if own else 403)
        page = client.get(f"/admin/scheduler_app/pause/{one['id']}/resume/")
        assert page.status_code == (200 if own else 403)
    assert Pause.objects.filter(ended_at=None).count() == 5


def test_s03_the_form_of_pauses_says_what_one_may_pause(ana: Any) -> None:
    person = Browser.of(ana)
    person.open("/admin/scheduler_app/pause/add/")

    page = person.press("Pause", scope="queue", value="default")

    assert person.status == 200
    assert "Pause single jobs, or the tag of one of your groups (ours)" in page.text


def test_s03_days_that_another_s_job_follows_are_not_one_s_own(client: ApiClient) -> None:
    calendar = Calendar.objects.create(name="holidays", days="2030-12-24")
    make_job(name="ours", tags=[OURS], calendar=calendar)
    where = f"{API}/calendars/{calendar.pk}"
    assert client.patch(where, {"days": "2030-12-25"}).status_code == 200
    assert client.patch(where, {"name": "feasts"}).status_code == 200

    make_job(name="theirs", tags=[THEIRS], calendar=calendar)

    assert client.get(where).json()["jobs"] == ["ours"]
    assert client.patch(where, {"days": "2030-12-26"}).status_code == 403
    assert client.patch(where, {"name": "holidays"}).status_code == 403
    assert client.delete(where).status_code == 403
    assert client.patch(where, {"description": "of the town"}).status_code == 200
    calendar.refresh_from_db()
    assert (calendar.name, calendar.days) == ("feasts", "2030-12-25")


def test_s03_tasks_of_no_job_are_for_who_sees_all_and_test_runs_for_who_asked(
    ana: Any, client: ApiClient
) -> None:
    enqueued = make_execution(None, trigger=Trigger.TASK, spec={"name": CANARY})
    with calling(Somebody(ana)):
        own = lifecycle.try_out(Job(**new_job()), by="ana")
        others = lifecycle.try_out(Job(**new_job()), by="eve")

    assert client.get(f"{API}/executions").json()["results"] == []
    for execution, code in ((enqueued, 404), (others, 404), (own, 200)):
        assert client.get(f"{API}/executions/{execution.pk}").status_code == code
        assert client.get(f"{API}/executions/{execution.pk}/log").status_code == code
        assert client.get(f"{EXECUTIONS}{execution.pk}/change/").status_code == code
        assert client.get(f"{EXECUTIONS}{execution.pk}/log/more/").status_code == code


def test_s03_an_idempotency_key_gives_back_what_was_said_to_its_user_alone(
    ana: Any, client: ApiClient
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post(f"{API}/jobs", new_job(tags=[OURS]), headers=headers)
    eve = browser(somebody("eve", groups=(THEIRS,)))

    other = eve.post(f"{API}/jobs", new_job(tags=[OURS]), headers=headers)

    assert first.status_code == 201
    assert errors_of(other)["tags"]
    assert JobRevision.objects.count() == 1
