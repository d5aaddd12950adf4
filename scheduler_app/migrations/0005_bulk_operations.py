"""Bulk cancel and retry; finding executions by the arguments of their revisions."""

import django.contrib.postgres.indexes
from django.db import migrations, models

import scheduler_app.models.clock


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0004_audit_trail"),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "verb",
                    models.CharField(
                        choices=[("cancel", "Cancel"), ("retry", "Retry")], max_length=10
                    ),
                ),
                ("selection", models.JSONField()),
                ("reason", models.CharField(db_default="", default="", max_length=500)),
                ("requested_by", models.CharField(max_length=150)),
                ("user_id", models.CharField(db_default="", default="", max_length=64)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("admin", "Admin"),
                            ("api", "API"),
                            ("command", "Command"),
                            ("code", "Code"),
                        ],
                        max_length=10,
                    ),
                ),
                ("address", models.CharField(db_default="", default="", max_length=45)),
                ("token", models.CharField(db_default="", default="", max_length=100)),
                (
                    "created_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                ("expected", models.PositiveBigIntegerField(db_default=0, default=0)),
                ("expected_is_capped", models.BooleanField(db_default=False, default=False)),
                ("cursor_at", models.DateTimeField(null=True)),
                ("cursor_id", models.BigIntegerField(null=True)),
                ("changed", models.PositiveBigIntegerField(db_default=0, default=0)),
                ("refused", models.PositiveBigIntegerField(db_default=0, default=0)),
                ("moved_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("stopped_by", models.CharField(db_default="", default="", max_length=150)),
            ],
            options={
                "ordering": ("-created_at",),
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="jobrevision",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["spec"], name="revision_spec", opclasses=["jsonb_path_ops"]
            ),
        ),
        migrations.AddIndex(
            model_name="bulkoperation",
            index=models.Index(
                condition=models.Q(("finished_at", None)),
                fields=["created_at"],
                name="bulk_unfinished",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("verb__in", ["cancel", "retry"])), name="bulk_verb_is_known"
            ),
        ),
    ]
