import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import scheduler_app.models.clock


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Defaults of the tables below call it. STABLE, so that `next_fire_at <= scheduler_now()` can use an index.
        migrations.RunSQL(
            """
            CREATE FUNCTION scheduler_now() RETURNS timestamptz
            LANGUAGE sql STABLE PARALLEL SAFE
            AS 'SELECT statement_timestamp()'
            """,
            "DROP FUNCTION scheduler_now()",
        ),
        migrations.CreateModel(
            name="Calendar",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("description", models.TextField(blank=True, max_length=10000)),
                (
                    "days",
                    models.TextField(
                        blank=True,
                        help_text="One day or range a line: 2030-12-25, or 2030-12-24 - 2030-12-26. What follows a # is a remark.",
                        max_length=100000,
                    ),
                ),
                ("ranges", models.JSONField(default=list, editable=False)),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=scheduler_app.models.clock.DatabaseNow(), editable=False
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Job",
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
                        help_text="How people and programs call the job; unique among all jobs.",
                        max_length=200,
                    ),
                ),
                ("description", models.TextField(blank=True, max_length=10000)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=50),
                        blank=True,
                        default=list,
                        size=20,
                    ),
                ),
                (
                    "schedule",
                    models.CharField(
                        default="@manual",
                        help_text="Cron with 5 fields (minute hour day month weekday) or 6 (second first), @hourly, @daily, @every 90s, @at 2030-01-31T09:00, or @manual.",
                        max_length=200,
                    ),
                ),
                (
                    "timezone",
                    models.CharField(default="UTC", max_length=64, verbose_name="time zone"),
                ),
                (
                    "anchor_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="@every counts from this moment. Empty: from 1970-01-01 00:00 UTC.",
                        null=True,
                        verbose_name="anchor",
                    ),
                ),
                (
                    "day_match",
                    models.CharField(
                        choices=[("or", "Either may match"), ("and", "Both must match")],
                        default="or",
                        max_length=3,
                        verbose_name="day of month and weekday",
                    ),
                ),
                (
                    "start_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="not before"),
                ),
                ("end_at", models.DateTimeField(blank=True, null=True, verbose_name="not after")),
                (
                    "max_runs",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="runs at most",
                    ),
                ),
                (
                    "jitter_s",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Shifts the job's fire times by a fixed amount below this, to spread load.",
                        validators=[django.core.validators.MaxValueValidator(86400)],
                        verbose_name="jitter (s)",
                    ),
                ),
                (
                    "calendar_mode",
                    models.CharField(
                        choices=[("avoid", "On the listed days"), ("follow", "On all other days")],
                        default="avoid",
                        max_length=10,
                        verbose_name="closed",
                    ),
                ),
                (
                    "on_closed",
                    models.CharField(
                        choices=[
                            ("run", "Run anyway"),
                            ("skip", "Skip them"),
                            ("shift", "Run once on the next open day"),
                        ],
                        default="skip",
                        max_length=10,
                        verbose_name="when closed",
                    ),
                ),
                (
                    "calendar_name",
                    models.CharField(db_default="", default="", editable=False, max_length=100),
                ),
                ("calendar_days", models.JSONField(db_default=[], default=list, editable=False)),
                ("kind", models.CharField(default="task", max_length=20)),
                (
                    "target",
                    models.CharField(
                        help_text="The task's registered name, or the URL to call.", max_length=2000
                    ),
                ),
                ("arguments", models.JSONField(blank=True, default=dict)),
                ("queue", models.CharField(default="default", max_length=50)),
                (
                    "priority",
                    models.SmallIntegerField(
                        default=0,
                        help_text="-100 to 100; higher runs first.",
                        validators=[
                            django.core.validators.MinValueValidator(-100),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                (
                    "on_misfire",
                    models.CharField(
                        choices=[
                            ("latest", "Run once, for the latest"),
                            ("skip", "Run none"),
                            ("all", "Run all, oldest first"),
                        ],
                        default="latest",
                        max_length=10,
                        verbose_name="when fire times were missed",
                    ),
                ),
                (
                    "misfire_grace_s",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="A missed fire time older than this is not run any more. Empty: no limit.",
                        null=True,
                        validators=[django.core.validators.MaxValueValidator(31622400)],
                        verbose_name="missed for at most (s)",
                    ),
                ),
                (
                    "on_overlap",
                    models.CharField(
                        choices=[
                            ("skip", "Skip it"),
                            ("queue_one", "Queue it, one at most"),
                            ("queue_all", "Queue it"),
                            ("cancel_running", "Cancel the running one"),
                            ("allow", "Run both"),
                        ],
                        default="skip",
                        max_length=20,
                        verbose_name="when it still runs",
                    ),
                ),
                (
                    "max_running",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Empty: 1, or no limit where overlap is allowed.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="run side by side",
                    ),
                ),
                (
                    "max_attempts",
                    models.PositiveSmallIntegerField(
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "retry_backoff_s",
                    models.FloatField(
                        default=10,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(31622400),
                        ],
                        verbose_name="first retry after (s)",
                    ),
                ),
                (
                    "retry_factor",
                    models.FloatField(
                        default=2,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="each later retry waits longer by",
                    ),
                ),
                (
                    "retry_cap_s",
                    models.FloatField(
                        default=3600,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(31622400),
                        ],
                        verbose_name="a retry waits at most (s)",
                    ),
                ),
                (
                    "retry_jitter",
                    models.FloatField(
                        default=0.1,
                        help_text="0.1: a tenth earlier or later, by chance.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                        verbose_name="spread retries by",
                    ),
                ),
                (
                    "timeout_s",
                    models.FloatField(
                        default=3600,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(31622400),
                        ],
                        verbose_name="timeout (s)",
                    ),
                ),
                (
                    "guarantee",
                    models.CharField(
                        choices=[
                            ("at_least_once", "At least once: run it again"),
                            ("at_most_once", "At most once: give it up as lost"),
                        ],
                        default="at_least_once",
                        max_length=20,
                        verbose_name="when its node dies",
                    ),
                ),
                (
                    "enabled",
                    models.BooleanField(
                        default=True,
                        help_text="A disabled job has no fire times; it can still be run by hand.",
                    ),
                ),
                ("paused_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "paused_by",
                    models.CharField(blank=True, default="", editable=False, max_length=150),
                ),
                ("paused_until", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "pause_reason",
                    models.CharField(blank=True, default="", editable=False, max_length=500),
                ),
                (
                    "provenance",
                    models.CharField(
                        choices=[("admin", "Admin"), ("api", "API"), ("code", "Code")],
                        default="code",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("version", models.PositiveIntegerField(db_default=1, default=1, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=scheduler_app.models.clock.DatabaseNow(), editable=False
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=scheduler_app.models.clock.DatabaseNow(), editable=False
                    ),
                ),
                ("deleted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "calendar",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="jobs",
                        to="scheduler_app.calendar",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
                "permissions": [
                    ("run_job", "Can run jobs, and cancel and retry executions"),
                    ("pause_job", "Can pause and resume jobs"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ZoneData",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=64)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Gap",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("count", models.PositiveBigIntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("missed", "missed: no node was there in time"),
                            ("coalesced", "missed; one later run stands for them"),
                            ("overlap", "the one before still ran"),
                            ("retrying", "the one before waits for its next attempt"),
                            ("paused", "paused"),
                            ("calendar", "closed by its calendar"),
                            ("skipped", "skipped by hand"),
                            ("limit", "more missed runs than are caught up with"),
                        ],
                        max_length=20,
                    ),
                ),
                ("who", models.CharField(db_default="", default="", max_length=150)),
                ("detail", models.CharField(db_default="", default="", max_length=500)),
                (
                    "created_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="gaps",
                        to="scheduler_app.job",
                    ),
                ),
            ],
            options={
                "ordering": ("job_id", "-first_at"),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Backfill",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("only_missing", models.BooleanField()),
                ("max_running", models.PositiveSmallIntegerField()),
                ("count", models.PositiveIntegerField()),
                ("requested_by", models.CharField(db_default="", default="", max_length=150)),
                (
                    "created_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="backfills",
                        to="scheduler_app.job",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at",),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="JobRevision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                ("spec", models.JSONField()),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(blank=True, default="", max_length=150)),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="revisions",
                        to="scheduler_app.job",
                    ),
                ),
            ],
            options={
                "ordering": ("job_id", "-version"),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Execution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("spec", models.JSONField(null=True)),
                (
                    "trigger",
                    models.CharField(
                        choices=[
                            ("schedule", "Schedule"),
                            ("manual", "Run now"),
                            ("api", "API"),
                            ("backfill", "Backfill"),
                            ("task", "Enqueued task"),
                        ],
                        max_length=10,
                    ),
                ),
                ("backfill", models.UUIDField(null=True)),
                ("scheduled_for", models.DateTimeField()),
                ("run_after", models.DateTimeField()),
                ("queue", models.CharField(default="default", max_length=50)),
                ("priority", models.SmallIntegerField(default=0)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("ready", "Ready"),
                            ("blocked", "Blocked"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("lost", "Lost"),
                        ],
                        default="ready",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(db_default="", default="", max_length=40)),
                ("token", models.BigIntegerField(db_default=0, default=0)),
                ("attempt", models.IntegerField(db_default=0, default=0)),
                ("crashes", models.SmallIntegerField(db_default=0, default=0)),
                (
                    "created_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                ("claimed_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("cancelled_by", models.CharField(db_default="", default="", max_length=150)),
                ("result", models.JSONField(null=True)),
                ("error", models.TextField(db_default="", default="")),
                ("traceback", models.TextField(db_default="", default="")),
                ("failures", models.JSONField(db_default=[], default=list)),
                ("requested_by", models.CharField(db_default="", default="", max_length=150)),
                ("release", models.CharField(db_default="", default="", max_length=100)),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="executions",
                        to="scheduler_app.job",
                    ),
                ),
                (
                    "revision",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="scheduler_app.jobrevision",
                    ),
                ),
            ],
            options={
                "ordering": ("-scheduled_for", "-id"),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="LogChunk",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("attempt", models.IntegerField()),
                ("token", models.BigIntegerField(db_default=0, default=0)),
                ("seq", models.IntegerField()),
                ("text", models.TextField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                (
                    "execution",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="log_chunks",
                        to="scheduler_app.execution",
                    ),
                ),
            ],
            options={
                "ordering": ("execution_id", "attempt", "token", "seq"),
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                ("release", models.CharField(db_default="", default="", max_length=100)),
                (
                    "queues",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=50), default=list, size=None
                    ),
                ),
                ("threads", models.PositiveIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("draining", "Draining"),
                            ("stopped", "Stopped"),
                            ("dead", "Dead"),
                        ],
                        default="active",
                        max_length=10,
                    ),
                ),
                ("state_reason", models.CharField(db_default="", default="", max_length=500)),
                (
                    "started_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                (
                    "heartbeat_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                ("last_tick_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("busy", models.PositiveIntegerField(db_default=0, default=0)),
                ("listening", models.BooleanField(db_default=False, default=False)),
            ],
            options={
                "ordering": ("-id",),
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ("active", "draining"))),
                        fields=["heartbeat_at"],
                        name="node_alive",
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="execution",
            name="node",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="executions",
                to="scheduler_app.node",
            ),
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[("all", "Everything"), ("queue", "A queue"), ("tag", "A tag")],
                        max_length=10,
                    ),
                ),
                ("value", models.CharField(blank=True, default="", max_length=50)),
                (
                    "paused_at",
                    models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow()),
                ),
                ("paused_by", models.CharField(blank=True, default="", max_length=150)),
                ("paused_until", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, default="", max_length=500)),
                ("ended_at", models.DateTimeField(editable=False, null=True)),
                (
                    "ended_by",
                    models.CharField(db_default="", default="", editable=False, max_length=150),
                ),
            ],
            options={
                "ordering": ("scope", "value"),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)),
                        fields=("scope", "value"),
                        name="one_pause_per_scope",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("scope", "all"), ("value", "")),
                            models.Q(
                                models.Q(("scope", "all"), _negated=True),
                                models.Q(("value", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="a_pause_names_what_it_covers",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="JobPlan",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="plan",
                        serialize=False,
                        to="scheduler_app.job",
                    ),
                ),
                ("next_fire_at", models.DateTimeField(null=True)),
                ("decided_until", models.DateTimeField()),
                ("dirty", models.BooleanField(db_default=False, default=False)),
                ("runs", models.PositiveBigIntegerField(db_default=0, default=0)),
                ("open_gap", models.BigIntegerField(null=True)),
                ("skip_at", models.DateTimeField(null=True)),
                ("skip_by", models.CharField(db_default="", default="", max_length=150)),
                ("problem", models.CharField(db_default="", default="", max_length=500)),
                (
                    "revision",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="scheduler_app.jobrevision",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("paused_until__isnull", False)),
                fields=["paused_until"],
                name="job_pause_ends",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["deleted_at"],
                name="job_deleted",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)),
                fields=("name",),
                name="one_job_per_name",
                violation_error_message="There is a job with this name already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__range", (-100, 100))),
                name="job_priority_is_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_attempts__gte", 1)), name="job_has_at_least_one_attempt"
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("timeout_s__gt", 0)), name="job_timeout_is_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("start_at", None),
                    ("end_at", None),
                    ("start_at__lt", models.F("end_at")),
                    _connector="OR",
                ),
                name="job_starts_before_it_ends",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("on_misfire__in", ["latest", "skip", "all"]),
                    (
                        "on_overlap__in",
                        ["skip", "queue_one", "queue_all", "cancel_running", "allow"],
                    ),
                    ("guarantee__in", ["at_least_once", "at_most_once"]),
                    ("day_match__in", ["or", "and"]),
                    ("calendar_mode__in", ["avoid", "follow"]),
                    ("on_closed__in", ["run", "skip", "shift"]),
                ),
                name="job_policies_are_known",
            ),
        ),
        migrations.AddIndex(
            model_name="gap",
            index=models.Index(fields=["last_at"], name="gap_oldest"),
        ),
        migrations.AddConstraint(
            model_name="gap",
            constraint=models.UniqueConstraint(
                fields=("job", "first_at"), name="one_gap_per_fire_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="jobrevision",
            constraint=models.UniqueConstraint(
                fields=("job", "version"), name="one_revision_per_version"
            ),
        ),
        migrations.AddConstraint(
            model_name="logchunk",
            constraint=models.UniqueConstraint(
                fields=("execution", "attempt", "token", "seq"), name="one_log_chunk_per_place"
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                models.OrderBy(models.F("priority"), descending=True),
                models.F("run_after"),
                models.F("id"),
                condition=models.Q(("status", "ready")),
                name="execution_ready",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "running")), fields=["node"], name="execution_running"
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status__in", ("ready", "blocked", "running"))),
                fields=["job", "scheduled_for"],
                name="execution_live",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "blocked")),
                fields=["job", "scheduled_for"],
                name="execution_blocked",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["scheduled_for", "id"], name="execution_newest"),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["job", "scheduled_for"], name="execution_newest_of_job"),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status__in", ("failed", "cancelled", "lost"))),
                fields=["scheduled_for", "id"],
                name="execution_unsuccessful",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.UniqueConstraint(
                condition=models.Q(("trigger", "schedule")),
                fields=("job", "scheduled_for"),
                name="one_execution_per_fire_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.UniqueConstraint(
                condition=models.Q(("backfill__isnull", False)),
                fields=("backfill", "scheduled_for"),
                name="one_execution_per_backfilled_moment",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["ready", "blocked", "running", "succeeded", "failed", "cancelled", "lost"],
                    )
                ),
                name="execution_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "running"), _negated=True),
                    ("node__isnull", False),
                    _connector="OR",
                ),
                name="a_running_execution_has_a_node",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("finished_at", None), ("status__in", ("ready", "blocked", "running"))
                    ),
                    models.Q(
                        ("finished_at__isnull", False),
                        ("status__in", ("succeeded", "failed", "cancelled", "lost")),
                    ),
                    _connector="OR",
                ),
                name="a_finished_execution_has_its_time",
            ),
        ),
        migrations.AddIndex(
            model_name="jobplan",
            index=models.Index(
                condition=models.Q(("next_fire_at__isnull", False)),
                fields=["next_fire_at"],
                name="plan_next_fire_at",
            ),
        ),
        migrations.AddIndex(
            model_name="jobplan",
            index=models.Index(
                condition=models.Q(("dirty", True)), fields=["job"], name="plan_dirty"
            ),
        ),
    ]
