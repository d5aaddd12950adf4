"""Make the tables and the jobs of a drill: `python -m scheduler_app.management.drill.prepare`, in a process of its own.

It reads a JSON list of jobs, each the fields of a `Job`, and answers with their ids by name. With the argument
`migrate` it makes the tables first, with `operator` somebody who may do everything, and who owns the jobs: nodes ask for
an owner's rights before each run.
"""

from __future__ import annotations

import json
import sys

import django
from django.core.management import call_command

OPERATOR = "drill"
"""The name and the password of somebody who may do everything, on a database that lives for a minute."""


def main() -> None:
    """Everything that a node's settings say, before any node is there."""
    wanted = json.load(sys.stdin)
    django.setup()
    # After setup(): models need the settings.
    from django.contrib.auth import get_user_model

    from scheduler_app.models import Job

    if "migrate" in sys.argv[1:]:
        call_command("migrate", verbosity=0, stdout=sys.stderr)
    owner = None
    if "operator" in sys.argv[1:]:
        owner = get_user_model().objects.create_superuser(OPERATOR, password=OPERATOR)
    ids = {}
    for fields in wanted:
        job = Job(owner=owner, **fields)
        job.full_clean()
        job.save()
        ids[job.name] = job.pk
    print(json.dumps(ids))  # noqa: T201 - the answer to the process that asked


if __name__ == "__main__":
    main()
