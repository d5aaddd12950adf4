"""What the project itself remembers in its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import models, transaction
from django.utils import timezone


class FirstRunStep(models.Model):
    """Something that `make run` did once for this database and never does again, so that people's changes stay."""

    name = models.CharField(max_length=50, primary_key=True)
    done_at = models.DateTimeField(default=timezone.now)
    detail = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


@contextmanager
def once(name: str, detail: str = "") -> Iterator[bool]:
    """A transaction that is told whether it is the first for this step; a second one waits for the first to end."""
    with transaction.atomic():
        _, first = FirstRunStep.objects.get_or_create(name=name, defaults={"detail": detail})
        yield first
