"""The jobs that every fault meets: a dozen, each of another kind of trouble."""

from __future__ import annotations

from scheduler_app.management.drill.course import Wanted, work

__all__ = ["Wanted", "usual_jobs", "work"]


def usual_jobs(hook_port: int) -> list[Wanted]:
    """Every second or every few; short, long, limited, failing, retried, at most once, over HTTP, in a process, a program."""
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
        Wanted(
            "at most once",
            "*/2 * * * * *",
            work(0.8, on_overlap="allow", guarantee="at_most_once"),
        ),
        Wanted(
            "in a process of its own",
            "*/4 * * * * *",
            work(0.7, on_overlap="allow", isolation="process"),
        ),
        Wanted(
            "a program",
            "*/5 * * * * *",
            {"kind": "shell", "target": "mark", "arguments": {}, "on_overlap": "allow"},
            keyed=False,
        ),
    ]
