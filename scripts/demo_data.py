"""A made-up mail-order company's jobs, a week of their history, and one Tuesday afternoon: for the pictures in docs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from scheduler_app import lifecycle
from scheduler_app.models import (
    Calendar,
    Execution,
    Gap,
    Job,
    JobPlan,
    LogChunk,
    Node,
    NodeState,
    Status,
    Trigger,
)
from scheduler_app.rules.timetable import Timetable

NOW = datetime(2026, 11, 24, 14, 32, 8, tzinfo=UTC)
HISTORY = timedelta(days=2)
LONG_HISTORY = timedelta(days=40)
"""Of jobs that fire once a day or less."""
MOST_RUNS = 3000
ERP = "https://erp.example.org/api"

JOBS: list[dict[str, Any]] = [
    {"name": "Import orders", "schedule": "* * * * *", "queue": "shop", "tags": ["orders"], "target": f"{ERP}/orders", "took": 2.1, "fails": 0.004},
    {"name": "Reserve stock", "schedule": "*/2 * * * *", "queue": "shop", "tags": ["orders", "stock"], "target": f"{ERP}/stock/reserve", "took": 0.9, "fails": 0},
    {"name": "Sync prices", "schedule": "*/15 * * * *", "queue": "shop", "tags": ["prices"], "target": f"{ERP}/prices", "took": 14, "fails": 0.12, "max_attempts": 3},
    {"name": "Charge cards", "schedule": "*/5 * * * *", "queue": "payments", "tags": ["money"], "target": "https://pay.example.org/v2/charges", "took": 4, "fails": 0.02, "guarantee": "at_most_once", "priority": 50},
    {"name": "Exchange rates", "schedule": "5 * * * *", "queue": "payments", "tags": ["money", "prices"], "target": "https://rates.example.org/latest", "took": 0.4, "fails": 0},
    {"name": "Build the search index", "schedule": "@every 20m", "queue": "reports", "tags": ["search"], "kind": "task", "target": "jobscheduler.tasks.build_report", "arguments": {"seconds": 240}, "took": 240, "fails": 0},
    {"name": "Nightly sales report", "schedule": "30 2 * * MON-FRI", "timezone": "Europe/Berlin", "queue": "reports", "tags": ["reports", "money"], "kind": "task", "target": "jobscheduler.tasks.summarize_executions", "arguments": {"hours": 24}, "took": 95, "fails": 0.2, "calendar": True},
    {"name": "Invoices to accounting", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "queue": "reports", "tags": ["money"], "target": "https://books.example.org/import", "took": 130, "fails": 0},
    {"name": "Clear old carts", "schedule": "0 3 * * *", "queue": "shop", "tags": ["maintenance"], "kind": "task", "target": "jobscheduler.tasks.clear_expired_sessions", "took": 31, "fails": 0},
    {"name": "Backup of the shop", "schedule": "0 3 * * *", "queue": "default", "tags": ["maintenance"], "target": "https://backup.example.org/run/shop", "took": 600, "fails": 0},
    {"name": "Newsletter", "schedule": "0 9 * * TUE", "timezone": "Europe/Paris", "queue": "mail", "tags": ["mail"], "target": "https://mail.example.org/campaigns/weekly", "took": 300, "fails": 0},
    {"name": "Parcel tracking", "schedule": "*/10 7-20 * * *", "timezone": "America/New_York", "queue": "shop", "tags": ["parcels"], "target": "https://parcels.example.org/status", "took": 6, "fails": 0.03},
    {"name": "Dunning letters", "schedule": "0 8 1 * *", "timezone": "Europe/Berlin", "queue": "mail", "tags": ["money", "mail"], "target": f"{ERP}/dunning", "took": 40, "fails": 0},
    {"name": "Heartbeat of the shop", "schedule": "*/10 * * * * *", "queue": "default", "tags": ["monitoring"], "target": "https://shop.example.org/healthz", "took": 0.08, "fails": 0},
    {"name": "Recompute recommendations", "schedule": "@manual", "queue": "reports", "tags": ["search"], "kind": "task", "target": "jobscheduler.tasks.build_report", "took": 900, "fails": 0},
]  # fmt: skip

ERRORS = {
    "Import orders": ("ReadTimeout: {url} did not answer within 10 s", ""),
    "Sync prices": ("ReadTimeout: {url} did not answer within 10 s", ""),
    "Charge cards": ("UnexpectedStatus: {url} answered 502 Bad Gateway, expected 200 to 299", ""),
    "Parcel tracking": ("UnexpectedStatus: {url} answered 429 Too Many Requests, expected 200 to 299", ""),
    "Nightly sales report": (
        "ValueError: no exchange rate for 'XAF' on 2026-11-{day:02}",
        """Traceback (most recent call last):
  File "/srv/shop/reports/tasks.py", line 88, in sales_report
    total += order.amount_in("EUR")
  File "/srv/shop/orders/models.py", line 214, in amount_in
    return self.amount * rate_of(self.currency, self.paid_on)
  File "/srv/shop/money/rates.py", line 41, in rate_of
    raise ValueError(f"no exchange rate for {currency!r} on {day}")
ValueError: no exchange rate for 'XAF' on 2026-11-{day:02}
""",
    ),
}  # fmt: skip

LOG = """02:30:00 INFO  reading the orders of 2026-11-23
02:30:04 INFO  18,204 orders in 14 currencies
02:30:41 INFO  rates of 13 currencies found
02:31:12 WARN  order 8817263: currency XAF
02:31:12 ERROR no exchange rate, giving up
"""


def fill() -> dict[str, str]:
    """Fill the empty database; the addresses of the pages to show, by name."""
    chance = random.Random(7)
    for name in ("ana", "ben"):
        get_user_model().objects.create_superuser(name)
    set_clock(NOW - timedelta(days=20))
    calendar = Calendar.objects.create(
        name="German holidays", days="2026-12-25 - 2026-12-26  # Christmas\n2027-01-01  # New Year"
    )
    nodes = make_nodes()
    jobs = [make_job(dict(values), calendar) for values in JOBS]
    tell_a_story(jobs)
    for job, values in zip(jobs, JOBS, strict=True):
        job.refresh_from_db()
        Execution.objects.bulk_create(history_of(job, values, nodes, chance), batch_size=1000)
        settle(job)
    run_now(jobs, nodes)
    featured = feature(jobs, nodes)
    make_gaps(jobs)
    Node.objects.filter(state=NodeState.ACTIVE).update(heartbeat_at=NOW, last_tick_at=NOW)
    set_clock(NOW)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return addresses(jobs, nodes, featured)


def set_clock(moment: datetime) -> None:
    """The cluster's clock, which stands still."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION scheduler_now() RETURNS timestamptz LANGUAGE sql STABLE "
            f"PARALLEL SAFE AS $$ SELECT '{moment.isoformat()}'::timestamptz $$"
        )


def session_of(name: str) -> str:
    """The session key of somebody who is logged in."""
    client = Client()
    client.force_login(get_user_model().objects.get(username=name))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def make_nodes() -> list[Node]:
    values = [
        {"name": "web-1", "busy": 3, "queues": ["default", "shop", "mail"], "threads": 10},
        {"name": "web-2", "busy": 2, "queues": ["default", "shop", "mail"], "threads": 10},
        {"name": "batch-1", "busy": 2, "queues": ["payments", "reports"], "threads": 4},
        {"name": "batch-0", "queues": ["payments", "reports"], "threads": 4, "state": NodeState.DEAD},
    ]  # fmt: skip
    nodes = []
    for number, value in enumerate(values):
        started = NOW - timedelta(hours=5, minutes=7 * number)
        dead = value.get("state") == NodeState.DEAD
        if dead:
            value |= {
                "finished_at": NOW - timedelta(hours=1),
                "state_reason": "No heartbeat for 15 s; declared dead by web-1.",
            }
        nodes.append(
            Node.objects.create(
                host=f"{value['name']}.fra.example.org",
                pid=4000 + number,
                release="2026.11.3" if not dead else "2026.11.2",
                started_at=started,
                heartbeat_at=NOW - timedelta(hours=1) if dead else NOW,
                last_tick_at=NOW - timedelta(hours=1) if dead else NOW,
                listening=not dead,
                turn_ages={"scheduler": 0.2, "recorder": 0.1, "upkeep": 1.4},
                **value,
            )
        )
    return nodes


def make_job(values: dict[str, Any], calendar: Calendar) -> Job:
    del values["took"], values["fails"]
    values.setdefault("kind", "http")
    if values.pop("calendar", False):
        values["calendar"] = calendar
    values.setdefault("on_overlap", "allow" if values["name"].startswith("Heartbeat") else "skip")
    values.setdefault("description", f"{values['name']}, as agreed with the team that owns it.")
    values.setdefault("arguments", {"method": "POST"} if values["kind"] == "http" else {})
    return lifecycle.save_job(Job(provenance="admin", **values), by="ana")


def tell_a_story(jobs: list[Job]) -> None:
    """What people did to the jobs in the days before."""
    named = {job.name: job for job in jobs}
    set_clock(NOW - timedelta(days=3, hours=2))
    report = named["Nightly sales report"]
    report.timeout_s, report.max_attempts = 900, 2
    lifecycle.save_job(report, by="ben")
    set_clock(NOW - timedelta(hours=26))
    prices = named["Sync prices"]
    prices.schedule = "*/10 * * * *"
    lifecycle.save_job(prices, by="ana")
    set_clock(NOW - timedelta(hours=3))
    lifecycle.pause(
        [named["Newsletter"].pk], by="ana", reason="The template is broken, see ticket 4711.",
        until=NOW + timedelta(hours=20),
    )  # fmt: skip
    lifecycle.pause_scope("tag", "parcels", by="ben", reason="Their API is in maintenance.")


def history_of(
    job: Job, values: dict[str, Any], nodes: list[Node], chance: random.Random
) -> Iterator[Execution]:
    """What the schedule asked for, with durations and drift as they are in real life."""
    revisions = list(job.revisions.order_by("version"))
    timetable = Timetable.of(job.spec())
    until = min(job.paused_at or NOW, NOW - timedelta(seconds=10))
    if "parcels" in job.tags:
        until = NOW - timedelta(hours=3)
    since = NOW - (LONG_HISTORY if timetable.count(NOW - HISTORY, NOW) < 3 else HISTORY)
    if (count := timetable.count(since, until)) > MOST_RUNS:
        since += HISTORY * (1 - MOST_RUNS / count)
    for at in islice(timetable.between(since, until), MOST_RUNS):
        # The bad half hour of this morning.
        storm = timedelta(hours=4, minutes=10) > NOW - at > timedelta(hours=3, minutes=45)
        failed = chance.random() < values["fails"] * (9 if storm else 1)
        drift = 0.004 + chance.expovariate(1 / 0.02) + (chance.random() < 0.01) * chance.random()
        drift += storm * chance.random() * 4
        took = values["took"] * chance.lognormvariate(0, 0.25) * (1.8 if storm else 1)
        started = at + timedelta(seconds=drift)
        finished = started + timedelta(seconds=10.02 if failed else took)
        if finished > NOW:
            continue
        error, traceback = ERRORS.get(job.name, ("RuntimeError: unexpected", ""))
        yield Execution(
            job=job,
            revision=[one for one in revisions if one.created_at <= at or one is revisions[0]][-1],
            trigger=Trigger.SCHEDULE,
            scheduled_for=at,
            run_after=at,
            queue=job.queue,
            priority=job.priority,
            status=Status.FAILED if failed else Status.SUCCEEDED,
            reason="raised" if failed else "",
            token=1,
            attempt=1,
            node=chance.choice(
                nodes[:2] if job.queue in ("default", "shop", "mail") else nodes[2:3]
            ),
            created_at=at,
            claimed_at=started,
            started_at=started,
            finished_at=finished,
            result=None if failed else _result(job, took, chance),
            error=error.format(url=job.target, day=at.day) if failed else "",
            traceback=traceback.replace("{day:02}", f"{at.day:02}") if failed else "",
            release="2026.11.3",
        )


def _result(job: Job, took: float, chance: random.Random) -> Any:
    if job.kind != "http":
        return {"rows": chance.randrange(1000, 30000)}
    return {
        "method": "POST",
        "url": job.target,
        "status": 200,
        "headers": {"Content-Type": "application/json"},
        "duration_ms": round(took * 1000),
        "body": '{"ok": true, "changed": 17}',
        "body_truncated": False,
    }


def settle(job: Job) -> None:
    """The plan as a node leaves it behind."""
    following = Timetable.of(job.spec()).next_after(NOW)
    is_paused = job.paused_at is not None and job.paused_until is None
    JobPlan.objects.filter(pk=job.pk).update(
        next_fire_at=None if is_paused else following,
        decided_until=NOW,
        dirty=False,
        revision=job.revisions.get(version=job.version),
    )


def run_now(jobs: list[Job], nodes: list[Node]) -> None:
    """What runs and waits at this moment."""
    named = {job.name: job for job in jobs}
    for name, node, seconds in (
        ("Build the search index", nodes[2], 728),
        ("Charge cards", nodes[2], 3),
        ("Import orders", nodes[0], 1.4),
        ("Recompute recommendations", nodes[2], 262),
    ):
        job = named[name]
        at = NOW - timedelta(seconds=seconds)
        Execution.objects.filter(job=job, scheduled_for__gte=at).delete()
        Execution.objects.create(
            job=job,
            revision=job.revisions.get(version=job.version),
            trigger=Trigger.SCHEDULE if "Recompute" not in name else Trigger.MANUAL,
            scheduled_for=at,
            run_after=at,
            queue=job.queue,
            status=Status.RUNNING,
            node=node,
            attempt=1,
            claimed_at=at,
            started_at=at,
            requested_by="ana" if "Recompute" in name else "",
            release="2026.11.3",
        )
    for seconds in (4, 9, 31):
        Execution.objects.create(
            job=None,
            spec={"name": "shop.mail.send_receipt", "target": "shop.mail.send_receipt"},
            trigger=Trigger.TASK,
            scheduled_for=NOW - timedelta(seconds=seconds),
            run_after=NOW - timedelta(seconds=seconds),
            queue="mail",
        )


def feature(jobs: list[Job], nodes: list[Node]) -> Execution:
    """The execution that has a page of its own: last night's report, which failed twice."""
    job = next(job for job in jobs if job.name == "Nightly sales report")
    Execution.objects.filter(job=job, scheduled_for__gt=NOW - timedelta(days=1)).delete()
    at = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    error, traceback = (text.replace("{day:02}", "23") for text in ERRORS[job.name])
    first = at + timedelta(seconds=0.02)
    execution = Execution.objects.create(
        job=job,
        revision=job.revisions.get(version=job.version),
        trigger=Trigger.SCHEDULE,
        scheduled_for=at,
        run_after=at,
        queue=job.queue,
        status=Status.FAILED,
        reason="raised",
        token=2,
        attempt=2,
        node=nodes[2],
        claimed_at=at + timedelta(seconds=82),
        started_at=at + timedelta(seconds=82),
        finished_at=at + timedelta(seconds=154),
        error=error,
        traceback=traceback,
        failures=[
            {
                "attempt": 1, "reason": "raised", "error": error, "traceback": traceback,
                "node": "batch-1", "started_at": first.isoformat(),
                "finished_at": (first + timedelta(seconds=71)).isoformat(),
            }
        ],
        release="2026.11.3",
    )  # fmt: skip
    for attempt in (1, 2):
        LogChunk.objects.create(
            execution=execution, attempt=attempt, token=attempt, seq=0, text=LOG
        )
    return execution


def make_gaps(jobs: list[Job]) -> None:
    named = {job.name: job for job in jobs}
    for name, first, last, count, reason in (
        ("Build the search index", 8, 8, 1, "overlap"),
        ("Parcel tracking", 176, 2, 18, "paused"),
        ("Import orders", 246, 243, 3, "missed"),
        ("Charge cards", 245, 245, 1, "overlap"),
    ):
        Gap.objects.create(
            job=named[name],
            first_at=NOW - timedelta(minutes=first),
            last_at=NOW - timedelta(minutes=last),
            count=count,
            reason=reason,
        )


def addresses(jobs: list[Job], nodes: list[Node], featured: Execution) -> dict[str, str]:
    named = {job.name: job.pk for job in jobs}
    return {
        "overview": reverse("admin:index"),
        "jobs": reverse("admin:scheduler_app_job_changelist"),
        "job": reverse("admin:scheduler_app_job_detail", args=[named["Nightly sales report"]]),
        "job-form": reverse("admin:scheduler_app_job_change", args=[named["Sync prices"]]),
        "executions": reverse("admin:scheduler_app_execution_changelist"),
        "execution": reverse("admin:scheduler_app_execution_change", args=[featured.pk]),
        "timeline": reverse("scheduler:timeline") + "?span=6h",
        "agenda": reverse("scheduler:agenda"),
        "heat-map": reverse("scheduler:heat"),
        "nodes": reverse("admin:scheduler_app_node_changelist"),
        "node": reverse("admin:scheduler_app_node_change", args=[nodes[2].pk]),
        "gaps": reverse("admin:scheduler_app_gap_changelist"),
        "pauses": reverse("admin:scheduler_app_pause_changelist"),
        "audit": reverse("admin:scheduler_app_auditentry_changelist"),
    }
