"""What a limit counts and what waits for it: one look for each backfill, however many wait."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0017_executions_by_error"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="execution",
            name="execution_live",
        ),
        migrations.RemoveIndex(
            model_name="execution",
            name="execution_blocked",
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status__in", ("ready", "blocked", "running"))),
                fields=["job", "status", "scheduled_for"],
                name="execution_live",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "blocked")),
                fields=["job", "backfill", "scheduled_for", "id"],
                name="execution_blocked",
            ),
        ),
    ]
