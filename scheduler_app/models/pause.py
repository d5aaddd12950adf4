"""Pauses that cover more than one job. A pause of one job lies on the job itself."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from .clock import DatabaseNow


class PauseScope(models.TextChoices):
    """What a pause covers."""

    ALL = "all", "Everything"
    QUEUE = "queue", "A queue"
    TAG = "tag", "A tag"


SCOPE_IS_PAUSED = """EXISTS (
          SELECT
          FROM scheduler_app_pause AS pause
          WHERE pause.ended_at IS NULL
            AND (pause.paused_until IS NULL OR pause.paused_until > scheduler_now())
            AND (
                pause.scope = 'all'
                OR pause.scope = 'queue' AND pause.value = execution.queue
                OR pause.scope = 'tag' AND EXISTS (
                    SELECT
                    FROM scheduler_app_job AS tagged
                    WHERE tagged.id = execution.job_id AND pause.value = ANY(tagged.tags)
                )
            )
      )"""
"""SQL: a pause of the `execution`'s queue, of one of its job's tags, or of everything."""


class PauseQuerySet(models.QuerySet["Pause"]):
    """Choices among pauses."""

    def standing(self) -> PauseQuerySet:
        """Those that hold now."""
        return self.filter(Q(paused_until=None) | Q(paused_until__gt=DatabaseNow()), ended_at=None)


class Pause(models.Model):
    """While it stands, the fire times of the jobs it covers become gaps and what waits is not started."""

    scope = models.CharField(max_length=10, choices=PauseScope)
    value = models.CharField(max_length=50, blank=True, default="")
    """The queue or tag; empty for everything."""
    paused_at = models.DateTimeField(db_default=DatabaseNow())
    paused_by = models.CharField(max_length=150, blank=True, default="")
    paused_until = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True, default="")
    ended_at = models.DateTimeField(null=True, editable=False)
    """Ended pauses stay until they are pruned: fire times that lie in them may not be decided yet."""
    ended_by = models.CharField(max_length=150, default="", db_default="", editable=False)

    objects = PauseQuerySet.as_manager()

    class Meta:
        ordering = ("scope", "value")
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "value"], condition=Q(ended_at=None), name="one_pause_per_scope"
            ),
            models.CheckConstraint(
                condition=Q(scope=PauseScope.ALL, value="")
                | (~Q(scope=PauseScope.ALL) & ~Q(value="")),
                name="a_pause_names_what_it_covers",
            ),
        ]

    def __str__(self) -> str:
        return "everything" if self.scope == PauseScope.ALL else f"{self.scope} {self.value}"
