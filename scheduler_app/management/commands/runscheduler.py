"""`manage.py runscheduler`: one node of the scheduler, or several in a process each."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import socket
import sys
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduler_app.conf import get_config
from scheduler_app.engine.node import Node
from scheduler_app.engine.processes import Processes, StopRequests, restore_environment
from scheduler_app.targets.task import registry

LONGEST_DRAIN_S = 7 * 24 * 3600
LONGEST_NAME = 100
MOST_PROCESSES = 100
GC_THRESHOLD = 5000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    help = (
        "Run one node of the scheduler: it plans, fires and runs jobs until SIGTERM or Ctrl-C. "
        "Start as many as you like, on as many machines as you like."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--processes",
            type=int,
            default=1,
            metavar="N",
            help="run N nodes, each in a process of its own, and start another when one dies (default: 1)",
        )
        parser.add_argument(
            "--threads",
            type=int,
            help="executions of one process at the same time (default: SCHEDULER_THREADS)",
        )
        parser.add_argument(
            "--queues", default="", help="take only these queues, separated by commas"
        )
        parser.add_argument(
            "--name",
            default="",
            help="how people will see this node (default: host-pid); of several, each has its number behind it",
        )
        parser.add_argument(
            "--drain",
            type=float,
            metavar="S",
            help="when asked to stop, let executions run on for S seconds (default: SCHEDULER_DRAIN_TIMEOUT)",
        )
        # For the processes of --processes: where they hear of their parent.
        parser.add_argument("--lifeline", type=int, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        threads = options["threads"]
        if threads is not None and not 1 <= threads <= 1000:
            raise CommandError(f"--threads must be from 1 to 1000, got {threads}.")
        queues = tuple(part.strip() for part in options["queues"].split(",") if part.strip())
        if options["queues"] and not queues:
            raise CommandError("--queues names no queue; give them as: --queues mail,reports")
        processes = options["processes"]
        if not 1 <= processes <= MOST_PROCESSES:
            raise CommandError(f"--processes must be from 1 to {MOST_PROCESSES}, got {processes}.")
        numbering = f"-{processes}" if processes > 1 else ""
        if len(options["name"]) + len(numbering) > LONGEST_NAME:
            raise CommandError(
                f"--name may have {LONGEST_NAME - len(numbering)} characters at most."
            )
        config = get_config()
        drain = options["drain"]
        if drain is not None:
            if not 0 <= drain <= LONGEST_DRAIN_S:
                raise CommandError(
                    f"--drain must be from 0 to {LONGEST_DRAIN_S} seconds, got {drain:g}."
                )
            config = dataclasses.replace(config, drain_timeout=drain)
        if processes > 1:
            sys.exit(run_processes(processes, options))
        restore_environment()
        requests = StopRequests(options["lifeline"])
        node = Node(config, name=options["name"], threads=threads, queues=queues)
        for number in STOP_SIGNALS:
            signal.signal(number, requests.signalled)
        requests.pass_on(node.request_stop)
        collect_garbage_rarely()
        code = node.run()
        sys.stdout.flush()
        sys.stderr.flush()
        # Python would wait here for threads that ignore that they must stop; their work was handed back.
        os._exit(code)


def collect_garbage_rarely() -> None:
    """A node holds thousands of executions for moments; looking through them for cycles took a tenth of its time.

    A project that has set a higher threshold keeps it.
    """
    # With all that they import: what is loaded by now stays.
    registry.names()
    gc.collect()
    gc.freeze()
    gc.set_threshold(max(GC_THRESHOLD, gc.get_threshold()[0]))


def run_processes(count: int, options: dict[str, Any]) -> int:
    """That many nodes with the same options; the exit code."""
    name = options["name"] or f"{socket.gethostname()}-{os.getpid()}"
    words = ["runscheduler"]
    for option in ("threads", "queues", "drain"):
        if options[option] not in (None, ""):
            words.append(f"--{option}={options[option]}")
    nodes = [f"{name}-{number}" for number in range(1, count + 1)]
    parent = Processes({node: [*words, f"--name={node}"] for node in nodes})
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: parent.request_stop())
    return parent.run()
