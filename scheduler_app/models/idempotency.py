"""Requests that came with a key, and how they were answered, so that a repetition does nothing twice."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

from .clock import DatabaseNow

KEYS_KEPT = timedelta(days=1)
"""For this long a key stands for its request; then it is pruned, and may be used for another."""


class IdempotencyKey(models.Model):
    """A key of one caller's, written in the transaction of what it asked for: both happened, or neither."""

    user_id = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=10)
    path = models.TextField()
    digest = models.CharField(max_length=64)
    """Of the request's body."""
    status = models.PositiveSmallIntegerField(null=True)
    """NULL only within the transaction that does what was asked."""
    body = models.TextField(default="")
    """The answer as JSON text, which keeps its order."""
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        default_permissions = ()
        constraints = [
            # Of two requests with one key, the second waits here for the first.
            models.UniqueConstraint(fields=["user_id", "key"], name="one_request_per_key")
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotencykey_oldest")]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
