"""`manage.py schedulerdrill`: does this installation survive what it is said to survive?"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_app.management.drill.checker import KINDS, Report, check
from scheduler_app.management.drill.course import X_S, Course, Wanted, work
from scheduler_app.management.drill.scratch import Scratch

THREADS = 8
BUSY_MACHINE_S = 5.0
"""What a machine that is busy with other things may add to bounds in seconds; nothing is added to counts."""

JOBS = (
    Wanted("every second", "* * * * * *", work(on_overlap="allow")),
    Wanted("long", "*/3 * * * * *", work(3.0, on_overlap="allow")),
    Wanted("alone", "*/2 * * * * *", work(0.5)),
    Wanted("one after the other", "@every 3s", work(1.0, on_overlap="queue_all")),
    Wanted(
        "raises",
        "*/5 * * * * *",
        {
            "arguments": {"raises": True},
            "on_overlap": "allow",
            "max_attempts": 2,
            "retry_backoff_s": 0.5,
        },
        raises=True,
    ),
)


class Command(BaseCommand):
    help = (
        "Kill, freeze and cut off real nodes, on a scratch database that this command makes and removes, and say how "
        "long the others took to take over, and whether anything was lost or done twice. It touches no database that "
        "holds jobs. Takes about a minute."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--nodes", type=int, default=3, help="how many nodes (default: 3)")
        parser.add_argument(
            "--faults",
            default="kill,freeze,cut",
            help="which, in this order, separated by commas: kill, freeze, cut (default: all)",
        )
        parser.add_argument(
            "--lease",
            type=float,
            default=6.0,
            help="seconds after which a silent node is dead (default: 6, shorter than in production, to be done sooner)",
        )
        parser.add_argument(
            "--database",
            default="",
            help="name of the scratch database to make (default: that of the site and _drill)",
        )
        parser.add_argument(
            "--seed", type=int, help="repeats the choices of another drill, which printed it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        harm = _read_faults(options["faults"])
        if not 2 <= options["nodes"] <= 20:
            raise CommandError(
                f"--nodes must be from 2 to 20, got {options['nodes']}: one alone has nobody to take over."
            )
        if not 3 <= options["lease"] <= 300:
            raise CommandError(f"--lease must be from 3 to 300 seconds, got {options['lease']:g}.")
        seed = options["seed"] if options["seed"] is not None else random.randrange(10_000)
        scratch = Scratch(
            options["database"],
            scheduler={
                "lease": options["lease"],
                "poll_interval": 1.0,
                "threads": THREADS,
                "pooled": False,
                "listen_url": "",
            },
        )
        directory = Path(tempfile.mkdtemp(prefix="schedulerdrill-"))
        scratch.create()
        try:
            self.stdout.write(f"Scratch database {scratch.name}, seed {seed}.")
            report = self._drill(scratch, directory, options["nodes"], options["lease"], seed, harm)
        except BaseException:
            self.stderr.write(f"The logs of the nodes are in {directory}.")
            raise
        finally:
            scratch.drop()
        self._say(report, options["lease"])
        if report.findings:
            raise CommandError(
                f"{len(report.findings)} promises were broken; the logs of the nodes are in {directory}."
            )
        shutil.rmtree(directory, ignore_errors=True)

    def _drill(
        self,
        scratch: Scratch,
        directory: Path,
        nodes: int,
        lease_s: float,
        seed: int,
        harm: list[str],
    ) -> Report:
        wanted = scratch.fill(JOBS)
        course = Course(
            directory=directory,
            connect=scratch.connect,
            target=scratch.target,
            wanted=wanted,
            lease_s=lease_s,
            seed=seed,
        )
        try:
            for number in range(1, nodes + 1):
                course.add_node_with(
                    f"node-{number}",
                    command=["-m", "django", "runscheduler"],
                    cwd=Path.cwd(),
                    environment=scratch.environment,
                )
            course.begin()
            self.stdout.write(f"{nodes} nodes run {len(wanted)} jobs.")
            for name in harm:
                HARM[name](self, course)
                course.wait_all_active()
            evidence = course.finish()
        except TimeoutError as error:
            raise CommandError(str(error)) from error
        finally:
            course.close()
        evidence.patience = BUSY_MACHINE_S
        return check(evidence)

    def kill(self, course: Course) -> None:
        keeper = course.node_amid("long")
        self.stdout.write(f"kill: SIGKILL to {keeper.name}, which is in the middle of something.")
        keeper.send(signal.SIGKILL)
        time.sleep(course.lease_s + X_S)

    def freeze(self, course: Course) -> None:
        keeper = course.node_amid("long")
        self.stdout.write(
            f"freeze: {keeper.name} stands still for longer than its lease, and wakes."
        )
        with course.frozen(keeper):
            time.sleep(course.lease_s + X_S)
        time.sleep(1.0)

    def cut(self, course: Course) -> None:
        keeper = course.node_amid("long")
        self.stdout.write(f"cut: {keeper.name} reaches no database for longer than its lease.")
        with course.cut_off(keeper):
            time.sleep(course.lease_s + X_S)
        time.sleep(1.0)

    def _say(self, report: Report, lease_s: float) -> None:
        figures, count = report.figures, report.count
        exits = ", ".join(f"{number} × {name}" for name, number in sorted(figures.exits.items()))
        rows = [
            ("runs", figures.runs),
            ("lost fire times", count("missing")),
            ("lost outcomes", count("lost_outcome", "untrue_end")),
            ("done twice without a reason", count("doubled", "gap_overlap")),
            ("outcomes written over", count("stale_overwrite")),
            ("not over at the end", count("stuck")),
            ("run again after a rescue", figures.reruns),
            ("late outcomes refused", figures.fenced),
            (
                "failover, longest",
                f"{figures.rescue_max_s:.1f} s (promised: {lease_s + X_S:g} s, the lease and {X_S:g})",
            ),
            ("an every-second job was silent for", f"{figures.silence_s:.1f} s"),
            ("late, 99 of 100", f"{figures.late_p99_s * 1000:.0f} ms"),
            ("exits", exits),
        ]
        for name, value in rows:
            self.stdout.write(f"  {name:<36} {value}")
        for finding in report.findings:
            self.stdout.write(f"  {finding.kind}: {finding.text} ({KINDS[finding.kind]})")
        if not report.findings:
            self.stdout.write("Every promise was kept.")


HARM: dict[str, Callable[[Command, Course], None]] = {
    "kill": Command.kill,
    "freeze": Command.freeze,
    "cut": Command.cut,
}


def _read_faults(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in HARM]
    if unknown or not names:
        raise CommandError(
            f"--faults must name some of {', '.join(HARM)}, separated by commas; got {text!r:.100}."
        )
    return names
