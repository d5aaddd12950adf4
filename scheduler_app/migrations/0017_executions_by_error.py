"""When a failure was first seen: the failures that say the same, oldest first, whatever numbers and ids differ in them."""

from django.db import migrations, models

FORWARD = r"""
-- What two errors with the same fingerprint have in common: of the first line the letters that are never part of a
-- number, an id or an address. Coarser than the fingerprint, which the few that an index finds are then compared by.
CREATE FUNCTION scheduler_error_kind(error text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT left(
        regexp_replace(
            left(split_part(btrim(error, E' \t\n\r'), E'\n', 1), 400),
            '[^ghijklmnopqrstuvwyzGHIJKLMNOPQRSUVWYZ]+', '', 'g'
        ),
        60
    )
$$;
"""

BACKWARD = "DROP FUNCTION scheduler_error_kind(text)"


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0016_lease_of_a_node"),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                models.Func(models.F("error"), function="scheduler_error_kind"),
                models.F("scheduled_for"),
                models.F("id"),
                condition=models.Q(("status__in", ("failed", "lost"))),
                name="execution_by_error",
            ),
        ),
    ]
