"""What the tests of ownership share: two groups, each with one of everything, under names that no page has by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

from scheduler_app import lifecycle
from scheduler_app.access import calling
from scheduler_app.lifecycle import Selection
from scheduler_app.lifecycle.statistics import error_groups
from scheduler_app.models import (
    AuditEntry,
    Calendar,
    Execution,
    Gap,
    Job,
    Node,
    Pause,
    PauseScope,
    database_now,
)
from tests.web.api_support import ApiClient, make_execution, make_job, make_node, make_planned_job

from .support import Somebody

OURS, THEIRS = "ours", "theirs"
CANARY = "zanzibar"
"""A part of every text about the jobs of the other group."""


@dataclass(frozen=True)
class World:
    """A group's job, what became of it, and the ids of everything by the names that addresses have for them."""

    job: Job
    execution: Execution
    node: Node
    calendar: Calendar
    pause: Pause
    owner: Any
    ids: dict[str, Any]


def somebody(name: str = "ana", *, groups: tuple[str, ...] = (OURS,), see_all: bool = False) -> Any:
    """With every right of the scheduler, but not that to everybody's jobs unless it is said."""
    user = get_user_model().objects.create_user(name, password="pass word 1", is_staff=True)
    rights = Permission.objects.filter(content_type__app_label="scheduler_app")
    user.user_permissions.set(rights if see_all else rights.exclude(codename="see_all_jobs"))
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return user


def browser(user: Any) -> ApiClient:
    """Logged in, for pages and the API alike."""
    client = ApiClient()
    client.force_login(user)
    return client


def make_world(group: str) -> World:
    """Of a group of this name: a job that runs and fails, its gap, a pause of the group's tag, a bulk operation."""
    Group.objects.get_or_create(name=group)
    word = CANARY if group == THEIRS else "lisbon"
    owner = get_user_model().objects.create_superuser(f"owner of {group}")
    calendar = Calendar.objects.create(name=f"{group} holidays")
    node = make_node(name=f"node of {group}")
    now = database_now()
    jobs = [
        make_planned_job(
            name=f"{word} report {number}",
            description=f"{word} in words",
            schedule=schedule,
            tags=[group, f"{word} tag"],
            queue=f"{word} queue",
            arguments={"args": [f"{word} argument"]},
            calendar=calendar,
            on_closed="run",
            on_overlap="allow",
        )
        for number, schedule in enumerate(["@hourly", "@hourly", "* * * * *"])
    ]
    job = jobs[0]
    failed = make_execution(
        job,
        status="failed",
        error=f"{word} broke",
        queue=job.queue,
        scheduled_for=now - timedelta(minutes=2),
        started_at=now - timedelta(minutes=2),
        finished_at=now - timedelta(minutes=1),
        node=node,
    )
    make_execution(
        jobs[1],
        status="running",
        queue=job.queue,
        node=node,
        scheduled_for=now - timedelta(minutes=1),
        started_at=now,
    )
    gap = Gap.objects.create(
        job=job,
        first_at=now - timedelta(minutes=4),
        last_at=now - timedelta(minutes=3),
        count=2,
        reason="missed",
        detail=f"{word} was away",
    )
    by_hand = make_job(name=f"{word} by hand", tags=[group, f"{word} paused"])
    lifecycle.pause([by_hand.pk], by=f"{word} keeper")
    # A group pauses the tag that bears its name; the other one keeps fire times that are not held.
    tag = group if group == OURS else f"{word} paused"
    pause = lifecycle.pause_scope(PauseScope.TAG, tag, by="somebody", reason=f"{word} is closed")
    with calling(Somebody(owner)):
        bulk = lifecycle.start_bulk(
            uuid4(),
            "cancel",
            Selection(jobs=(job.pk,)),
            by=owner.get_username(),
            reason=f"{word} is over",
            budget_s=0,
        )
    fingerprint = next(
        one.fingerprint for one in error_groups(timedelta(days=1)).groups if word in one.error
    )
    entry = AuditEntry.objects.filter(job=job).latest("id")
    token, _ = lifecycle.create_token(owner, "t", scopes=["read"], by="x")
    return World(
        job,
        failed,
        node,
        calendar,
        pause,
        owner,
        {
            "job": job.pk,
            "execution": failed.pk,
            "node": node.pk,
            "calendar": calendar.pk,
            "pause": pause.pk,
            "gap": gap.pk,
            "bulk": bulk.pk,
            "auditentry": entry.pk,
            "apitoken": token.pk,
            "fingerprint": fingerprint,
            "user": owner.pk,
            "group": Group.objects.get(name=group).pk,
        },
    )
