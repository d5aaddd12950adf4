"""The audit trail, which a trigger keeps from being changed.

Pruning may remove what is old: it says so by a setting of its own transaction.
"""

import django.db.models.deletion
from django.db import migrations, models

import scheduler_app.models.clock

FORWARD = """
CREATE FUNCTION scheduler_audit_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('scheduler.pruning', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER scheduler_audit_is_append_only
BEFORE UPDATE OR DELETE ON scheduler_app_auditentry
FOR EACH ROW EXECUTE FUNCTION scheduler_audit_is_append_only();
"""

BACKWARD = """
DROP TRIGGER scheduler_audit_is_append_only ON scheduler_app_auditentry;
DROP FUNCTION scheduler_audit_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0003_node_condition"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=scheduler_app.models.clock.DatabaseNow())),
                ("who", models.CharField(max_length=150)),
                ("user_id", models.CharField(blank=True, default="", max_length=64)),
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
                ("address", models.CharField(blank=True, default="", max_length=45)),
                ("token", models.CharField(blank=True, default="", max_length=100)),
                ("verb", models.CharField(max_length=40)),
                ("object_kind", models.CharField(max_length=20)),
                ("object_id", models.CharField(max_length=64)),
                ("object_name", models.CharField(blank=True, default="", max_length=200)),
                ("changes", models.JSONField(default=dict)),
                ("reason", models.CharField(blank=True, default="", max_length=500)),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="audit_entries",
                        to="scheduler_app.job",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ("-at", "-id"),
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["at", "id"], name="audit_newest"),
                    models.Index(fields=["job", "at"], name="audit_of_job"),
                    models.Index(fields=["object_kind", "object_id", "at"], name="audit_of_object"),
                    models.Index(fields=["who", "at"], name="audit_of_person"),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
