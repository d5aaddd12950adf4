"""The operator's pages: the stock Django admin with lists, pages and buttons of our own.

Nothing here writes a job or an execution: every change is a verb of `lifecycle`, asked for by POST, allowed by a
permission and noted by the verb in the audit trail.
"""

from django.contrib import admin

from . import audit, calendars, executions, gaps, jobs, nodes, pauses, tokens
from .login import LoginForm

__all__ = ["audit", "calendars", "executions", "gaps", "jobs", "nodes", "pauses", "tokens"]

admin.site.login_form = LoginForm
