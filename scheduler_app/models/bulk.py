"""Cancel and retry of everything that matches: the request, and how far it has come."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from .audit import Source
from .clock import DatabaseNow


class BulkVerb(models.TextChoices):
    """What is done to each."""

    CANCEL = "cancel", "Cancel"
    RETRY = "retry", "Retry"


class BulkOperation(models.Model):
    """One verb for all executions of a selection that existed when it was asked for.

    The row is the progress: each chunk moves the cursor and the counters in the transaction that changes the
    executions, so whoever goes on after an interruption does nothing twice and leaves nothing out.
    """

    id = models.UUIDField(primary_key=True)
    verb = models.CharField(max_length=10, choices=BulkVerb)
    selection = models.JSONField()
    reason = models.CharField(max_length=500, default="", db_default="")
    requested_by = models.CharField(max_length=150)
    user_id = models.CharField(max_length=64, default="", db_default="")
    source = models.CharField(max_length=10, choices=Source)
    address = models.CharField(max_length=45, default="", db_default="")
    token = models.CharField(max_length=100, default="", db_default="")
    created_at = models.DateTimeField(db_default=DatabaseNow())
    expected = models.PositiveBigIntegerField(default=0, db_default=0)
    """How many it was going to be, as far as they were counted."""
    expected_is_capped = models.BooleanField(default=False, db_default=False)

    cursor_at = models.DateTimeField(null=True)
    """The fire time, and beside it the id, of the last execution that was looked at, from the newest on."""
    cursor_id = models.BigIntegerField(null=True)
    changed = models.PositiveBigIntegerField(default=0, db_default=0)
    refused = models.PositiveBigIntegerField(default=0, db_default=0)
    """Those that finished or began, or whose job was deleted, before their turn came."""
    moved_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=150, default="", db_default="")

    class Meta:
        ordering = ("-created_at",)
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(verb__in=BulkVerb.values), name="bulk_verb_is_known")
        ]
        indexes = [
            models.Index(
                fields=["created_at"], condition=Q(finished_at=None), name="bulk_unfinished"
            )
        ]

    def __str__(self) -> str:
        return (
            f"{self.get_verb_display().lower()} of all that match, asked for by {self.requested_by}"
        )
