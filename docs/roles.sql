-- Two roles for the database, so that neither the web processes nor the nodes own the tables. Run it as the owner of the
-- tables, after every `migrate`, in the scheduler's database:
--
--     psql "$OWNERS_DATABASE_URL" --file docs/roles.sql
--
-- Then give the roles passwords (ALTER ROLE … LOGIN PASSWORD …), let the web processes connect as scheduler_web, the nodes as
-- scheduler_node, and only `migrate` and pruning by hand as the owner.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'scheduler_web') THEN
        CREATE ROLE scheduler_web;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'scheduler_node') THEN
        CREATE ROLE scheduler_node;
    END IF;
END
$$;

-- What is not said here is not allowed: no TRUNCATE, no triggers switched off, no tables made.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM scheduler_web, scheduler_node;
GRANT USAGE ON SCHEMA public TO scheduler_web, scheduler_node;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO scheduler_web, scheduler_node;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO scheduler_web;

-- The web processes: people and their sessions, what people write, and what the verbs do to executions.
GRANT INSERT, UPDATE, DELETE ON
    auth_user, auth_group, auth_permission, auth_group_permissions, auth_user_groups, auth_user_user_permissions,
    django_admin_log, django_content_type, django_session,
    scheduler_app_calendar, scheduler_app_idempotencykey, scheduler_app_throttle, scheduler_app_tally
TO scheduler_web;
GRANT INSERT, UPDATE ON
    scheduler_app_job, scheduler_app_jobplan, scheduler_app_execution, scheduler_app_backfill, scheduler_app_bulkoperation,
    scheduler_app_pause, scheduler_app_apitoken
TO scheduler_web;
GRANT INSERT ON scheduler_app_jobrevision, scheduler_app_auditentry TO scheduler_web;
GRANT UPDATE (state, drain_requested_at, drain_requested_by) ON scheduler_app_node TO scheduler_web;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO scheduler_web, scheduler_node;

-- The nodes: everything that becomes of a job, nothing of what people define, and of people only what rights they have.
GRANT SELECT ON
    auth_group, auth_permission, auth_group_permissions, auth_user_groups, auth_user_user_permissions, django_content_type,
    scheduler_app_calendar, scheduler_app_throttle
TO scheduler_node;
-- Not their passwords: Django reads all columns of a user, so the nodes' users are read with them. Where that matters, give jobs no
-- owners, and do not give this.
GRANT SELECT ON auth_user TO scheduler_node;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    scheduler_app_jobplan, scheduler_app_node, scheduler_app_execution, scheduler_app_logchunk, scheduler_app_gap,
    scheduler_app_zonedata, scheduler_app_tally, scheduler_app_bulkoperation, scheduler_app_backfill, scheduler_app_pause,
    scheduler_app_idempotencykey
TO scheduler_node;
GRANT SELECT, INSERT, DELETE ON scheduler_app_jobrevision, scheduler_app_auditentry TO scheduler_node;
GRANT DELETE ON scheduler_app_throttle TO scheduler_node;
-- The end of a pause that was given one, and the removal of jobs that were deleted long ago.
GRANT SELECT, DELETE, UPDATE (paused_at, paused_by, paused_until, pause_reason) ON scheduler_app_job TO scheduler_node;

-- Behind a transaction pooler, the bound of the web part's queries is best a property of its role.
ALTER ROLE scheduler_web SET statement_timeout = '5s';
