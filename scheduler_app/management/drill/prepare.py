"""Make the tables and the jobs of a drill: `python -m scheduler_app.management.drill.prepare`, in a process of its own.

It reads a JSON list of jobs, each the fields of a `Job`, and answers with their ids by name. With the argument
`migrate` it makes the tables first.
"""

from __future__ import annotations

import json
import sys

import django
from django.core.management import call_command


def main() -> None:
    """Everything that a node's settings say, before any node is there."""
    wanted = json.load(sys.stdin)
    django.setup()
    from scheduler_app.models import Job  # after setup(): models need the settings

    if "migrate" in sys.argv[1:]:
        call_command("migrate", verbosity=0, stdout=sys.stderr)
    ids = {}
    for fields in wanted:
        job = Job(**fields)
        job.full_clean()
        job.save()
        ids[job.name] = job.pk
    print(json.dumps(ids))  # noqa: T201 - the answer to the process that asked


if __name__ == "__main__":
    main()
