"""Business calendars: named lists of days that jobs avoid or follow."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from scheduler_app.rules.calendars import read_days

from .clock import DatabaseNow


class Calendar(models.Model):
    """Days under a name. A trigger copies them to the jobs that use them, which plans those anew."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True, max_length=10_000)
    days = models.TextField(
        blank=True,
        max_length=100_000,
        help_text=(
            "One day or range a line: 2030-12-25, or 2030-12-24 - 2030-12-26. "
            "What follows a # is a remark."
        ),
    )
    ranges = models.JSONField(default=list, editable=False)
    """The days as pairs of first and last, read from the text."""
    updated_at = models.DateTimeField(db_default=DatabaseNow(), editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        # One source: what people wrote. Lines that cannot be read are refused by clean().
        self.ranges = [
            [first.isoformat(), last.isoformat()] for first, last in read_days(self.days)[0]
        ]
        self.updated_at = DatabaseNow()
        fields = kwargs.get("update_fields")
        if fields is not None and "days" in fields:
            kwargs["update_fields"] = {*fields, "ranges", "updated_at"}
        super().save(*args, **kwargs)
        self.refresh_from_db(fields=["updated_at"])

    def clean(self) -> None:
        """Refuse what is not a list of days, naming the lines."""
        problems = read_days(self.days)[1]
        if problems:
            raise ValidationError({"days": [problem.message for problem in problems]})
