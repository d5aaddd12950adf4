"""`manage.py schedulerhealth`: is the scheduler well, or one node? For probes and for people; the exit code says it."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error

from scheduler_app.conf import get_config
from scheduler_app.models import Node, NodeState, database_now
from scheduler_app.models.vitals import read_vitals
from scheduler_app.rules.health import Health, judge
from scheduler_app.rules.storable import one_line

EXIT_CODES = {"ok": 0, "degraded": 0, "down": 1}
DEGRADED_IF_STRICT = 2


class Command(BaseCommand):
    help = (
        "Say whether the scheduler is well, and why not. Exit code 0: it fires jobs; 1: it does not, or the "
        "database does not answer; with --strict 2 when it fires, but somebody should look."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--node",
            default="",
            metavar="NAME",
            help="look at the newest node of this name alone: 0 when it beats and turns",
        )
        parser.add_argument(
            "--strict", action="store_true", help="exit with 2 when somebody should look"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            health = (
                health_of_node(options["node"])
                if options["node"]
                else judge(read_vitals(lease_s=get_config().lease))
            )
        except Error as error:
            health = Health("down", (f"The database does not answer: {one_line(str(error))}",))
        self.stdout.write(health.status)
        for reason in health.reasons:
            self.stdout.write(f"  {reason}")
        code = EXIT_CODES[health.status]
        if options["strict"] and health.status == "degraded":
            code = DEGRADED_IF_STRICT
        if code:
            sys.exit(code)


def health_of_node(name: str) -> Health:
    """Whether the newest node of this name lives and its loop turns."""
    node = Node.objects.filter(name=name).order_by("-pk").first()
    if node is None:
        return Health("down", (f"There is no node called {one_line(name, 100)}.",))
    if not node.is_alive:
        return Health(
            "down", (f"It is {node.state}: {node.state_reason or 'no reason is known'}.",)
        )
    now = database_now()
    silent = now - node.heartbeat_at
    if silent > node.lease:
        return Health("down", (f"No heartbeat for {silent.total_seconds():.0f} s.",))
    turned = now - (node.last_tick_at or node.started_at)
    if node.state == NodeState.ACTIVE and turned > node.lease:
        return Health(
            "down", (f"Its loop has not completed a turn for {turned.total_seconds():.0f} s.",)
        )
    reasons = []
    if node.trouble:
        reasons.append(node.trouble_note)
    if node.stuck:
        reasons.append(f"Threads that ignore that they must stop: {node.stuck}.")
    return Health("degraded" if reasons else "ok", tuple(reasons))
