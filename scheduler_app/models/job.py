"""What people create: jobs, the history of their definitions, and the plan of their next fire time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connections, models, transaction
from django.db.models import F, Func, Q, Value

from scheduler_app.conf import get_config
from scheduler_app.rules.firing import next_open, own_closures
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.schedules import parse_schedule
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import Timetable
from scheduler_app.targets import target_problems

from .calendar import Calendar
from .clock import DatabaseNow, database_now

LIMITED_NEEDS = "choose the isolation process, or leave this empty"
TARGET_PLACE = Func(
    F("target"),
    # Who logs in, and the parameters.
    Value(r"(://)[^/?#@]*@|[?;&#[:space:]].*"),
    Value(r"\1"),
    Value("g"),
    function="regexp_replace",
    output_field=models.TextField(),
)
"""What a search may look at of the target, which is never what is masked when shown."""
LONGEST_S = 366 * 24 * 3600
"""A year: the upper bound of every duration that a person can enter, in seconds."""


class OnMisfire(models.TextChoices):
    """What becomes of fire times that were missed because no node was there."""

    LATEST = "latest", "Run once, for the latest"
    SKIP = "skip", "Run none"
    ALL = "all", "Run all, oldest first"


class OnOverlap(models.TextChoices):
    """What becomes of a fire time while the job still runs."""

    SKIP = "skip", "Skip it"
    QUEUE_ONE = "queue_one", "Queue it, one at most"
    QUEUE_ALL = "queue_all", "Queue it"
    CANCEL_RUNNING = "cancel_running", "Cancel the running one"
    ALLOW = "allow", "Run both"


class CalendarMode(models.TextChoices):
    """Which days of its calendar a job is closed on."""

    AVOID = "avoid", "On the listed days"
    FOLLOW = "follow", "On all other days"


class OnClosed(models.TextChoices):
    """What becomes of fire times on days on which the job is closed."""

    RUN = "run", "Run anyway"
    SKIP = "skip", "Skip them"
    SHIFT = "shift", "Run once on the next open day"


class DayMatch(models.TextChoices):
    """How a cron expression reads a restricted day of month beside a restricted weekday."""

    OR = "or", "Either may match"
    AND = "and", "Both must match"


class Guarantee(models.TextChoices):
    """What becomes of an execution whose node died."""

    AT_LEAST_ONCE = "at_least_once", "At least once: run it again"
    AT_MOST_ONCE = "at_most_once", "At most once: give it up as lost"


class Isolation(models.TextChoices):
    """Where a job's code runs on its node."""

    THREAD = "thread", "In a thread of the node"
    PROCESS = "process", "In a process of its own"


class Provenance(models.TextChoices):
    """Where a job was created."""

    ADMIN = "admin", "Admin"
    API = "api", "API"
    CODE = "code", "Code"


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """A transaction whose edits of jobs are recorded in the history as made by `who`."""
    alias = get_config().database
    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            # Local to the transaction, so that a transaction pooler cannot leak it to others.
            cursor.execute("SELECT set_config('scheduler.actor', %s, true)", [who])
        yield


class JobQuerySet(models.QuerySet["Job"]):
    """Choices among jobs."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Mark as deleted, in one statement; history stays until it is pruned."""
        deleted = self.filter(deleted_at=None).update(deleted_at=DatabaseNow())
        return deleted, {Job._meta.label: deleted}

    delete.alters_data = True  # type: ignore[attr-defined]

    def paused(self) -> JobQuerySet:
        return self.filter(paused_at__isnull=False)

    def scheduled(self) -> JobQuerySet:
        """Those that have a next fire time."""
        return self.filter(plan__next_fire_at__isnull=False)


class JobManager(models.Manager.from_queryset(JobQuerySet)):  # type: ignore[misc]
    """Jobs that were not deleted."""

    def get_queryset(self) -> JobQuerySet:
        queryset: JobQuerySet = super().get_queryset().filter(deleted_at=None)
        return queryset


class Job(models.Model):
    """A target with arguments, a schedule, a priority and policies."""

    name = models.CharField(
        max_length=200, help_text="How people and programs call the job; unique among all jobs."
    )
    description = models.TextField(blank=True, max_length=10_000)
    tags = ArrayField(models.CharField(max_length=50), default=list, blank=True, size=20)

    schedule = models.CharField(
        max_length=200,
        default="@manual",
        help_text=(
            "Cron with 5 fields (minute hour day month weekday) or 6 (second first), "
            "@hourly, @daily, @every 90s, @at 2030-01-31T09:00, or @manual."
        ),
    )
    timezone = models.CharField("time zone", max_length=64, default="UTC")
    anchor_at = models.DateTimeField(
        "anchor",
        null=True,
        blank=True,
        help_text="@every counts from this moment. Empty: from 1970-01-01 00:00 UTC.",
    )
    day_match = models.CharField(
        "day of month and weekday", max_length=3, choices=DayMatch, default=DayMatch.OR
    )
    start_at = models.DateTimeField("not before", null=True, blank=True)
    end_at = models.DateTimeField("not after", null=True, blank=True)
    max_runs = models.PositiveIntegerField(
        "runs at most", null=True, blank=True, validators=[MinValueValidator(1)]
    )
    jitter_s = models.PositiveIntegerField(
        "jitter (s)",
        default=0,
        validators=[MaxValueValidator(86_400)],
        help_text="Shifts the job's fire times by a fixed amount below this, to spread load.",
    )

    calendar = models.ForeignKey(
        Calendar, null=True, blank=True, on_delete=models.PROTECT, related_name="jobs"
    )
    calendar_mode = models.CharField(
        "closed", max_length=10, choices=CalendarMode, default=CalendarMode.AVOID
    )
    on_closed = models.CharField(
        "when closed", max_length=10, choices=OnClosed, default=OnClosed.SKIP
    )
    calendar_name = models.CharField(max_length=100, default="", db_default="", editable=False)
    calendar_days = models.JSONField(default=list, db_default=[], editable=False)
    """Copied from the calendar by a trigger, so that a revision holds the days that it was made with."""

    kind = models.CharField(max_length=20, default="task")
    target = models.CharField(
        max_length=2000, help_text="The task's registered name, or the URL to call."
    )
    arguments = models.JSONField(default=dict, blank=True)

    queue = models.CharField(max_length=50, default="default")
    priority = models.SmallIntegerField(
        default=0,
        validators=[MinValueValidator(-100), MaxValueValidator(100)],
        help_text="-100 to 100; higher runs first.",
    )
    on_misfire = models.CharField(
        "when fire times were missed", max_length=10, choices=OnMisfire, default=OnMisfire.LATEST
    )
    misfire_grace_s = models.PositiveIntegerField(
        "missed for at most (s)",
        null=True,
        blank=True,
        validators=[MaxValueValidator(LONGEST_S)],
        help_text="A missed fire time older than this is not run any more. Empty: no limit.",
    )
    on_overlap = models.CharField(
        "when it still runs", max_length=20, choices=OnOverlap, default=OnOverlap.SKIP
    )
    max_running = models.PositiveSmallIntegerField(
        "run side by side",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Empty: 1, or no limit where overlap is allowed.",
    )
    max_attempts = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    retry_backoff_s = models.FloatField(
        "first retry after (s)",
        default=10,
        validators=[MinValueValidator(0), MaxValueValidator(LONGEST_S)],
    )
    retry_factor = models.FloatField(
        "each later retry waits longer by",
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
    )
    retry_cap_s = models.FloatField(
        "a retry waits at most (s)",
        default=3600,
        validators=[MinValueValidator(0), MaxValueValidator(LONGEST_S)],
    )
    retry_jitter = models.FloatField(
        "spread retries by",
        default=0.1,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="0.1: a tenth earlier or later, by chance.",
    )
    timeout_s = models.FloatField(
        "timeout (s)",
        default=3600,
        validators=[MinValueValidator(0.1), MaxValueValidator(LONGEST_S)],
    )
    guarantee = models.CharField(
        "when its node dies", max_length=20, choices=Guarantee, default=Guarantee.AT_LEAST_ONCE
    )
    isolation = models.CharField(
        "runs",
        max_length=10,
        choices=Isolation,
        default=Isolation.THREAD,
        db_default=Isolation.THREAD,
        help_text=(
            "A process can be killed when it does not stop, and takes nothing with it when it crashes; "
            "a thread starts sooner."
        ),
    )
    memory_limit_mb = models.PositiveIntegerField(
        "memory limit (MiB)",
        null=True,
        blank=True,
        validators=[MinValueValidator(16), MaxValueValidator(1024 * 1024)],
        help_text="Of a process of its own, beyond what Python takes. Empty: the node's setting.",
    )
    cpu_limit_s = models.PositiveIntegerField(
        "CPU limit (s)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_S)],
        help_text="Of a process of its own, in seconds of CPU. Empty: the node's setting.",
    )
    keep_days = models.PositiveIntegerField(
        "keep its history for (days)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(36_500)],
        help_text="How long finished executions and gaps are kept. Empty: the site's setting.",
    )
    keep_last = models.PositiveIntegerField(
        "keep at most",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="So many executions, and so many gaps, the newest. Empty: any number.",
    )

    enabled = models.BooleanField(
        default=True, help_text="A disabled job has no fire times; it can still be run by hand."
    )
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    paused_by = models.CharField(max_length=150, blank=True, default="", editable=False)
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    pause_reason = models.CharField(max_length=500, blank=True, default="", editable=False)

    provenance = models.CharField(
        max_length=10, choices=Provenance, default=Provenance.CODE, editable=False
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    """Nobody to ask is nobody who forbids: an account with jobs is switched off, not deleted."""
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=DatabaseNow(), editable=False)
    updated_at = models.DateTimeField(db_default=DatabaseNow(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = JobManager()
    including_deleted = JobQuerySet.as_manager()

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(deleted_at=None),
                name="one_job_per_name",
                violation_error_message="There is a job with this name already.",
            ),
            models.CheckConstraint(
                condition=Q(priority__range=(-100, 100)), name="job_priority_is_in_range"
            ),
            models.CheckConstraint(
                condition=Q(max_attempts__gte=1), name="job_has_at_least_one_attempt"
            ),
            models.CheckConstraint(condition=Q(timeout_s__gt=0), name="job_timeout_is_positive"),
            models.CheckConstraint(
                condition=Q(start_at=None) | Q(end_at=None) | Q(start_at__lt=F("end_at")),
                name="job_starts_before_it_ends",
            ),
            # What the bulk forms of the ORM and plain SQL could write past the validators.
            models.CheckConstraint(
                condition=Q(on_misfire__in=OnMisfire.values)
                & Q(on_overlap__in=OnOverlap.values)
                & Q(guarantee__in=Guarantee.values)
                & Q(day_match__in=DayMatch.values)
                & Q(calendar_mode__in=CalendarMode.values)
                & Q(on_closed__in=OnClosed.values),
                name="job_policies_are_known",
            ),
            models.CheckConstraint(
                condition=Q(isolation__in=Isolation.values), name="job_isolation_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["paused_until"],
                condition=Q(paused_until__isnull=False),
                name="job_pause_ends",
            ),
            # What pruning looks for.
            models.Index(
                fields=["id"],
                condition=Q(keep_days__isnull=False) | Q(keep_last__isnull=False),
                name="job_keeps_by_itself",
            ),
            models.Index(
                fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="job_deleted"
            ),
            # Whose they are, and which have a tag.
            GinIndex(fields=["tags"], name="job_tags"),
        ]
        permissions = [
            ("run_job", "Can run jobs, and cancel and retry executions"),
            ("pause_job", "Can pause and resume jobs"),
            ("see_all_jobs", "Sees everybody's jobs where they belong to groups"),
            # What jobs may do; `access.rights` adds one for each task and command that is known.
            ("use_task", "May let jobs run any task"),
            ("use_http", "May let jobs call any HTTP endpoint"),
            ("use_management", "May let jobs run any management command"),
            ("use_shell", "May let jobs run any shell command"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        # The triggers write the revision and mark the plan; this reads what they decided.
        super().save(*args, **kwargs)
        self.refresh_from_db(fields=["version", "created_at", "updated_at"])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Mark as deleted; no fire time after this becomes an execution."""
        deleted: tuple[int, dict[str, int]] = type(self).objects.filter(pk=self.pk).delete()
        return deleted

    def clean(self) -> None:
        """Refuse what cannot work, with every problem under its field."""
        errors: dict[str, list[str]] = {}
        for problem in self.problems(now=database_now()):
            field = problem.field.split(".", 1)[0]
            errors.setdefault(field, []).append(problem.message)
        if errors:
            raise ValidationError(errors)

    def problems(self, *, now: datetime) -> list[Problem]:
        """What is wrong with the schedule, the window, the target and the arguments."""
        found = self._timing_problems(now)
        found += target_problems(self.kind, self.target, self.arguments)
        if self.isolation == Isolation.THREAD:
            found += [
                Problem(name, f"Only a process of its own can be limited: {LIMITED_NEEDS}.")
                for name in ("memory_limit_mb", "cpu_limit_s")
                if getattr(self, name) is not None
            ]
        return found

    def _timing_problems(self, now: datetime) -> list[Problem]:
        try:
            parse_schedule(
                self.schedule,
                self.timezone,
                key=self.name,
                anchor=self.anchor_at,
                day_match=self.day_match,
            )
        except Invalid as error:
            # The person knows two inputs, however many parts of the text are wrong.
            return [
                Problem("timezone" if problem.field == "timezone" else "schedule", problem.message)
                for problem in error.problems
            ]
        if self.start_at and self.end_at and self.start_at >= self.end_at:
            return [Problem("end_at", "The end must come after the start.")]
        if self.schedule.strip().lower() == "@manual" or not self.enabled:
            return []
        spec = self.spec()
        timetable = Timetable.of(spec)
        window = f" until {self.end_at:%Y-%m-%d %H:%M:%S %Z}" if self.end_at else ""
        if timetable.next_after(now) is None:
            return [
                Problem(
                    "schedule",
                    f"{self.schedule}: there is no fire time from now{window}. "
                    "Choose a later moment, or @manual for a job that only runs by hand.",
                )
            ]
        if next_open(timetable, now, own_closures(spec)) is None:
            return [
                Problem(
                    "calendar",
                    f"The calendar {spec.calendar_name} closes the job at every fire time from now{window}. "
                    "Choose other days, or to run anyway when closed.",
                )
            ]
        return []

    def spec(self) -> JobSpec:
        """The definition as a value, as the rules take it."""
        values = {name: getattr(self, name) for name in JobSpec.field_names()}
        # The copies on the row are as old as its last save.
        values["calendar_name"] = self.calendar.name if self.calendar else ""
        values["calendar_days"] = self.calendar.ranges if self.calendar else ()
        return JobSpec.from_json(values)


class JobRevision(models.Model):
    """One definition of a job, as it was from one edit to the next. Written by a trigger, never changed."""

    job = models.ForeignKey(
        Job, on_delete=models.DO_NOTHING, db_constraint=False, related_name="revisions"
    )
    version = models.PositiveIntegerField()
    spec = models.JSONField()
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        ordering = ("job_id", "-version")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["job", "version"], name="one_revision_per_version")
        ]
        indexes = [
            # Finds executions by their arguments, which most of them have from here.
            GinIndex(fields=["spec"], opclasses=["jsonb_path_ops"], name="revision_spec")
        ]

    def __str__(self) -> str:
        return f"{self.spec.get('name')} v{self.version}"


class JobPlan(models.Model):
    """When a job fires next. Written by a trigger when the job is edited, and otherwise by `lifecycle` alone.

    Its row lock decides between nodes: who holds it gives verdicts for the job's fire times.
    """

    job = models.OneToOneField(
        Job,
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="plan",
    )
    revision = models.ForeignKey(
        JobRevision,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    """The revision that `next_fire_at` was computed from."""
    next_fire_at = models.DateTimeField(null=True)
    """NULL: nothing to decide in the future (by hand only, paused, disabled, over)."""
    decided_until = models.DateTimeField()
    """Every fire time up to here has its verdict; planning goes on from here, never from now."""
    dirty = models.BooleanField(default=False, db_default=False)
    """There are revisions after `revision` that the plan does not know yet."""
    runs = models.PositiveBigIntegerField(default=0, db_default=0)
    """Executions created by the schedule, for `max_runs`."""
    open_gap = models.BigIntegerField(null=True)
    """The gap that the last decided fire time belongs to, if it became no execution."""
    skip_at = models.DateTimeField(null=True)
    """A fire time that somebody wants skipped."""
    skip_by = models.CharField(max_length=150, default="", db_default="")
    problem = models.CharField(max_length=500, default="", db_default="")
    """Why the definition cannot be planned, if it was written past the validation."""

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["next_fire_at"],
                condition=Q(next_fire_at__isnull=False),
                name="plan_next_fire_at",
            ),
            models.Index(fields=["job"], condition=Q(dirty=True), name="plan_dirty"),
        ]

    def __str__(self) -> str:
        return f"plan of job {self.job_id}"
