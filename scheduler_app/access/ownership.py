"""Whose jobs a caller sees and touches, where the site turns that on (`SCHEDULER_OWNERSHIP`).

With `tag`, a job belongs to its owner and to each group whose name is one of its tags. Everything else follows from
the jobs: executions, logs, gaps, statistics, the trail of what was done. `visible` has the rows that this leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Q

from scheduler_app.conf import get_config
from scheduler_app.models import Job, PauseScope
from scheduler_app.models.job import JobQuerySet

from .caller import RequestCaller, current_caller
from .rights import APP, NotAllowed

SEE_ALL = f"{APP}.see_all_jobs"

IS_OWN_SQL = "({job}.owner_id = %(view_user)s OR {job}.tags && %(view_groups)s::varchar[])"
"""A condition of a job's row, as `View.condition` is; with `View.parameters`."""
OWN_JOBS_SQL = f"(SELECT id FROM scheduler_app_job AS own WHERE {IS_OWN_SQL.format(job='own')})"

MOST_NAMED = 2000
"""Jobs that a statement names one by one. What the planner knows of each decides between their index and that of all."""


@dataclass(frozen=True)
class View:
    """What somebody sees who does not see everything: their own jobs, and those of their groups."""

    user: str
    """The key of the user; empty for nobody, who sees nothing."""
    groups: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Any) -> View:
        """What `to_json` gave; raises ValueError for anything else."""
        if not isinstance(values, Mapping) or set(values) != {"user", "groups"}:
            raise ValueError("a view has a user and groups")
        user, groups = values["user"], values["groups"]
        texts = isinstance(groups, list) and all(isinstance(name, str) for name in groups)
        if not isinstance(user, str) or not texts:
            raise ValueError("a view is made of texts")
        return cls(user, tuple(groups))

    def to_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"user": self.user, "groups": list(self.groups)}

    @property
    def condition(self) -> Q:
        """Of jobs."""
        if not self.user:
            return Q(pk__in=())
        return Q(owner_id=self.user) | Q(tags__overlap=list(self.groups))

    @property
    def parameters(self) -> dict[str, Any]:
        """Of IS_OWN_SQL, for a view with a user."""
        return {"view_user": self.user, "view_groups": list(self.groups)}

    @property
    def jobs(self) -> JobQuerySet:
        """The jobs, deleted ones among them, whose history is theirs too."""
        found: JobQuerySet = Job.including_deleted.filter(self.condition).order_by()
        return found

    @cached_property
    def job_ids(self) -> list[int] | None:
        """Those jobs, asked for once; None where they are more than a statement should name."""
        ids = list(self.jobs.values_list("pk", flat=True)[: MOST_NAMED + 1])
        return ids if len(ids) <= MOST_NAMED else None

    def of_jobs(self, rows: Any) -> Any:
        """Of rows that belong to jobs, those of these."""
        if self.job_ids is not None:
            return rows.filter(job_id__in=self.job_ids)
        return rows.filter(job__in=self.jobs.values("pk"))

    def sees(self, owner_id: Any, tags: Collection[str]) -> bool:
        """Whether a job with this owner and these tags is among them."""
        is_owner = bool(self.user) and owner_id is not None and str(owner_id) == self.user
        return is_owner or not set(tags).isdisjoint(self.groups)


NOBODY = View("")


def current_view() -> View | None:
    """What the caller sees; None for everything: ownership is off, code and commands call, or who may see all."""
    if get_config().ownership == "none":
        return None
    caller = current_caller()
    user = caller.user
    if user is None:
        return NOBODY if isinstance(caller, RequestCaller) else None
    if user.has_perm(SEE_ALL):
        return None
    if caller.view is None:
        groups = user.groups.order_by("name").values_list("name", flat=True)
        caller.view = View(str(user.pk), tuple(groups))
    found: View = caller.view
    return found


def in_sql(column: str = "job_id") -> tuple[str, dict[str, Any]]:
    """A condition for a statement, and its parameters: the job of this id is one that the caller sees."""
    view = current_view()
    if view is None:
        return "true", {}
    if view.job_ids is not None:
        return f"{column} = ANY(%(view_jobs)s::bigint[])", {"view_jobs": view.job_ids}
    return f"{column} IN {OWN_JOBS_SQL}", view.parameters


def own_job_in_sql(job: str) -> tuple[str, dict[str, Any]]:
    """As `in_sql`, for a statement that has the job's row at hand: a further condition, nothing where all are seen."""
    view = current_view()
    if view is None:
        return "", {}
    if not view.user:
        return " AND false", {}
    return f" AND {IS_OWN_SQL.format(job=job)}", view.parameters


def refusal_of_tags(tags: Collection[str], *, before: Collection[str] | None, owner_id: Any) -> str:
    """Why the caller may not give a job these tags, in a sentence; empty when they may. `before`: None for a new job."""
    view = current_view()
    if view is None:
        return ""
    added = set(tags) - set(before or ()) - set(view.groups)
    if added:
        foreign = Group.objects.filter(name__in=added).order_by("name")
        if names := list(foreign.values_list("name", flat=True)):
            return (
                f"Only its members may give a job to a group, and you are not in {', '.join(names)}. "
                f"Leave this tag out{_or_choose(view)}."
            )
    if before is not None and not view.sees(owner_id, tags):
        return f"Without a tag of one of your groups you would lose this job: keep one{_of(view)}."
    return ""


def require_pause(scope: str, value: str) -> None:
    """Raises NotAllowed when a pause of this would hold, or let go, jobs that the caller does not see."""
    view = current_view()
    if view is None or (scope == PauseScope.TAG and value in view.groups):
        return
    raise NotAllowed(
        f"This holds the jobs of others too, which needs the permission {SEE_ALL}. "
        f"Pause single jobs, or the tag of one of your groups{_of(view)}."
    )


def require_all_of(jobs: JobQuerySet, what: str) -> None:
    """Raises NotAllowed when there is a job among these that the caller does not see; `what` would touch it."""
    view = current_view()
    if view is not None and jobs.exclude(pk__in=view.jobs.values("pk")).exists():
        raise NotAllowed(f"{what} touches jobs of others, which needs the permission {SEE_ALL}.")


def _of(view: View) -> str:
    return f" ({', '.join(view.groups)})" if view.groups else ""


def _or_choose(view: View) -> str:
    return f", or choose among your groups{_of(view)}" if view.groups else ""
