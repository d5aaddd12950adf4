"""Which zone data plans were made with."""

from __future__ import annotations

from django.db import models


class ZoneData(models.Model):
    """A time zone that jobs use, and the fingerprint of its rules as the nodes last knew them."""

    name = models.CharField(max_length=64, primary_key=True)
    fingerprint = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
