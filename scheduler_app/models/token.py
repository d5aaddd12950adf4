"""API tokens: what programs show instead of a password. Only a digest is kept."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from .clock import DatabaseNow


class Scope(models.TextChoices):
    """What a token may do, never more than its user may."""

    READ = "read", "Read"
    RUN = "run", "Run, cancel and retry"
    PAUSE = "pause", "Pause and resume"
    EDIT = "edit", "Create, edit and delete"


class ApiToken(models.Model):
    """The secret itself is shown once, when the token is made."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="scheduler_tokens"
    )
    name = models.CharField(max_length=100, help_text="What it is for, such as: deploy pipeline.")
    key = models.CharField(max_length=16, unique=True, editable=False)
    """The public part, by which the row is found."""
    digest = models.CharField(max_length=64, editable=False)
    """SHA-256 of the secret part, which is random and long, so that no slow hash is needed."""
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope))
    created_at = models.DateTimeField(db_default=DatabaseNow(), editable=False)
    created_by = models.CharField(max_length=150, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    """To the minute."""
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoked_by = models.CharField(max_length=150, default="", editable=False)

    class Meta:
        verbose_name = "API token"
        ordering = ("-id",)
        default_permissions = ("view", "add", "delete")

    def __str__(self) -> str:
        return self.name

    def allows(self, permission: str) -> bool:
        """Whether a permission lies within the token's scopes; the user must hold it as well."""
        return scope_of(permission) in self.scopes


def scope_of(permission: str) -> str:
    """The scope that a permission belongs to."""
    verb, _, what = permission.rpartition(".")[2].partition("_")
    if verb == "view":
        return Scope.READ
    if verb == "run":
        return Scope.RUN
    if verb == "pause" or what == "pause":
        return Scope.PAUSE
    return Scope.EDIT
