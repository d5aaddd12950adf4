"""What must hold however a job is written: by the admin, the API, a bulk update or plain SQL.

Every edit becomes a revision, marks the job's plan and moves the version. Pausing holds what waits, deleting
cancels it. The triggers lock the plan's row before they look at executions, as `lifecycle` does.
"""

from django.db import migrations

FORWARD = """
-- The definition of a job: every column but those that say who keeps the row and how.
CREATE FUNCTION scheduler_job_spec(job scheduler_app_job) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(job) - '{id,provenance,owner_id,version,created_at,updated_at}'::text[]
$$;

CREATE FUNCTION scheduler_job_number() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.calendar_id IS DISTINCT FROM OLD.calendar_id THEN
        -- Who edits the calendar at this moment does not see this job among those that use it, so wait for the end.
        PERFORM FROM scheduler_app_calendar WHERE id = NEW.calendar_id FOR SHARE;
    END IF;
    SELECT COALESCE(max(name), ''), COALESCE(max(ranges::text), '[]')::jsonb
    INTO NEW.calendar_name, NEW.calendar_days
    FROM scheduler_app_calendar
    WHERE id = NEW.calendar_id;
    IF TG_OP = 'INSERT' THEN
        NEW.version := 1;
        NEW.created_at := scheduler_now();
        NEW.updated_at := NEW.created_at;
    ELSIF scheduler_job_spec(NEW) IS DISTINCT FROM scheduler_job_spec(OLD) THEN
        NEW.version := OLD.version + 1;
        NEW.updated_at := scheduler_now();
    ELSE
        NEW.version := OLD.version;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION scheduler_job_record() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    new_revision bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM scheduler_app_jobplan WHERE job_id = OLD.id;
        UPDATE scheduler_app_execution
        SET status = 'cancelled', reason = 'job_deleted', finished_at = scheduler_now()
        WHERE job_id = OLD.id AND status IN ('ready', 'blocked');
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.version = OLD.version THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- First the plan: a node that is firing this job finishes before the cut, or begins after it.
        UPDATE scheduler_app_jobplan SET dirty = true WHERE job_id = NEW.id;
    END IF;
    INSERT INTO scheduler_app_jobrevision (job_id, version, spec, created_at, created_by)
    VALUES (
        NEW.id, NEW.version, scheduler_job_spec(NEW), scheduler_now(),
        left(COALESCE(current_setting('scheduler.actor', true), ''), 150)
    )
    RETURNING id INTO new_revision;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO scheduler_app_jobplan (job_id, revision_id, decided_until, dirty)
        VALUES (NEW.id, new_revision, NEW.created_at, true);
        RETURN NULL;
    END IF;
    IF NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
        UPDATE scheduler_app_execution
        SET status = 'cancelled', reason = 'job_deleted', finished_at = scheduler_now()
        WHERE job_id = NEW.id AND status IN ('ready', 'blocked');
    ELSIF NEW.paused_at IS NOT NULL AND OLD.paused_at IS NULL THEN
        UPDATE scheduler_app_execution
        SET status = 'blocked', reason = 'paused'
        WHERE job_id = NEW.id AND status IN ('ready', 'blocked') AND trigger = 'schedule';
    ELSIF NEW.paused_at IS NULL AND OLD.paused_at IS NOT NULL THEN
        -- They go on when the job's limit allows, which the next tick finds out.
        UPDATE scheduler_app_execution
        SET reason = ''
        WHERE job_id = NEW.id AND status = 'blocked' AND reason = 'paused';
    END IF;
    RETURN NULL;
END
$$;

-- A calendar that changes is an edit of the jobs that use it.
CREATE FUNCTION scheduler_calendar_copy() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- In one order, as nodes lock the plans of many jobs too: so that nobody deadlocks.
    PERFORM FROM scheduler_app_job WHERE calendar_id = NEW.id ORDER BY id FOR UPDATE;
    PERFORM FROM scheduler_app_jobplan
    WHERE job_id IN (SELECT id FROM scheduler_app_job WHERE calendar_id = NEW.id)
    ORDER BY job_id
    FOR UPDATE;
    UPDATE scheduler_app_job SET calendar_name = NEW.name WHERE calendar_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER scheduler_calendar_copy
AFTER UPDATE OF name, ranges ON scheduler_app_calendar
FOR EACH ROW
WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD.ranges IS DISTINCT FROM NEW.ranges)
EXECUTE FUNCTION scheduler_calendar_copy();

CREATE TRIGGER scheduler_job_number
BEFORE INSERT OR UPDATE ON scheduler_app_job
FOR EACH ROW EXECUTE FUNCTION scheduler_job_number();

CREATE TRIGGER scheduler_job_record
AFTER INSERT OR UPDATE OR DELETE ON scheduler_app_job
FOR EACH ROW EXECUTE FUNCTION scheduler_job_record();
"""

BACKWARD = """
DROP TRIGGER scheduler_calendar_copy ON scheduler_app_calendar;
DROP FUNCTION scheduler_calendar_copy();
DROP TRIGGER scheduler_job_record ON scheduler_app_job;
DROP TRIGGER scheduler_job_number ON scheduler_app_job;
DROP FUNCTION scheduler_job_record();
DROP FUNCTION scheduler_job_number();
DROP FUNCTION scheduler_job_spec(scheduler_app_job);
"""


class Migration(migrations.Migration):
    dependencies = [("scheduler_app", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
