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
