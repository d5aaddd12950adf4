"""How the scheduler is: one word for everybody, the reasons for who may see nodes."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from django.db import Error
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.conf import get_config
from scheduler_app.models.vitals import read_vitals
from scheduler_app.rules.health import Health, Vitals, judge

from . import permissions
from .base import ApiView
from .errors import first_line
from .operations import Operation

logger = logging.getLogger(__name__)

HEALTH = {
    "type": "object",
    "description": "One word for everybody, and the reasons for who may see nodes.",
    "properties": {"status": {"type": "string", "enum": ["ok", "degraded", "down"]}},
    "required": ["status"],
}


class HealthView(ApiView):
    """Is the scheduler well? 200 for `ok` and `degraded`, 503 for `down`."""

    permission_classes: Any = (AllowAny,)
    renderer_classes = (JSONRenderer,)
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"get": ()}
    operations: ClassVar[dict[str, Operation]] = {
        "get": Operation(answer=HEALTH, others={503: HEALTH})
    }

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # Probes send all kinds of Accept, or none.
        return super().perform_content_negotiation(request, force=True)

    def perform_authentication(self, request: Request) -> None:
        """Not before the database is known to answer."""

    def get(self, request: Request) -> Response:
        body: dict[str, Any] = {}
        try:
            vitals = read_vitals(lease_s=get_config().lease)
            health = judge(vitals)
            if permissions.holds(request, permissions.VIEW_NODE):
                body = details(vitals, health)
        except Error as error:
            logger.warning("health: the database does not answer error=%s", first_line(error))
            health = Health("down")
        code = 503 if health.status == "down" else 200
        return Response(
            {"status": health.status} | body, status=code, headers={"Cache-Control": "no-store"}
        )


def details(vitals: Vitals, health: Health) -> dict[str, Any]:
    """For who may see nodes."""
    return {
        "reasons": list(health.reasons),
        "nodes": {
            "ticking": vitals.nodes_ticking,
            "draining": vitals.nodes_draining,
            "stuck": vitals.nodes_stuck,
            "silent": vitals.nodes_silent,
            "troubles": list(vitals.troubles),
        },
        "tick_age_s": vitals.tick_age_s,
        "backlog": {
            "ready": vitals.ready,
            "ready_age_s": vitals.ready_age_s,
            "overdue": vitals.overdue,
            "overdue_age_s": vitals.overdue_age_s,
            "counted_to": vitals.counted_to,
        },
    }
