"""Counters that outlive what they count."""

from django.db import migrations, models

# Rows that are updated all the time, and few: with room on their pages an update touches no index.
ROOM = """
ALTER TABLE scheduler_app_tally SET (
    fillfactor = 40, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0
)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0008_idempotency_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stripe",
                        "name",
                        "label",
                        "bucket",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("stripe", models.SmallIntegerField()),
                ("name", models.CharField(max_length=20)),
                ("label", models.CharField(default="", max_length=20)),
                ("bucket", models.SmallIntegerField(default=0)),
                ("count", models.BigIntegerField(default=0)),
                ("seconds", models.FloatField(default=0)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
