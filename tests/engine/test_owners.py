"""S2: a job runs in its owner's name, with the rights that the owner has when it runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

from scheduler_app import lifecycle
from scheduler_app.access import owners
from scheduler_app.access.owners import Owners
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
