"""Jobs that are too many, that kill, that never end, that return what nobody can store; and people who press everything."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from random import Random

from scheduler_app.management.drill.evidence import Definition, Evidence

from .catalogue import fault, no_exits, no_reruns_and_no_exits, some_rescues
from .cluster import LEASE_S, X_S, Stage
from .database_faults import run_by_hand
from .jobs.payloads import ERRORS, OUTPUTS, PAYLOADS
from .plan import Wanted, work
from .sizes import Sizes
from .web import Answer, Web

JOBS = "tests.faults.jobs.tasks"

# --- F13: ten thousand at once --------------------------------------------------------------------

HERD = 10_000
COPY = """
INSERT INTO scheduler_app_job
SELECT copy.*
FROM scheduler_app_job AS job
CROSS JOIN generate_series(1, %s) AS number
CROSS JOIN LATERAL jsonb_populate_record(
    job,
    jsonb_build_object(
        'id', nextval(pg_get_serial_sequence('scheduler_app_job', 'id')),
        'name', 'herd ' || number, 'schedule', %s::text, 'enabled', true
    )
) AS copy
WHERE job.id = %s
RETURNING id, name
"""


@fault(
    "F13",
    "ten thousand jobs are due in the same second",
    quick_s=10,
    long_s=10,
    expect=no_reruns_and_no_exits,
    more_jobs=(Wanted("herd", "@manual", work(on_overlap="allow")),),
    settings={"SCHEDULER_THREADS": "16"},
)
def herd(stage: Stage, seconds: float) -> None:
    sizes = Sizes(stage)
    due = int(time.time() + max(seconds, 10.0) + 20.0)
    schedule = f"@at {datetime.fromtimestamp(due, UTC):%Y-%m-%dT%H:%M:%S}Z"
    asked = time.time()
    rows = stage.sql(COPY, HERD, schedule, stage.ids["herd"])
    done = time.time()
    for id_, name in rows:
        stage.wanted[id_] = Wanted(name, schedule, work(on_overlap="allow"))
        stage.definitions[id_] = [Definition(schedule, asked, done)]
    time.sleep(max(0.0, due - time.time()))
    if done > due - 2:
        stage.problems.append("the jobs were made too slowly to be due in the same second")
    stage.wait(
        lambda: (
            stage.number(
                "SELECT count(*) FROM scheduler_app_execution WHERE status = 'succeeded' AND job_id = ANY(%s)",
                [id_ for id_, _ in rows],
            )
            == HERD
        ),
        "ten thousand executions",
        timeout_s=300.0,
    )
    stage.ledger.note(f"{HERD} executions were over {time.time() - due:.1f} s after they were due")
    sizes.compare(f"{HERD} executions")


# --- F14: poison ----------------------------------------------------------------------------------

POISON = tuple(
    Wanted(
        f"poison: {how}",
        "*/2 * * * * *",
        {
            "target": f"{JOBS}.poison",
            "arguments": {"how": how},
            "max_runs": 1,
            "on_overlap": "allow",
        },
        may_fail=True,
        kills=True,
    )
    for how in ("segfault", "exit", "kill", "system_exit", "recursion")
)


def poisoned(stage: Stage, evidence: Evidence) -> list[str]:
    """What took processes down was parked after three; innocents ran again three times at most."""
    problems = []
    for name, status, reason, crashes in stage.sql(
        """
        SELECT job.name, execution.status, execution.reason, execution.crashes
        FROM scheduler_app_execution AS execution JOIN scheduler_app_job AS job ON job.id = execution.job_id
        WHERE job.name LIKE 'poison:%%' ORDER BY job.name
        """
    ):
        stage.ledger.note(f"{name}: {status} {reason}, {crashes} crashes")
        # After a first crash it runs in a child process, whose end is the end of an attempt.
        raises = name.endswith(("system_exit", "recursion"))
        expected = ("raised",) if raises else ("crashed", "poisoned")
        if status != "failed" or reason not in expected or crashes > 3:
            problems.append(
                f"{name} ended as {status} {reason} after {crashes} crashes, and not as failed {expected[0]}"
            )
    count = stage.number(
        "SELECT count(*) FROM scheduler_app_execution AS execution "
        "JOIN scheduler_app_job AS job ON job.id = execution.job_id WHERE job.name LIKE 'poison:%%'"
    )
    if count != len(POISON):
        problems.append(f"{count} executions of {len(POISON)} jobs that were to run once each")
    [[most]] = stage.sql(
        "SELECT COALESCE(max(execution.crashes), 0) FROM scheduler_app_execution AS execution "
        "JOIN scheduler_app_job AS job ON job.id = execution.job_id WHERE job.name NOT LIKE 'poison:%%'"
    )
    if most > 3:
        problems.append(f"an innocent execution was taken down {most} times")
    return problems


@fault(
    "F14",
    "jobs that take their process down, one way and another",
    quick_s=40,
    long_s=40,
    more_jobs=POISON,
    after=poisoned,
)
def poison(stage: Stage, seconds: float) -> None:
    time.sleep(seconds / 2)
    stage.wait(
        lambda: (
            not stage.number(
                "SELECT count(*) FROM scheduler_app_execution AS execution "
                "JOIN scheduler_app_job AS job ON job.id = execution.job_id "
                "WHERE job.name LIKE 'poison:%%' AND execution.status IN ('ready', 'blocked', 'running')"
            )
        ),
        "all poison to be parked",
        timeout_s=4 * (LEASE_S + X_S) + 60,
    )


# --- F15: a storm of orders -----------------------------------------------------------------------

STORM = tuple(
    Wanted(f"storm {number}", "* * * * * *", work(0.2, on_overlap="allow")) for number in range(12)
)
SCHEDULES = ("* * * * * *", "*/2 * * * * *", "@every 3s")


class Operator(threading.Thread):
    """Gives orders about some jobs of its own over the API, one after the other, and writes down the answers."""

    def __init__(self, stage: Stage, web: Web, ids: list[int], seed: int, end: float) -> None:
        super().__init__(daemon=True)
        self.stage, self.web, self.ids, self.end = stage, web, ids, end
        self.random = Random(seed)
        self.answers: list[int] = []
        self.paused: set[int] = set()

    def run(self) -> None:
        orders = (self.pause, self.resume, self.edit, self.cancel, self.run_now, self.backfill)
        while time.monotonic() < self.end and self.ids:
            job = self.random.choice(self.ids)
            # Of many orders few are deletes, or soon nothing is left.
            order = self.delete if self.random.random() < 0.01 else self.random.choice(orders)
            try:
                order(job)
            except OSError:
                # An order without an answer may have been carried out or not; the ledger knows no end of it.
                self.answers.append(599)
            time.sleep(0.02)

    def ask(self, method: str, path: str, **values: object) -> Answer:
        answer = self.web.ask(method, path, values or None)
        self.answers.append(answer.status)
        return answer

    def pause(self, job: int) -> None:
        if job not in self.paused:
            with self.stage.ledger.order("pause", job):
                self.ask("POST", f"/jobs/{job}/pause")
            self.paused.add(job)

    def resume(self, job: int) -> None:
        if job in self.paused:
            with self.stage.ledger.order("resume", job):
                self.ask("POST", f"/jobs/{job}/resume")
            self.paused.discard(job)

    def edit(self, job: int) -> None:
        schedule = self.random.choice(SCHEDULES)
        self.define(job, schedule, "PATCH", schedule=schedule)

    def delete(self, job: int) -> None:
        self.ids.remove(job)
        self.define(job, None, "DELETE")

    def define(self, job: int, becomes: str | None, method: str, **values: object) -> None:
        asked = time.time()
        answer = self.ask(method, f"/jobs/{job}", **values)
        if answer.status < 300:
            self.stage.definitions[job].append(Definition(becomes, asked, time.time()))

    def cancel(self, job: int) -> None:
        answer = self.ask("GET", f"/jobs/{job}/executions?page_size=5")
        for found in answer.json.get("results", [])[:2]:
            with self.stage.ledger.order("cancel", found["id"]):
                self.ask("POST", f"/executions/{found['id']}/cancel")

    def run_now(self, job: int) -> None:
        answer = self.ask("POST", f"/jobs/{job}/run")
        if answer.status == 202:
            self.stage.acknowledged.append(answer.json["id"])

    def backfill(self, job: int) -> None:
        now = time.time()
        since, until = (
            datetime.fromtimestamp(int(now) - ago, UTC).isoformat() for ago in (3605, 3600)
        )
        self.ask("POST", f"/jobs/{job}/backfill", since=since, until=until)


@fault(
    "F15",
    "a storm of orders over the API while everything fires",
    quick_s=40,
    long_s=600,
    expect=no_reruns_and_no_exits,
    more_jobs=STORM,
)
def storm(stage: Stage, seconds: float) -> None:
    with Web(stage) as web:
        end = time.monotonic() + seconds
        ids = [stage.ids[wanted.name] for wanted in STORM]
        operators = [
            Operator(stage, web, ids[number::4], stage.random.randrange(10_000), end)
            for number in range(4)
        ]
        for operator in operators:
            operator.start()
        for operator in operators:
            operator.join()
        for operator in operators:
            for job in list(operator.paused):
                operator.resume(job)
        answers = [status for operator in operators for status in operator.answers]
    counted = {status: answers.count(status) for status in sorted(set(answers))}
    stage.ledger.note(f"answers of the API: {counted}, {len(answers) / seconds:.0f} a second")
    if any(status >= 500 for status in answers):
        stage.problems.append(f"the API answered with {counted}")
    if answers.count(200) < len(answers) / 4:
        stage.problems.append(f"hardly an order was taken, so this proves nothing: {counted}")


# --- F16: never-ending jobs, and a limit whose holder dies ------------------------------------------

ENDLESS = Wanted(
    "endless",
    "@manual",
    {
        "target": f"{JOBS}.endless",
        "max_running": 12,
        "on_overlap": "queue_all",
        "timeout_s": 3000,
        "priority": -50,
    },
    may_fail=True,
)


@fault(
    "F16",
    "five hundred never-ending executions, and a job that runs alone and whose node dies",
    quick_s=40,
    long_s=40,
    expect=some_rescues,
    seconds={"rescue_max_s": LEASE_S + X_S},
    more_jobs=(ENDLESS, Wanted("holder", "@every 4s", work(3.0, on_overlap="queue_all"))),
)
def never_ending(stage: Stage, seconds: float) -> None:
    endless = stage.ids["endless"]
    run_by_hand(stage, "endless", 500)
    stage.sql(
        "UPDATE scheduler_app_execution SET status = 'blocked' WHERE status = 'ready' AND job_id = %s",
        endless,
    )
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        keeper = stage.node_amid("holder")
        keeper.send(signal.SIGKILL)
        time.sleep(LEASE_S + X_S)
        stage.wait_all_active()
    stage.sql("UPDATE scheduler_app_job SET deleted_at = scheduler_now() WHERE id = %s", endless)
    stage.sql(
        "UPDATE scheduler_app_execution SET cancel_requested_at = scheduler_now() "
        "WHERE job_id = %s AND status = 'running'",
        endless,
    )


# --- F17: timeouts and leaks --------------------------------------------------------------------------

TIMED = (
    Wanted(
        "deaf to its timeout",
        "@manual",
        {
            "target": f"{JOBS}.deaf",
            "arguments": {"seconds": 3.0},
            "timeout_s": 1.0,
            "on_overlap": "allow",
            "queue": "timed",
        },
        may_fail=True,
    ),
    Wanted(
        "a family of programs",
        "@manual",
        {"kind": "shell", "target": "family", "timeout_s": 1.5, "on_overlap": "allow"},
        writes=False,
        may_fail=True,
    ),
    Wanted(
        "a server that trickles",
        "@manual",
        # Its address is known when the server is there.
        {
            "kind": "http",
            "target": "http://127.0.0.1:8000/slow",
            "timeout_s": 2.0,
            "on_overlap": "allow",
        },
        writes=False,
        may_fail=True,
    ),
)


def nothing_left(stage: Stage, evidence: Evidence) -> list[str]:
    """Every one of them timed out, and no process of theirs is left."""
    problems = []
    for name, status, reason, count in stage.sql(
        """
        SELECT job.name, execution.status, execution.reason, count(*)
        FROM scheduler_app_execution AS execution JOIN scheduler_app_job AS job ON job.id = execution.job_id
        WHERE job.name = ANY(%s) GROUP BY 1, 2, 3 ORDER BY 1
        """,
        [wanted.name for wanted in TIMED],
    ):
        stage.ledger.note(f"{name}: {count} {status} {reason}")
        if reason != "timed_out":
            problems.append(f"{name}: {count} ended as {status} {reason}, and not timed out")
    left = subprocess.run(
        ["pgrep", "-f", "^sleep 8639[789]$"], capture_output=True, text=True
    ).stdout.split()
    if left:
        problems.append(
            f"{len(left)} processes of the timed-out programs are left: {' '.join(left)}"
        )
    return problems


@fault(
    "F17",
    "a hundred jobs that are deaf to their timeout, programs with grandchildren, a server that trickles",
    quick_s=60,
    long_s=60,
    expect=no_exits,
    more_jobs=TIMED,
    after=nothing_left,
    settings={"SCHEDULER_THREADS": "16"},
)
def timeouts(stage: Stage, seconds: float) -> None:
    stage.sql(
        "UPDATE scheduler_app_job SET target = %s WHERE id = %s",
        f"http://127.0.0.1:{stage.cluster.webhook.port}/slow",
        stage.ids["a server that trickles"],
    )
    sizes = Sizes(stage)
    batches = 20
    for number in range(batches):
        # Less than half of a node's threads, should one take them all; with more stuck it would end, as promised.
        run_by_hand(stage, "deaf to its timeout", 100 // batches)
        run_by_hand(stage, "a family of programs")
        if number % 2:
            run_by_hand(stage, "a server that trickles")
        time.sleep(seconds / batches)
    names = [wanted.name for wanted in TIMED]
    stage.wait(
        lambda: (
            not stage.number(
                "SELECT count(*) FROM scheduler_app_execution WHERE status IN ('ready', 'running') AND job_id = ANY(%s)",
                [stage.ids[name] for name in names],
            )
        ),
        "all to time out",
        timeout_s=300.0,
    )
    # What is deaf comes back after three seconds and finds its place taken.
    time.sleep(6.0)
    sizes.compare("a hundred timeouts")


# --- F19: hostile payloads --------------------------------------------------------------------------

PAGES = (
    "/api/v1/executions?page_size=100",
    "/api/v1/jobs",
    "/admin/scheduler_app/execution/",
    "/admin/scheduler_app/job/",
    "/admin/",
)


def payloads() -> list[dict[str, object]]:
    """The arguments of `hostile`, each once."""
    found: list[dict[str, object]] = []
    for payload in PAYLOADS:
        found += [
            {"channel": channel, "payload": payload} for channel in ("result", "message", "printed")
        ]
    found += [{"channel": "error", "payload": payload} for payload in ERRORS]
    found += [{"channel": "output", "payload": payload} for payload in OUTPUTS]
    found += [
        {"channel": "argument", "payload": "", "extra": extra}
        for extra in ("\u202e<script>", "x" * 60_000, {"a": [None, {"b": 1e300}]})
    ]
    return [*found, {"channel": "frames", "payload": ""}]


def all_pages_open(stage: Stage, evidence: Evidence) -> list[str]:
    """Every one of them has its outcome, and every list and page opens."""
    problems = []
    job = stage.ids["hostile"]
    for arguments, status, reason in stage.sql(
        "SELECT spec ->> 'arguments', status, reason FROM scheduler_app_execution WHERE job_id = %s",
        job,
    ):
        if status not in ("succeeded", "failed"):
            problems.append(f"{arguments[:80]} ended as {status} {reason}")
    ids = [
        row[0] for row in stage.sql("SELECT id FROM scheduler_app_execution WHERE job_id = %s", job)
    ]
    with Web(stage) as web:
        web.log_in()
        paths = [*PAGES, f"/admin/scheduler_app/job/{job}/change/"]
        for id_ in ids:
            paths += [
                f"/api/v1/executions/{id_}",
                f"/api/v1/executions/{id_}/log",
                f"/admin/scheduler_app/execution/{id_}/change/",
            ]
        for path in paths:
            answer = web.ask("GET", path, prefix="")
            if answer.status != 200:
                problems.append(f"{path} answered {answer.status}")
    stage.ledger.note(f"{len(ids)} payloads, {len(paths)} pages")
    if list(stage.directory.glob("*.pickled")):
        problems.append("a value was pickled, and its code ran")
    return problems


@fault(
    "F19",
    "payloads that nobody can store, as result, error, output and argument",
    quick_s=5,
    long_s=5,
    expect=no_reruns_and_no_exits,
    after=all_pages_open,
    more_jobs=(
        Wanted(
            "hostile",
            "@manual",
            {
                "target": f"{JOBS}.hostile",
                "arguments": {"channel": "", "payload": ""},
                "on_overlap": "allow",
                "timeout_s": 120,
            },
            writes=False,
            may_fail=True,
        ),
    ),
)
def hostile(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)
    for arguments in payloads():
        run_by_hand(stage, "hostile", spec={"arguments": arguments})
    stage.wait(
        lambda: (
            not stage.number(
                "SELECT count(*) FROM scheduler_app_execution WHERE status IN ('ready', 'running') AND job_id = %s",
                stage.ids["hostile"],
            )
        ),
        "all payloads to have an outcome",
        timeout_s=300.0,
    )
