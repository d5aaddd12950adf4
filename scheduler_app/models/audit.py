"""Who did what, when, from where: the audit trail. Written by the verbs of `lifecycle`, and never changed."""

from __future__ import annotations

from django.db import models

from .clock import DatabaseNow
from .job import Job


class Source(models.TextChoices):
    """By which way somebody came."""

    ADMIN = "admin", "Admin"
    API = "api", "API"
    COMMAND = "command", "Command"
    CODE = "code", "Code"


class Verb(models.TextChoices):
    """What was done, as stored and as people read it. Not the column's choices: a new verb needs no migration."""

    JOB_CREATE = "job.create", "Created the job"
    JOB_EDIT = "job.edit", "Edited the job"
    JOB_DELETE = "job.delete", "Deleted the job"
    JOB_PAUSE = "job.pause", "Paused the job"
    JOB_RESUME = "job.resume", "Resumed the job"
    JOB_RUN = "job.run", "Ran the job"
    JOB_TEST = "job.test", "Tried a definition out"
    JOB_BACKFILL = "job.backfill", "Ran past fire times"
    JOB_SKIP = "job.skip", "Skipped the next fire time"
    JOB_UNSKIP = "job.unskip", "Took a skip back"
    EXECUTION_CANCEL = "execution.cancel", "Cancelled the execution"
    EXECUTION_RETRY = "execution.retry", "Retried the execution"
    BULK_CANCEL = "bulk.cancel", "Cancelled all that matched"
    BULK_RETRY = "bulk.retry", "Retried all that matched"
    BULK_STOP = "bulk.stop", "Stopped a bulk operation"
    PAUSE_CREATE = "pause.create", "Paused"
    PAUSE_END = "pause.end", "Ended the pause"
    CALENDAR_CREATE = "calendar.create", "Created the calendar"
    CALENDAR_EDIT = "calendar.edit", "Edited the calendar"
    CALENDAR_DELETE = "calendar.delete", "Deleted the calendar"
    NODE_DRAIN = "node.drain", "Asked the node to drain"
    TOKEN_CREATE = "token.create", "Created the token"
    TOKEN_REVOKE = "token.revoke", "Revoked the token"


class AuditEntry(models.Model):
    """One thing that somebody did to one object. A trigger refuses to change or remove it, pruning excepted."""

    at = models.DateTimeField(db_default=DatabaseNow())
    who = models.CharField(max_length=150)
    user_id = models.CharField(max_length=64, blank=True, default="")
    """The key of the user whose name `who` was; empty where it was a program."""
    source = models.CharField(max_length=10, choices=Source)
    address = models.CharField(max_length=45, blank=True, default="")
    """Of the client, as far as the web server knows it."""
    token = models.CharField(max_length=100, blank=True, default="")
    """The name of the API token that was used."""
    verb = models.CharField(max_length=40)
    object_kind = models.CharField(max_length=20)
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200, blank=True, default="")
    job = models.ForeignKey(
        Job,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="audit_entries",
    )
    """The job that it is about, directly or through an execution."""
    changes = models.JSONField(default=dict)
    """By field: `{"schedule": {"old": …, "new": …}}`, with secrets masked."""
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-at", "-id")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["at", "id"], name="audit_newest"),
            models.Index(fields=["job", "at"], name="audit_of_job"),
            models.Index(fields=["object_kind", "object_id", "at"], name="audit_of_object"),
            models.Index(fields=["who", "at"], name="audit_of_person"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.verb} {self.object_name}"

    @property
    def words(self) -> str:
        """The verb as people read it."""
        return str(Verb(self.verb).label) if self.verb in Verb.values else self.verb
