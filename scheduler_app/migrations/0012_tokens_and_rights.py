"""API tokens, rights on targets, and the counters of throttles, whose table is unlogged."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import scheduler_app.models.clock


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0011_test_runs"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={
                "ordering": ("name", "id"),
                "permissions": [
                    ("run_job", "Can run jobs, and cancel and retry executions"),
                    ("pause_job", "Can pause and resume jobs"),
                    ("use_task", "May let jobs run any task"),
                    ("use_http", "May let jobs call any HTTP endpoint"),
                    ("use_management", "May let jobs run any management command"),
                    ("use_shell", "May let jobs run any shell command"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="What it is for, such as: deploy pipeline.", max_length=100
                    ),
                ),
                ("key", models.CharField(editable=False, max_length=16, unique=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("read", "Read"),
                                ("run", "Run, cancel and retry"),
                                ("pause", "Pause and resume"),
                                ("edit", "Create, edit and delete"),
                            ],
                            max_length=10,
                        ),
                        size=None,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=scheduler_app.models.clock.DatabaseNow(), editable=False
                    ),
                ),
                ("created_by", models.CharField(editable=False, max_length=150)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                ("revoked_by", models.CharField(default="", editable=False, max_length=150)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="scheduler_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "ordering": ("-id",),
                "default_permissions": ("view", "add", "delete"),
            },
        ),
        migrations.CreateModel(
            name="Throttle",
            fields=[
                ("key", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("minute", models.BigIntegerField()),
                ("count", models.IntegerField()),
                ("before", models.IntegerField(db_default=0, default=0)),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["minute"], name="throttle_oldest")],
            },
        ),
        # Counts are forgotten after a crash, so that none of them has to wait for the disk.
        migrations.RunSQL(
            "ALTER TABLE scheduler_app_throttle SET UNLOGGED",
            "ALTER TABLE scheduler_app_throttle SET LOGGED",
        ),
    ]
