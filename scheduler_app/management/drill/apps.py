"""The Django app of a drill; installed in the nodes of a drill and nowhere else."""

from __future__ import annotations

from django.apps import AppConfig


class DrillConfig(AppConfig):
    name = "scheduler_app.management.drill"
    label = "scheduler_drill"
