"""`manage.py runscheduler`: one node of the scheduler."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from argparse import ArgumentParser
from queue import SimpleQueue
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduler_app.conf import get_config
from scheduler_app.engine.node import Node

LONGEST_DRAIN_S = 7 * 24 * 3600


class Command(BaseCommand):
    help = (
        "Run one node of the scheduler: it plans, fires and runs jobs until SIGTERM or Ctrl-C. "
        "Start as many as you like, on as many machines as you like."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--threads", type=int, help="executions at the same time (default: SCHEDULER_THREADS)"
        )
        parser.add_argument(
            "--queues", default="", help="take only these queues, separated by commas"
        )
        parser.add_argument(
            "--name", default="", help="how people will see this node (default: host-pid)"
        )

        parser.add_argument(
            "--drain",
            type=float,
            metavar="S",
            help="when asked to stop, let executions run on for S seconds (default: SCHEDULER_DRAIN_TIMEOUT)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        threads = options["threads"]
        if threads is not None and not 1 <= threads <= 1000:
            raise CommandError(f"--threads must be from 1 to 1000, got {threads}.")
        queues = tuple(part.strip() for part in options["queues"].split(",") if part.strip())
        if options["queues"] and not queues:
            raise CommandError("--queues names no queue; give them as: --queues mail,reports")
        if len(options["name"]) > 100:
            raise CommandError("--name may have 100 characters at most.")
        config = get_config()
        drain = options["drain"]
        if drain is not None:
            if not 0 <= drain <= LONGEST_DRAIN_S:
                raise CommandError(
                    f"--drain must be from 0 to {LONGEST_DRAIN_S} seconds, got {drain:g}."
                )
            config = dataclasses.replace(config, drain_timeout=drain)
        node = Node(config, name=options["name"], threads=threads, queues=queues)
        # A handler runs in the middle of anything, also of something that holds a lock that a stop needs. So it only
        # puts the request where a thread waits for it; SimpleQueue is made for that.
        requests: SimpleQueue[int] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: requests.put(received))

        def pass_on() -> None:
            while requests.get():
                node.request_stop()

        threading.Thread(target=pass_on, name="signals", daemon=True).start()
        code = node.run()
        sys.stdout.flush()
        sys.stderr.flush()
        # Python would wait here for threads that ignore that they must stop; their work was handed back.
        os._exit(code)
