"""What nodes have counted, which pruning leaves alone."""

from __future__ import annotations

from django.db import models


class Tally(models.Model):
    """One counter, or one bucket of a histogram. Each is spread over some rows, so that nodes need not wait for each other."""

    pk = models.CompositePrimaryKey("stripe", "name", "label", "bucket")
    stripe = models.SmallIntegerField()
    name = models.CharField(max_length=20)
    label = models.CharField(max_length=20, default="")
    bucket = models.SmallIntegerField(default=0)
    count = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.label}: {self.count}"
