"""S2: a job runs in its owner's name, with the rights that the owner has when it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import OperationalError, connection

from scheduler_app import lifecycle
from scheduler_app.access import owners
from scheduler_app.access.owners import NotKnown, Owners
from scheduler_app.engine import database
from scheduler_app.engine.database import within_deadline
from scheduler_app.models import Execution, Job
from tests.lifecycle.support import open_connection

from .conftest import wait_for

ECHO = "tests.testapp.tasks.echo"


@pytest.fixture
def owner(transactional_db):
    user = get_user_model().objects.create_user("olga")
    user.user_permissions.set(Permission.objects.filter(codename="use_task"))
    return user


def outcome_of(job: Job) -> Execution:
    [execution] = lifecycle.run_now([job.pk], by="test")

    def is_over():
        execution.refresh_from_db()
        return not execution.is_live

    wait_for(is_over, what=f"the end of {job.name}")
    return execution


def job_of(owner, name: str, **fields) -> Job:
    return lifecycle.save_job(
        Job(name=name, target=ECHO, owner=owner, max_attempts=3, **fields), by="test"
    )


def test_s02_a_node_asks_for_the_rights_of_the_owner_when_a_job_runs(owner, start_node) -> None:
    start_node().wait_ready()
    nobodys = lifecycle.save_job(Job(name="nobody's", target=ECHO), by="test")
    # Names of their own, as a node remembers an owner for some seconds.
    gone = get_user_model().objects.create_user("gone", is_active=False)
    stripped = get_user_model().objects.create_user("stripped")

    assert outcome_of(nobodys).status == "succeeded"
    assert outcome_of(job_of(owner, "entitled")).status == "succeeded"
    for user, sentence in ((gone, "gone, is not active"), (stripped, "stripped may not use")):
        refused = outcome_of(job_of(user, f"job of {user}"))
        assert (refused.status, refused.reason) == ("failed", "owner_not_entitled")
        assert sentence in refused.error
        # Permanent: no attempt is made again.
        assert refused.attempt == 1 and refused.failures == []
    in_child = outcome_of(job_of(stripped, "in a child", isolation="process"))
    assert in_child.reason == "owner_not_entitled"


def test_s02_a_right_that_was_taken_away_counts_within_seconds(owner, monkeypatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(owners.time, "monotonic", lambda: clock.now)
    known = Owners()
    assert known.refusal(owner.pk, "task", ECHO) == ""

    owner.user_permissions.clear()
    assert known.refusal(owner.pk, "task", ECHO) == ""
    clock.now += owners.REMEMBERED_S + 0.1
    assert "olga may not use the target" in known.refusal(owner.pk, "task", ECHO)

    group = Group.objects.create(name="some")
    group.permissions.set(Permission.objects.filter(codename=f"use_task:{ECHO}"))
    owner.groups.add(group)
    clock.now += owners.REMEMBERED_S + 0.1
    assert known.refusal(owner.pk, "task", ECHO) == ""
    assert "use_shell" in known.refusal(owner.pk, "shell", "backup")

    get_user_model().objects.filter(pk=owner.pk).update(is_active=False)
    clock.now += owners.REMEMBERED_S + 0.1
    assert "not active" in known.refusal(owner.pk, "task", ECHO)


def test_s02_many_executions_of_one_owner_ask_the_database_once(
    owner, django_assert_num_queries
) -> None:
    known = Owners()
    known.refusal(owner.pk, "task", ECHO)
    with django_assert_num_queries(0):
        for _ in range(100):
            assert known.refusal(owner.pk, "task", ECHO) == ""
            assert known.refusal(None, "shell", "anything") == ""


def test_s02_a_claim_tells_the_owner_of_the_moment(owner) -> None:
    job = job_of(None, "given away")
    lifecycle.run_now([job.pk], by="test")
    Job.objects.filter(pk=job.pk).update(owner=owner)
    with open_connection() as plain:
        node = lifecycle.register_node(
            plain, name="n", host="h", pid=1, release="", queues=(), threads=1
        )
        [claimed] = lifecycle.claim(plain, lifecycle.SpecCache(), node_id=node, limit=1)

    assert claimed.owner_id == owner.pk


def test_while_rights_cannot_be_asked_for_nothing_begins_and_nothing_times_out(
    owner, start_node
) -> None:
    """A lock on the users' table, as a migration takes one: runs are handed back, threads do not count as stuck."""
    node = start_node("--threads", "2", kill_grace=0.1)
    job = job_of(owner, "owned", timeout_s=0.5, on_overlap="allow")
    with open_connection() as plain, plain.transaction():
        plain.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        plain.execute("LOCK TABLE auth_user IN ACCESS EXCLUSIVE MODE")
        runs = [lifecycle.run_now([job.pk], by="test")[0] for _ in range(4)]
        handed_back = Execution.objects.filter(reason="owner_not_known", started_at=None)
        wait_for(lambda: handed_back.count() == len(runs), what="all handed back")

    over = Execution.objects.filter(status="succeeded", attempt=1, failures=[])
    wait_for(lambda: over.count() == len(runs), what="the end of all")
    assert node.process.poll() is None
    assert "given up" not in node.log


class CountingLock:
    """Knows how many have asked for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked = 0
        self.release = self._lock.release

    def acquire(self, timeout: float) -> bool:
        self.asked += 1
        return self._lock.acquire(timeout=timeout)


def test_who_waits_for_the_answer_about_an_owner_shares_the_lack_of_it(owner) -> None:
    """A thread waits once for a database without an answer, not once for each before it."""
    asked: list[str] = []
    failing = threading.Event()

    @contextmanager
    def ask(alias: str) -> Iterator[None]:
        asked.append(alias)
        failing.wait()
        raise OperationalError("no answer")
        yield

    known = Owners(ask)
    known._turn = turn = CountingLock()
    ends: list[BaseException] = []

    def check() -> None:
        try:
            known.refusal(owner.pk, "task", ECHO)
        except (OperationalError, NotKnown) as error:
            ends.append(error)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: turn.asked == 4, what="the others")
    failing.set()
    for thread in threads:
        thread.join(60)

    assert asked == ["default"]
    assert sorted(type(end).__name__ for end in ends) == ["NotKnown"] * 3 + ["OperationalError"]


def test_a_question_over_djangos_connection_has_the_deadline_of_the_engine(owner, monkeypatch):
    def setting(name: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            return cursor.fetchone()[0]

    names = ("statement_timeout", "lock_timeout")
    before = [setting(name) for name in names]
    with within_deadline("default"):
        assert [setting(name) for name in names] == ["9s", "2s"]
    assert [setting(name) for name in names] == before

    monkeypatch.setattr(database, "DEADLINE_S", 0.1)
    with (
        pytest.raises(OperationalError),
        within_deadline("default"),
        connection.cursor() as cursor,
    ):
        pid = connection.connection.info.backend_pid
        cursor.execute("SELECT pg_sleep(60)")
    connection.close()
    assert setting("lock_timeout") == before[1]
    with connection.cursor() as cursor:
        # The server does not notice before its own timeout.
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
