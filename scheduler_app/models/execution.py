"""What happened: one execution for each fire time that ran, for each run now, for each enqueued task."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, Func, Q

from .clock import DatabaseNow
from .job import Job, JobRevision
from .node import Node


class Status(models.TextChoices):
    """Where an execution stands; `reason` says why."""

    READY = "ready", "Ready"
    BLOCKED = "blocked", "Blocked"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Lost"


LIVE = (Status.READY, Status.BLOCKED, Status.RUNNING)
UNSUCCESSFUL = (Status.FAILED, Status.CANCELLED, Status.LOST)
FINISHED = (Status.SUCCEEDED, *UNSUCCESSFUL)


class Trigger(models.TextChoices):
    """What asked for an execution."""

    SCHEDULE = "schedule", "Schedule"
    MANUAL = "manual", "Run now"
    API = "api", "API"
    BACKFILL = "backfill", "Backfill"
    TASK = "task", "Enqueued task"
    TEST = "test", "Test run"


class ExecutionQuerySet(models.QuerySet["Execution"]):
    """Choices among executions."""

    def live(self) -> ExecutionQuerySet:
        return self.filter(status__in=LIVE)

    def running(self) -> ExecutionQuerySet:
        return self.filter(status=Status.RUNNING)

    def unsuccessful(self) -> ExecutionQuerySet:
        """Failed, cancelled or lost, by the partial index that exists for them."""
        return self.filter(status__in=UNSUCCESSFUL)

    def for_lists(self) -> ExecutionQuerySet:
        """Without the columns that may be large, so that no row can make a list slow."""
        return self.defer("spec", "result", "traceback", "failures")


class Execution(models.Model):
    """The answer to one fire time; may take several attempts.

    Foreign keys carry no constraint and no index of their own: history outlives what it points at until it is
    pruned, and each would cost the hot path.
    """

    job = models.ForeignKey(
        Job,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="executions",
    )
    revision = models.ForeignKey(
        JobRevision,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    spec = models.JSONField(null=True)
    """What differs from the revision's definition: edited arguments, an enqueued task."""
    trigger = models.CharField(max_length=10, choices=Trigger)
    backfill = models.UUIDField(null=True)
    scheduled_for = models.DateTimeField()
    run_after = models.DateTimeField()
    queue = models.CharField(max_length=50, default="default")
    priority = models.SmallIntegerField(default=0)

    status = models.CharField(max_length=10, choices=Status, default=Status.READY)
    reason = models.CharField(max_length=40, default="", db_default="")
    token = models.BigIntegerField(default=0, db_default=0)
    """Moves at every claim, hand-back, rescue and timeout; a write that names an old one changes nothing."""
    attempt = models.IntegerField(default=0, db_default=0)
    crashes = models.SmallIntegerField(default=0, db_default=0)
    node = models.ForeignKey(
        Node,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="executions",
    )
    created_at = models.DateTimeField(db_default=DatabaseNow())
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancelled_by = models.CharField(max_length=150, default="", db_default="")

    result = models.JSONField(null=True)
    error = models.TextField(default="", db_default="")
    traceback = models.TextField(default="", db_default="")
    failures = models.JSONField(default=list, db_default=[])
    """Earlier attempts and what became of them, oldest first."""
    requested_by = models.CharField(max_length=150, default="", db_default="")
    release = models.CharField(max_length=100, default="", db_default="")

    objects = ExecutionQuerySet.as_manager()

    class Meta:
        ordering = ("-scheduled_for", "-id")
        default_permissions = ("view",)
        constraints = [
            # Whatever else goes wrong, a fire time cannot become two executions.
            models.UniqueConstraint(
                fields=["job", "scheduled_for"],
                condition=Q(trigger=Trigger.SCHEDULE),
                name="one_execution_per_fire_time",
            ),
            models.UniqueConstraint(
                fields=["backfill", "scheduled_for"],
                condition=Q(backfill__isnull=False),
                name="one_execution_per_backfilled_moment",
            ),
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="execution_status_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.RUNNING) | Q(node__isnull=False),
                name="a_running_execution_has_a_node",
            ),
            models.CheckConstraint(
                condition=Q(status__in=LIVE, finished_at=None)
                | Q(status__in=FINISHED, finished_at__isnull=False),
                name="a_finished_execution_has_its_time",
            ),
        ]
        indexes = [
            # The order of claiming.
            models.Index(
                F("priority").desc(),
                "run_after",
                "id",
                condition=Q(status=Status.READY),
                name="execution_ready",
            ),
            models.Index(
                fields=["node"], condition=Q(status=Status.RUNNING), name="execution_running"
            ),
            # What overlap counts, and what a limit does, past all that is blocked.
            models.Index(
                fields=["job", "status", "scheduled_for"],
                condition=Q(status__in=LIVE),
                name="execution_live",
            ),
            # What waits for its job's limit: of the present, which has no backfill, or of one backfill.
            models.Index(
                fields=["job", "backfill", "scheduled_for", "id"],
                condition=Q(status=Status.BLOCKED),
                name="execution_blocked",
            ),
            # The orders in which people read, backwards: an index that grows at its right end stays small.
            models.Index(fields=["scheduled_for", "id"], name="execution_newest"),
            models.Index(fields=["job", "scheduled_for"], name="execution_newest_of_job"),
            models.Index(
                fields=["scheduled_for", "id"],
                condition=Q(status__in=UNSUCCESSFUL),
                name="execution_unsuccessful",
            ),
            # One of these statuses alone, without a look at the others; only what did not succeed pays for it.
            models.Index(
                fields=["status", "scheduled_for", "id"],
                condition=Q(status__in=UNSUCCESSFUL),
                name="execution_by_failure",
            ),
            # When what fails now failed for the first time; only what fails pays for it.
            models.Index(
                Func(F("error"), function="scheduler_error_kind"),
                F("scheduled_for"),
                F("id"),
                condition=Q(status__in=(Status.FAILED, Status.LOST)),
                name="execution_by_error",
            ),
        ]

    def __str__(self) -> str:
        return f"execution {self.pk}"

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def drift(self) -> timedelta | None:
        """How late it started; None before it starts."""
        return self.started_at - self.scheduled_for if self.started_at else None

    @property
    def duration(self) -> timedelta | None:
        """How long the last attempt took; None until it is finished."""
        if self.started_at and self.finished_at:
            return self.finished_at - self.started_at
        return None


class LogChunk(models.Model):
    """A piece of what an attempt printed and logged, of whole lines; in its own table, so that hot rows stay narrow."""

    execution = models.ForeignKey(
        Execution,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="log_chunks",
    )
    attempt = models.IntegerField()
    token = models.BigIntegerField(default=0, db_default=0)
    """Which claim wrote it: after a crash the next one has the same attempt number."""
    seq = models.IntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        ordering = ("execution_id", "attempt", "token", "seq")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["execution", "attempt", "token", "seq"], name="one_log_chunk_per_place"
            )
        ]

    def __str__(self) -> str:
        return f"log of execution {self.execution_id}, attempt {self.attempt}, part {self.seq}"
