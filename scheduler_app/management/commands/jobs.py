"""`manage.py jobs`: look at jobs and change them from a terminal or a script."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, IntegrityError

from scheduler_app.access import Caller, calling
from scheduler_app.lifecycle import RUN_CHOICES, CannotDo
from scheduler_app.management.arguments import MOMENT_FORMS
from scheduler_app.management.job_actions import Actions
from scheduler_app.management.output import until_nobody_reads
from scheduler_app.management.tables import line, safe
from scheduler_app.management.who import who
from scheduler_app.models.audit import Source


class Command(BaseCommand):
    help = (
        "Look at jobs, create, pause, resume and run them, read logs, and keep definitions in files. "
        "Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong; 3 import has changes that were not "
        "applied; 4 an execution that was waited for did not succeed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

        def action(name: str, words: str) -> CommandParser:
            added: CommandParser = actions.add_parser(name, help=words, description=words)
            added.add_argument("--json", action="store_true", help="answer as JSON")
            return added

        found = action("list", "the jobs, by name")
        found.add_argument("--queue", help="only of this queue")
        found.add_argument("--tag", help="only with this tag")
        found.add_argument("--kind", help="only of this kind")
        found.add_argument("--search", help="only with this in their name")
        found.add_argument("--paused", action="store_true", help="only paused ones")
        found.add_argument("--limit", type=int, default=200, help="at most so many (200)")

        shown = action("show", "one job: definition, state, last executions")
        shown.add_argument("name", metavar="NAME")

        created = action("create", "a new job")
        created.add_argument("name", metavar="NAME")
        created.add_argument("--target", required=True, help="the task, URL or command")
        created.add_argument("--schedule", help="such as '0 9 * * MON-FRI' (default: @manual)")
        created.add_argument("--timezone", help="such as Europe/Berlin (default: UTC)")
        created.add_argument("--kind", help="task, http, management or shell (default: task)")
        created.add_argument("--arguments", metavar="JSON", help="such as '{\"days\": 7}'")
        created.add_argument("--queue")
        created.add_argument("--description")
        created.add_argument("--tag", action="append", default=[], help="may be repeated")
        created.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help="any other field, as in the API; may be repeated",
        )

        paused = action("pause", "no fire time becomes an execution until they are resumed")
        paused.add_argument("names", nargs="+", metavar="NAME")
        paused.add_argument("--reason", default="", help="shown to everybody")
        paused.add_argument("--until", metavar="T", help=f"resume by itself: {MOMENT_FORMS}")

        resumed = action("resume", "fire again from now on")
        resumed.add_argument("names", nargs="+", metavar="NAME")
        resumed.add_argument(
            "--run",
            choices=RUN_CHOICES,
            default=RUN_CHOICES[0],
            help="which of the missed fire times are run after all",
        )

        run = action("run", "one execution of each, now")
        run.add_argument("names", nargs="+", metavar="NAME")
        run.add_argument("--arguments", metavar="JSON", help="instead of the jobs' own")
        run.add_argument("--wait", action="store_true", help="until they have ended")

        retried = action("retry", "try executions again that failed, were lost or cancelled")
        retried.add_argument("executions", nargs="+", metavar="EXECUTION")

        log = action("log", "what an execution printed")
        log.add_argument("execution", metavar="EXECUTION", help="its number, or a job's name")
        log.add_argument("--follow", "-f", action="store_true", help="until it has ended")
        log.add_argument("--attempt", type=int, help="only this attempt")

        exported = action("export", "definitions as YAML, or JSON")
        exported.add_argument("names", nargs="*", metavar="NAME", help="(default: all jobs)")
        exported.add_argument("--tag", help="only with this tag")
        exported.add_argument("--output", "-o", metavar="FILE", help="(default: standard output)")

        imported = action("import", "bring jobs into line with a file; shows a plan first")
        imported.add_argument("file", metavar="FILE", help="YAML, or JSON; - for standard input")
        imported.add_argument("--apply", action="store_true", help="do it, all or nothing")
        imported.add_argument(
            "--dry-run", action="store_true", help="only show it, which is the default"
        )
        imported.add_argument(
            "--prune", action="store_true", help="delete jobs that the file does not name"
        )
        imported.add_argument("--tag", help="of those, only the ones with this tag")
        imported.add_argument(
            "--at-most", type=int, default=10, metavar="N", help="delete no more than N (10)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options.get("apply") and options.get("dry_run"):
            raise CommandError("--apply and --dry-run exclude each other.")
        actions = Actions(self.stdout, by=who(), as_json=options["json"])
        name = options["action"]
        act = getattr(actions, "import_" if name == "import" else name)
        try:
            with until_nobody_reads(), calling(Caller(Source.COMMAND)):
                code: int = act(options)
        except (CannotDo, CommandError) as error:
            raise CommandError(safe(error)) from None
        except IntegrityError as error:
            if "one_job_per_name" not in str(error):
                raise
            raise CommandError(
                "Somebody has just created a job of this name. Nothing was done; try again."
            ) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database does not answer as it should: {line(error)}"
            ) from None
        except KeyboardInterrupt:
            code = 130
        if code:
            sys.exit(code)
