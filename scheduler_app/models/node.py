"""The running `runscheduler` processes."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from scheduler_app.conf import get_config

from .clock import DatabaseNow


class NodeState(models.TextChoices):
    """A node runs executions while active or draining; stopped and dead are final."""

    ACTIVE = "active", "Active"
    DRAINING = "draining", "Draining"
    STOPPED = "stopped", "Stopped"
    DEAD = "dead", "Dead"


ALIVE = (NodeState.ACTIVE, NodeState.DRAINING)


class NodeQuerySet(models.QuerySet["Node"]):
    """Choices among nodes."""

    def alive(self) -> NodeQuerySet:
        return self.filter(state__in=ALIVE)


class Node(models.Model):
    """One life of one process; a restart is a new row, so that an id never means two processes."""

    name = models.CharField(max_length=100)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    release = models.CharField(max_length=100, default="", db_default="")
    queues = ArrayField(models.CharField(max_length=50), default=list)
    """Empty: all queues."""
    threads = models.PositiveIntegerField()
    lease_s = models.FloatField(default=0, db_default=0)
    """After so long without a heartbeat it stops itself; nobody else may take it for dead or show it as silent before.

    0: it is of a release that did not write it, so that the lease of who looks counts alone."""
    state = models.CharField(max_length=10, choices=NodeState, default=NodeState.ACTIVE)
    state_reason = models.CharField(max_length=500, default="", db_default="")
    started_at = models.DateTimeField(db_default=DatabaseNow())
    heartbeat_at = models.DateTimeField(db_default=DatabaseNow())
    last_tick_at = models.DateTimeField(null=True)
    """When the scheduler loop last completed a turn; a heartbeat alone does not prove that it fires."""
    finished_at = models.DateTimeField(null=True)
    drain_requested_at = models.DateTimeField(null=True)
    """When somebody asked it, from elsewhere, to finish what runs and stop."""
    drain_requested_by = models.CharField(max_length=150, default="", db_default="")

    # What the node says of itself with each heartbeat.
    busy = models.PositiveIntegerField(default=0, db_default=0)
    children = models.PositiveIntegerField(default=0, db_default=0)
    """Of the busy ones, those in child processes."""
    stuck = models.PositiveIntegerField(default=0, db_default=0)
    """Threads that were given up because they ignored that they must stop, and still run."""
    unwritten = models.PositiveIntegerField(default=0, db_default=0)
    """Outcomes that are not in the database yet."""
    unwritten_bytes = models.PositiveBigIntegerField(default=0, db_default=0)
    listening = models.BooleanField(default=False, db_default=False)
    """Whether notifications reach it; False is correct but up to the poll interval later."""
    turn_ages = models.JSONField(default=dict, db_default={})
    """Seconds since each part of the node last completed a turn, by the part's name."""
    trouble = models.CharField(max_length=40, default="", db_default="")
    """What the database refuses it at present, as a machine word; empty when nothing."""
    trouble_note = models.CharField(max_length=500, default="", db_default="")
    """The same as a sentence, with what to do."""

    objects = NodeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        default_permissions = ("view",)
        permissions = [("drain_node", "Can drain nodes")]
        indexes = [
            models.Index(fields=["heartbeat_at"], condition=Q(state__in=ALIVE), name="node_alive")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    @property
    def lease(self) -> timedelta:
        """Silent for longer, it may be dead: its own lease, or this process's where that is longer."""
        return timedelta(seconds=max(self.lease_s, get_config().lease))
