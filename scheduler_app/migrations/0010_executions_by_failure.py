"""Lists of what failed, was lost or cancelled, one status alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0009_tallies"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status__in", ("failed", "cancelled", "lost"))),
                fields=["status", "scheduled_for", "id"],
                name="execution_by_failure",
            ),
        ),
    ]
