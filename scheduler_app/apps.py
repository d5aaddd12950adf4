"""The Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SchedulerAppConfig(AppConfig):
    name = "scheduler_app"
    verbose_name = "Scheduler"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from scheduler_app import checks  # noqa: F401 - registers them
        from scheduler_app.access.rights import create_target_permissions

        post_migrate.connect(create_target_permissions, sender=self)
