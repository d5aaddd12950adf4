"""The jobs of a first run: each shows something that the scheduler does, with real work."""

from __future__ import annotations

from typing import Any

from scheduler_app import lifecycle
from scheduler_app.models import Job, OnOverlap
from scheduler_app.targets import target_problems

BY = "sample jobs"


def sample_jobs(site: str) -> list[dict[str, Any]]:
    """Fields of each; `site` is the address under which the project itself answers."""
    return [
        {
            "name": "Tick every second",
            "description": "Its executions show how late the scheduler is, in milliseconds.",
            "schedule": "* * * * * *",
            "target": "jobscheduler.tasks.tick",
            "on_overlap": OnOverlap.ALLOW,
            "timeout_s": 10,
        },
        {
            "name": "Check this site",
            "description": "An HTTP call to the project's own liveness page.",
            "schedule": "@every 5s",
            "kind": "http",
            "target": f"{site}/livez",
            "timeout_s": 5,
            "tags": ["monitoring"],
        },
        {
            "name": "Clear expired sessions",
            "description": "The nightly clean-up of the site's sessions.",
            "schedule": "17 3 * * *",
            "target": "jobscheduler.tasks.clear_expired_sessions",
            "tags": ["maintenance"],
        },
        {
            "name": "Fetch from an unreliable service",
            "description": "Fails at the first attempt in every even minute, and is tried again.",
            "schedule": "*/20 * * * * *",
            "target": "jobscheduler.tasks.fetch_from_unreliable_service",
            "max_attempts": 4,
            "retry_backoff_s": 2,
            "timeout_s": 10,
        },
        {
            "name": "Build a slow report",
            "description": "Takes 8 seconds and is due every 5: fire times that find it running are skipped, with a record.",
            "schedule": "@every 5s",
            "target": "jobscheduler.tasks.build_report",
            "arguments": {"seconds": 8},
            "on_overlap": OnOverlap.SKIP,
            "timeout_s": 60,
            "tags": ["reports"],
        },
        {
            "name": "Look at the disk",
            "description": "A shell command of the allow-list; what it prints is the execution's log.",
            "schedule": "*/5 * * * *",
            "kind": "shell",
            "target": "disk-space",
            "arguments": {"path": "/"},
            "timeout_s": 30,
            "tags": ["monitoring"],
        },
        {
            "name": "Check the configuration",
            "description": "Django's own check, as a management command in a process of its own.",
            "schedule": "H * * * *",
            "kind": "management",
            "target": "check",
            "arguments": {"options": {"verbosity": 2}},
            "timeout_s": 120,
            "tags": ["maintenance"],
        },
        {
            "name": "Morning summary in Tokyo",
            "description": "At nine on workdays by Tokyo's clock; an async task.",
            "schedule": "0 9 * * MON-FRI",
            "timezone": "Asia/Tokyo",
            "target": "jobscheduler.tasks.summarize_executions",
            "arguments": {"hours": 24},
            "tags": ["reports"],
        },
        {
            "name": "Paused example",
            "description": "Resume it to see it fire every ten seconds.",
            "schedule": "@every 10s",
            "target": "jobscheduler.tasks.tick",
            "timeout_s": 10,
        },
    ]


def create_sample_jobs(site: str) -> list[Job]:
    """Those whose names are not taken, and whose target the settings allow."""
    created = []
    for fields in sample_jobs(site):
        job = Job(**fields)
        if Job.objects.filter(name=job.name).exists():
            continue
        if target_problems(job.kind, job.target, job.arguments):
            # A deployment that lets nobody call this machine.
            continue
        job.full_clean()
        created.append(lifecycle.save_job(job, by=BY))
    lifecycle.pause(
        [job.pk for job in created if job.name == "Paused example"],
        by=BY,
        reason="Shows what a paused job looks like.",
    )
    return created
