"""What did not happen, and why."""

from __future__ import annotations

from django.db import models

from .clock import DatabaseNow
from .job import Job


class GapReason(models.TextChoices):
    """Why fire times became no execution."""

    MISSED = "missed", "missed: no node was there in time"
    COALESCED = "coalesced", "missed; one later run stands for them"
    OVERLAP = "overlap", "the one before still ran"
    RETRYING = "retrying", "the one before waits for its next attempt"
    PAUSED = "paused", "paused"
    CALENDAR = "calendar", "closed by its calendar"
    SKIPPED = "skipped", "skipped by hand"
    LIMIT = "limit", "more missed runs than are caught up with"


class Gap(models.Model):
    """Consecutive fire times of one job that became no execution, for one reason."""

    job = models.ForeignKey(
        Job, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="gaps"
    )
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=20, choices=GapReason)
    who = models.CharField(max_length=150, default="", db_default="")
    detail = models.CharField(max_length=500, default="", db_default="")
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        ordering = ("job_id", "-first_at")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["job", "first_at"], name="one_gap_per_fire_time")
        ]
        indexes = [models.Index(fields=["last_at"], name="gap_oldest")]

    def __str__(self) -> str:
        return f"{self.count} × {self.get_reason_display()}"
