"""What a pause or a delete of the job means for an execution that would begin again: conditions for SQL.

They speak of `execution` and of `job`, its job joined from the left. Exact only while the job's plan is locked,
which pauses and deletes wait for.
"""

JOB_IS_GONE = """(
        execution.job_id IS NOT NULL AND (job.id IS NULL OR job.deleted_at IS NOT NULL)
    )"""

JOB_IS_PAUSED = """(
        execution.trigger = 'schedule'
        AND job.paused_at IS NOT NULL
        AND (job.paused_until IS NULL OR job.paused_until > scheduler_now())
    )"""

SCOPE_IS_PAUSED = """EXISTS (
          SELECT
          FROM scheduler_app_pause AS pause
          WHERE pause.ended_at IS NULL
            AND (pause.paused_until IS NULL OR pause.paused_until > scheduler_now())
            AND (
                pause.scope = 'all'
                OR pause.scope = 'queue' AND pause.value = execution.queue
                OR pause.scope = 'tag' AND EXISTS (
                    SELECT
                    FROM scheduler_app_job AS tagged
                    WHERE tagged.id = execution.job_id AND pause.value = ANY(tagged.tags)
                )
            )
      )"""
"""A pause of the execution's queue, of one of its job's tags, or of everything."""
