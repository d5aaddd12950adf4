"""The jobs that every fault meets: ten of them, each of another kind of trouble."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WORK = "scheduler_app.management.drill.tasks.work"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job to be made, and what the checker has to know of it."""

    name: str
    schedule: str
    fields: dict[str, Any] = field(default_factory=dict)
    raises: bool = False
    writes: bool = True
    may_fail: bool = False

    @property
    def overlap(self) -> str:
        return str(self.fields.get("on_overlap", "skip"))

    def as_fields(self) -> dict[str, Any]:
        """What `Job` takes; not enabled, so that it fires when the nodes are there."""
        return (
            {"target": WORK, "timeout_s": 30, "enabled": False}
            | self.fields
            | {
                "name": self.name,
                "schedule": self.schedule,
            }
        )


def work(seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """The fields of a job that works for so long."""
    return {"arguments": {"seconds": seconds}, **fields}


def ten_jobs(hook_port: int) -> list[Wanted]:
    """Every second or every few; short, long, limited, failing, retried, at most once, over HTTP."""
    return [
        Wanted("every second", "* * * * * *", work(on_overlap="allow")),
        Wanted("every other second", "*/2 * * * * *", work(0.5, on_overlap="allow", priority=10)),
        Wanted("alone", "*/2 * * * * *", work(0.2)),
        Wanted("interval", "@every 3s", work(0.1, on_overlap="allow")),
        Wanted("long", "*/3 * * * * *", work(3.0, on_overlap="allow")),
        Wanted("longer than its interval", "*/2 * * * * *", work(2.5)),
        Wanted("one after the other", "@every 3s", work(1.0, on_overlap="queue_all")),
        Wanted(
            "raises",
            "*/3 * * * * *",
            {"arguments": {"raises": True}, "on_overlap": "allow"},
            raises=True,
        ),
        Wanted(
            "raises and is tried again",
            "*/5 * * * * *",
            {
                "arguments": {"raises": True, "seconds": 0.1},
                "on_overlap": "allow",
                "max_attempts": 3,
                "retry_backoff_s": 0.3,
            },
            raises=True,
        ),
        Wanted(
            "calls",
            "*/2 * * * * *",
            {
                "kind": "http",
                "target": f"http://127.0.0.1:{hook_port}/hook",
                "arguments": {"method": "POST"},
                "on_overlap": "allow",
            },
        ),
    ]
