"""`manage.py createsamplejobs`"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from jobscheduler.models import once
from jobscheduler.sample_jobs import create_sample_jobs
from scheduler_app.access import Caller, calling
from scheduler_app.models import Source


class Command(BaseCommand):
    help = "Create the sample jobs, once for each database: what people edit or delete stays so."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--again", action="store_true", help="create those that are missing by now"
        )

    def handle(self, *, again: bool, verbosity: int, **options: Any) -> None:
        address = f"127.0.0.1:{settings.PORT}"
        with once("sample jobs", detail=address) as first, calling(Caller(Source.COMMAND)):
            created = create_sample_jobs(f"http://{address}") if first or again else []
        if verbosity:
            names = ", ".join(job.name for job in created)
            self.stdout.write(
                f"Created: {names}."
                if created
                else "Nothing created; --again creates what is missing."
            )
