"""S3: what lists, counts, searches and charts tell of another group's jobs: nothing, not even that there are some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import site
from django.db import transaction
from django.test import Client
from django.urls import reverse

import scheduler_app
from scheduler_app.access import calling, ownership, visible
from scheduler_app.admin.base import SchedulerAdmin
from scheduler_app.lifecycle import statistics
from scheduler_app.lifecycle.panorama import active_jobs
from scheduler_app.models import JobPlan, database_now
from tests.web.api_support import make_execution, make_planned_job, statements

from .ownership_support import CANARY, OURS, THEIRS, World, browser, make_world, somebody
from .routes_support import Route
from .support import Somebody
from .test_s02_matrix import ALL, NOBODY, QUERIES, row_of
from .test_s03_matrix import WITHOUT_OBJECT, trace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ownership")]

TELLS = {
    *("api:job-list", "api:execution-list", "api:execution-latest", "api:audit-list"),
    *("api:pause-list", "api:bulk-executions-list"),
    *("admin:index", "admin:scheduler_app_job_changelist", "admin:scheduler_app_gap_changelist"),
    *("admin:scheduler_app_execution_changelist", "admin:scheduler_app_auditentry_changelist"),
    *("admin:scheduler_app_pause_changelist", "admin:scheduler_app_pause_add"),
    *("scheduler:live", "scheduler:timeline", "scheduler:agenda", "scheduler:heat"),
    # For who may see nodes: queues, and how much waits in them, of all.
    *("api:metrics", "metrics"),
}
"""The addresses without an object that name the other group's things to who may see all jobs."""
OF_ALL = {"api:metrics", "metrics"}

SEARCHES = (
    f"/api/v1/jobs?search={CANARY}",
    f"/api/v1/jobs?tag={CANARY}%20tag",
    f"/api/v1/jobs?queue={CANARY}%20queue",
    f"/api/v1/pauses?state=all&value={CANARY}%20tag",
    f"/admin/scheduler_app/job/?q={CANARY}",
    f"/admin/scheduler_app/job/?state=failing&tag={CANARY}%20tag",
    f"/admin/scheduler_app/execution/?q={CANARY}",
    f"/admin/scheduler_app/execution/?q=error:{CANARY}",
    f"/admin/scheduler_app/execution/?queue={CANARY}%20queue",
    f"/admin/scheduler_app/gap/?q={CANARY}",
    f"/admin/scheduler_app/auditentry/?q={CANARY}",
    f"/admin/timeline/?tag={CANARY}%20tag",
    f"/admin/agenda/?queue={CANARY}%20queue",
    f"/admin/heat/?tag={CANARY}%20tag",
    f"/admin/scheduler_app/execution/bulk/?verb=retry&q={CANARY}",
)


@pytest.fixture
def worlds() -> tuple[World, World]:
    return make_world(OURS), make_world(THEIRS)


def walk(client: Client) -> Iterator[tuple[str, str]]:
    """Every address that answers a GET without an object in it, and what it says."""
    for route in ALL:
        need = (row_of(route) or {}).get("GET", NOBODY)
        if (
            need != NOBODY
            and route.name not in SKIPPED
            and (not route.parameters or is_open(route))
        ):
            found = client.get(where_of(route) + QUERIES.get(route.name, ""))
            # Nothing ticks here, which health says after a while.
            known = (200, 302, 503) if route.name == "api:health" else (200, 302)
            assert found.status_code in known, (route.name, found.status_code)
            yield route.name, found.content.decode(errors="replace")


SKIPPED = frozenset(
    # Django's own pages of users and groups need rights that this person has not.
    f"admin:auth_{model}_{page}"
    for model in ("user", "group")
    for page in ("changelist", "add")
)


def is_open(route: Route) -> bool:
    return route.name in WITHOUT_OBJECT and route.name in ("api:task-detail", "admin:app_list")


def where_of(route: Route) -> str:
    if not route.name:
        return "/"
    values = {"name": "tests.testapp.tasks.echo", "app_label": "scheduler_app"}
    return reverse(route.name, kwargs={name: values[name] for name in route.parameters})


def test_s03_no_list_names_another_s_job(worlds: tuple[World, World]) -> None:
    told = {name for name, text in walk(browser(somebody())) if CANARY in text}

    assert told == OF_ALL


def test_s03_who_may_see_all_jobs_is_told_of_them(worlds: tuple[World, World]) -> None:
    told = {name for name, text in walk(browser(somebody(see_all=True))) if CANARY in text}

    assert told >= TELLS, TELLS - told


def test_s03_one_s_own_jobs_are_told_of_everywhere(worlds: tuple[World, World]) -> None:
    told = {name for name, text in walk(browser(somebody())) if "lisbon" in text}

    not_of_ana = {
        "api:pause-list",
        "admin:scheduler_app_pause_changelist",
        "api:bulk-executions-list",
    }
    assert told >= TELLS - not_of_ana, TELLS - told


@pytest.mark.parametrize("where", SEARCHES)
def test_s03_a_search_for_another_s_job_finds_what_a_search_for_nothing_does(
    where: str, worlds: tuple[World, World]
) -> None:
    client = browser(somebody())

    found = client.get(where).content.decode()
    nothing = client.get(where.replace(CANARY, "atlantis")).content.decode()

    assert anonymous(found, CANARY) == anonymous(nothing, "atlantis")


def anonymous(text: str, word: str) -> str:
    """Without the word itself, tokens, and what moves with the clock."""
    text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text.replace(word, "WORD"))
    text = re.sub(r'value="[0-9a-f-]{36}"', "", text)
    return re.sub(r"[0-9]+(\.[0-9]+)?", "0", text)


def test_s03_counts_and_charts_are_of_one_s_own(worlds: tuple[World, World]) -> None:
    everybodys = figures()

    with calling(Somebody(somebody())):
        own = figures()
    with calling(Somebody(somebody("eve", groups=()))):
        nobodys = figures()

    assert everybodys == {"slices": 4, "errors": 2, "running": 2, "queues": 2}
    assert own == {"slices": 2, "errors": 1, "running": 1, "queues": 1}
    assert nobodys == {"slices": 0, "errors": 0, "running": 0, "queues": 0}


def test_s03_what_happens_on_the_timeline_is_one_s_own(worlds: tuple[World, World]) -> None:
    """Before it is bounded: the newest of all would leave no room for those of few."""
    ours, theirs = worlds
    window = ours.execution.scheduled_for - timedelta(hours=1), database_now()

    with calling(Somebody(somebody())):
        own = active_jobs(*window)

    assert ours.job.pk in own
    assert theirs.job.pk not in own
    assert theirs.job.pk in active_jobs(*window)


def test_s03_charts_of_one_s_own_say_where_counting_stopped(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    day, minutes = timedelta(days=1), timedelta(minutes=15)
    monkeypatch.setattr(statistics, "COUNTED_OF_SOME", 1)

    with calling(Somebody(somebody())):
        assert any(one.is_capped for one in statistics.slices(day, minutes))
    assert not any(one.is_capped for one in statistics.slices(day, minutes))


def test_s03_more_jobs_than_a_statement_names_are_as_few(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "MOST_NAMED", 3)

    told = {name for name, text in walk(browser(somebody())) if CANARY in text}

    assert told == OF_ALL
    with calling(Somebody(somebody("eve"))):
        assert figures() == {"slices": 2, "errors": 1, "running": 1, "queues": 1}


def figures() -> dict[str, int]:
    day, minutes = timedelta(days=1), timedelta(minutes=15)
    return {
        "slices": sum(one.total for one in statistics.slices(day, minutes)),
        "errors": len(statistics.error_groups(day).groups),
        "running": len(statistics.running_now(limit=10)),
        "queues": len(statistics.queue_depths()),
    }


def test_s03_shared_things_do_not_name_another_s_jobs(worlds: tuple[World, World]) -> None:
    _, theirs = worlds
    client = browser(somebody())

    for where in (
        f"/api/v1/calendars/{theirs.calendar.pk}",
        f"/api/v1/nodes/{theirs.node.pk}",
        f"/admin/scheduler_app/calendar/{theirs.calendar.pk}/change/",
        f"/admin/scheduler_app/calendar/{theirs.calendar.pk}/delete/",
        f"/admin/scheduler_app/node/{theirs.node.pk}/change/",
        f"/admin/scheduler_app/node/{theirs.node.pk}/drain/",
    ):
        found = client.get(where)
        assert found.status_code == 200, where
        assert CANARY not in found.content.decode(), where
    [row] = [one for one in visible_calendars(client) if f"{THEIRS} holidays" in one]
    assert 'data-label="Jobs" class="sch-number">0<' in row
    [row] = [one for one in visible_calendars(client) if f"{OURS} holidays" in one]
    assert 'data-label="Jobs" class="sch-number">3<' in row


def visible_calendars(client: Client) -> list[str]:
    text = client.get("/admin/scheduler_app/calendar/").content.decode()
    return re.findall(r"<tr.*?</tr>", text, re.DOTALL)


def test_s03_others_in_the_same_second_are_one_s_own(worlds: tuple[World, World]) -> None:
    ours, _ = worlds
    body = {"schedule": "@hourly"}
    # An hour that comes whatever the time is now.
    hour = database_now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    JobPlan.objects.update(next_fire_at=hour)

    own = browser(somebody()).post("/api/v1/schedules/preview", body).json()
    everybodys = browser(somebody("eve", see_all=True)).post("/api/v1/schedules/preview", body)

    assert own["same_seconds"]["jobs"] == [ours.job.name, "lisbon report 1", "lisbon report 2"]
    assert own["same_seconds"]["count"] == 3
    assert everybodys.json()["same_seconds"]["count"] == 6


def test_s03_pages_ask_no_more_for_many_jobs_than_for_few(settings: Any) -> None:
    addresses = (
        *("/admin/", "/admin/scheduler_app/job/", "/admin/scheduler_app/execution/"),
        *("/admin/timeline/", "/api/v1/jobs", "/api/v1/executions", "/api/v1/audit"),
    )
    make_world(OURS)
    client = browser(somebody())
    few = [questions(client, where) for where in addresses]
    for number in range(5):
        make_execution(make_planned_job(name=f"another {number}", tags=[OURS]))
    many = [questions(client, where) for where in addresses]
    settings.SCHEDULER = {**settings.SCHEDULER, "ownership": "none"}
    of_everybody = [questions(client, where) for where in addresses]

    assert few == many
    # Which jobs these are is asked for once.
    assert all(own <= all_ + 1 for own, all_ in zip(many, of_everybody, strict=True))


def questions(client: Client, where: str) -> int:
    with statements() as asked:
        client.get(where)
    return len(asked)


PACKAGE = Path(scheduler_app.__file__).parent
RAW = re.compile(
    r"\b(?:Job|JobPlan|Execution|Gap|AuditEntry|BulkOperation|Pause)\.(?:objects|including_deleted)\b"
)
FROM_WHAT_WAS_FOUND = {
    # Each begins with rows that came from `visible`, or names no job.
    *("admin/since_green.py", "admin/job_page.py", "admin/job_verbs.py"),
    *("admin/job_backfill.py", "admin/job_filters.py", "admin/panorama.py", "admin/job_editing.py"),
    *("api/job_serializers.py", "api/logs.py"),
    # Of none; of all, as numbers; whether a name is free, which is said to everybody.
    *("api/schedules.py", "api/tasks.py", "admin/nodes.py", "admin/forms.py"),
    # Which of the pauses stand, asked of those that are shown.
    *("admin/state.py", "api/pauses.py"),
}


BY_ID = {
    # Verbs: they are asked by the ids that a page or the API found among what the caller sees, and lock these rows.
    *("lifecycle/verbs.py", "lifecycle/backfilling.py", "lifecycle/held.py", "lifecycle/impact.py"),
    # Of one job, which the page found.
    "lifecycle/timeline.py",
    # New ones, and whether a job that is seen was deleted; the rows come from `visible`, nodes' from the selection's view.
    *("lifecycle/bulk.py", "lifecycle/selecting.py", "lifecycle/trying.py"),
    # Whether what others use may change: of all, as it must be.
    "lifecycle/calendars.py",
    # Rights are asked of whatever would run, also of what one does not see.
    "lifecycle/entitling.py",
}
"""Where verbs and questions below the pages read rows of everybody."""


def reads_rows_of_all(*folders: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for folder in folders
        for path in (PACKAGE / folder).rglob("*.py")
        if RAW.search(path.read_text())
    }


def test_s03_pages_and_the_api_begin_with_what_the_caller_sees() -> None:
    assert reads_rows_of_all("admin", "api") == FROM_WHAT_WAS_FOUND


def test_s03_below_them_rows_are_found_by_ids_that_the_caller_sees() -> None:
    assert reads_rows_of_all("lifecycle") == BY_ID


ACTIONS = [
    (one.opts.model_name, action)
    for one in site._registry.values()
    if isinstance(one, SchedulerAdmin) and one.actions is not None
    for action in dict.fromkeys(["delete_selected", *one.actions])
]


@pytest.mark.parametrize(("model", "action"), ACTIONS)
def test_s03_no_action_of_a_list_reaches_another_s_object(
    model: str, action: str, worlds: tuple[World, World]
) -> None:
    _, theirs = worlds
    before = trace(theirs)

    found = choose(browser(somebody()), model, action, theirs)

    assert found.status_code in (200, 403)
    assert CANARY not in found.content.decode()
    assert trace(theirs) == before


def test_s03_actions_of_lists_reach_one_s_own(worlds: tuple[World, World]) -> None:
    ours, _ = worlds
    client = browser(somebody())
    reached = set()
    for model, action in ACTIONS:
        with transaction.atomic():
            before = trace(ours)
            choose(client, model, action, ours)
            if trace(ours) != before:
                reached.add(action)
            transaction.set_rollback(True)

    assert reached >= {"run_selected", "pause_selected", "delete_selected", "retry_selected"}


def choose(client: Any, model: str, action: str, world: World) -> Any:
    where = reverse(f"admin:scheduler_app_{model}_changelist")
    # With what each says that asks first.
    answer = {"post": "yes", "apply": "1"}
    chosen = {"action": action, "_selected_action": str(world.ids[model]), **answer}
    return client.post(where, chosen, format="multipart", follow=True)


def test_s03_nothing_is_narrowed_for_code_and_commands(worlds: tuple[World, World]) -> None:
    assert visible.jobs().count() == 8
    with calling(Somebody(somebody())):
        assert visible.jobs().count() == 4
