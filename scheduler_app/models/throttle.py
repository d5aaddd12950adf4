"""How often somebody did something of late: counters that all web processes share."""

from __future__ import annotations

from django.db import models


class Throttle(models.Model):
    """One counter. Its table is unlogged: a count costs no wait for the disk, and is forgotten after a crash."""

    key = models.CharField(max_length=200, primary_key=True)
    minute = models.BigIntegerField()
    """Since 1970, by the database's clock."""
    count = models.IntegerField()
    """In this minute."""
    before = models.IntegerField(default=0, db_default=0)
    """In the minute before."""

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["minute"], name="throttle_oldest")]

    def __str__(self) -> str:
        return self.key
