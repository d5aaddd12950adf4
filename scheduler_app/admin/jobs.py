"""The jobs, put together from their list, their page, their form, their history and what can be done to them."""

from __future__ import annotations

from django.contrib import admin

from scheduler_app.models import Job

from .job_backfill import JobBackfill
from .job_editing import JobEditing
from .job_history import JobHistory
from .job_list import JobList
from .job_page import JobPage
from .job_timeline import JobTimeline


@admin.register(Job)
class JobAdmin(JobList, JobPage, JobTimeline, JobBackfill, JobEditing, JobHistory):
    """Jobs change through the verbs of `lifecycle`, each with its permission and an entry in the log."""
