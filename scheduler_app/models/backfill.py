"""Requests to run fire times of the past."""

from __future__ import annotations

from django.db import models

from .clock import DatabaseNow
from .job import Job


class Backfill(models.Model):
    """A stretch of one job's fire times that somebody asked for later; its executions carry its id."""

    id = models.UUIDField(primary_key=True)
    job = models.ForeignKey(
        Job,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="backfills",
    )
    since = models.DateTimeField()
    until = models.DateTimeField()
    only_missing = models.BooleanField()
    """Only the fire times without a success or a run under way."""
    max_running = models.PositiveSmallIntegerField()
    """How many of its executions run side by side at most."""
    count = models.PositiveIntegerField()
    requested_by = models.CharField(max_length=150, default="", db_default="")
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        ordering = ("-created_at",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"backfill of {self.count} fire times"
