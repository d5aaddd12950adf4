"""The scheduler's settings: `settings.SCHEDULER`, checked once, read everywhere as one frozen object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from scheduler_app.rules.addresses import allowance_problems
from scheduler_app.rules.commands import command_problems

KINDS = ("task", "http", "management", "shell")
"""Of targets; what a site may switch on."""

OWNERSHIPS = ("none", "tag")


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Every option with its default; durations are seconds. Set them in `settings.SCHEDULER`."""

    database: str = "default"
    """Alias of the database that holds the jobs."""

    threads: int = 10
    """How many executions one node runs at the same time."""

    poll_interval: float = 1.0
    """A node looks at the database at least this often, notified or not."""

    lease: float = 15.0
    """A node silent for this long is dead; what it held is given to others. Heartbeats come five times as often."""

    outage_grace: float = 10.0
    """After losing contact with the database a node declares nobody dead for this long, so that the others can return."""

    misfire_after: float = 5.0
    """A fire time older than this when it is looked at was missed, and the job's `on_misfire` decides."""

    drain_timeout: float = 60.0
    """On SIGTERM running executions get this long to finish before they are asked to stop and handed back."""

    kill_grace: float = 5.0
    """After its timeout an execution gets this long to stop by itself before its thread is given up, or its process killed."""

    memory_limit_mb: int = 0
    """Memory in MiB that a child process may take beyond Python's own, where its job sets no limit; 0: any."""

    cpu_limit_s: int = 0
    """Seconds of CPU that a child process may use, where its job sets no limit; 0: any."""

    process_limit: int = 256
    """How many processes a child process and what it starts may be at a time; 0: any number."""

    unknown_target_grace: float = 60.0
    """An execution whose target no node knows waits this long for a node that does, then fails."""

    max_crashes: int = 3
    """An execution that took its node down this often is not tried again."""

    retention_days: float = 7.0
    """Finished executions, gaps and dead nodes older than this are removed, where their job does not say otherwise."""

    retention_count: int = 0
    """Of executions and of gaps at most so many each are kept, the newest, whatever jobs say; 0: any number."""

    log_retention_days: float = 0.0
    """Logs older than this are removed before their executions; 0: with them."""

    audit_retention_days: float = 365.0
    """Entries of the audit trail older than this are removed."""

    writes_per_minute: int = 1200
    """How often one user may change something, over the API with all tokens or in the admin; 0: any number."""

    runs_per_minute: int = 3000
    """How many runs one user may ask for; 0: any number."""

    login_failures_per_minute: int = 10
    """How many wrong passwords one address may try, and how many wrong tokens; 0: any number."""

    web_statement_timeout: float = 5.0
    """A query of a page or of the API that takes longer is given up; 0: never."""

    trusted_proxies: int = 0
    """How many proxies before the web processes set `X-Forwarded-For`; 0: the header is not believed."""

    pooled: bool = False
    """A transaction pooler (PgBouncer) stands before the database: nothing is prepared, LISTEN needs `listen_url`."""

    listen_url: str = ""
    """A direct database URL for LISTEN when `pooled`; without one, nodes only poll."""

    http_allowed_hosts: tuple[str, ...] = ()
    """Hosts that HTTP targets may call although address or port is not of the public web: names, addresses or networks,
    each at one port (`name:port`) or, without one, at all."""

    kinds: tuple[str, ...] = ("task", "http")
    """The kinds of target that may be created and run: `task`, `http`, `management`, `shell`."""

    ownership: str = "none"
    """Whose jobs one sees and touches: `none`, everybody's; `tag`, one's own and those with a tag that is the name of one
    of one's groups."""

    management_commands: tuple[str, ...] = ()
    """The Django commands that jobs of the kind `management` may run."""

    shell_commands: Mapping[str, Any] = field(default_factory=dict)
    """The programs that jobs of the kind `shell` may run, by name, with the template of their arguments."""

    secrets_prefix: str = "SCHEDULER_SECRET_"
    """`secret://name` in arguments is the environment variable with this prefix, on the node that runs the job."""

    secrets_directory: str = ""
    """A directory with a file for each secret, which is looked into before the environment."""

    spool_directory: str = ""
    """Where a node that must end keeps outcomes that the database did not take, for the next node on its host; without
    one their executions are rescued."""

    release: str = ""
    """The release that this process runs, shown on nodes and executions."""

    def problems(self) -> list[str]:
        """What is wrong with these values, one sentence each."""
        found = []
        for name in ("threads", "max_crashes"):
            if getattr(self, name) < 1:
                found.append(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("poll_interval", "lease", "retention_days", "audit_retention_days"):
            if getattr(self, name) <= 0:
                found.append(f"{name} must be more than 0, got {getattr(self, name)}.")
        for name in (
            "outage_grace",
            "misfire_after",
            "drain_timeout",
            "kill_grace",
            "unknown_target_grace",
            "writes_per_minute",
            "runs_per_minute",
            "login_failures_per_minute",
            "web_statement_timeout",
            "trusted_proxies",
            "memory_limit_mb",
            "cpu_limit_s",
            "process_limit",
            "retention_count",
            "log_retention_days",
        ):
            if getattr(self, name) < 0:
                found.append(f"{name} must not be negative, got {getattr(self, name)}.")
        if self.lease < 2 * self.poll_interval:
            found.append(
                f"lease ({self.lease}) must be at least twice poll_interval ({self.poll_interval})."
            )
        found += [
            f"kinds: {kind!r} is not a kind of target; there are {', '.join(KINDS)}."
            for kind in self.kinds
            if kind not in KINDS
        ]
        if self.ownership not in OWNERSHIPS:
            found.append(
                f"ownership must be one of {', '.join(OWNERSHIPS)}, got {self.ownership!r}."
            )
        if self.secrets_directory and not self.secrets_directory.startswith("/"):
            found.append(
                f"secrets_directory must be an absolute path, got {self.secrets_directory!r}."
            )
        return (
            found
            + allowance_problems(self.http_allowed_hosts)
            + command_problems(self.shell_commands)
        )

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats."""
        return self.lease / 5


def read_config(values: dict[str, Any]) -> SchedulerConfig:
    """The options in `values`; raises ImproperlyConfigured with every problem in one message."""
    known = {field.name: field for field in dataclasses.fields(SchedulerConfig)}
    problems = [
        f"{name!r} is not an option; the options are {', '.join(sorted(known))}."
        for name in values
        if name not in known
    ]
    if not problems:
        config = SchedulerConfig(**values)
        problems = config.problems()
    if problems:
        raise ImproperlyConfigured("settings.SCHEDULER: " + " ".join(problems))
    return config


@lru_cache(maxsize=1)
def get_config() -> SchedulerConfig:
    """The site's options, read once and again when tests change the setting."""
    return read_config(dict(getattr(settings, "SCHEDULER", {})))


def _forget(*, setting: str, **_: object) -> None:
    if setting == "SCHEDULER":
        get_config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="scheduler_app.conf")
