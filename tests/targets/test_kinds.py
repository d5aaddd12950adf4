"""Kinds of target by name, and the check that forms, API, model and nodes share."""

from __future__ import annotations

import threading

import pytest
from django.test import override_settings

from scheduler_app.conf import KINDS, SchedulerConfig
from scheduler_app.targets import get_target, kinds, target_problems
from scheduler_app.targets.base import CurrentExecution, InvalidTarget, UnknownTarget
from scheduler_app.targets.http import HttpTarget
from scheduler_app.targets.task import TaskTarget

ADD = "tests.testapp.tasks.add"


def test_each_kind_has_its_implementation():
    assert isinstance(get_target("task"), TaskTarget)
    assert isinstance(get_target("http"), HttpTarget)
    assert kinds() == {"task": "Task", "http": "HTTP request"}


def test_an_unknown_kind_is_unknown_here_and_names_the_known_ones():
    with pytest.raises(UnknownTarget, match=r"'robot'.*Allowed: task, http"):
        get_target("robot")

    [problem] = target_problems("robot", "rm", {})
    assert problem.field == "kind"


def test_the_kinds_that_a_site_may_switch_on_are_those_that_there_are():
    with override_settings(SCHEDULER={"kinds": KINDS}):
        assert tuple(kinds()) == KINDS


@pytest.mark.parametrize("kind", ["task", "management", "shell"])
def test_a_target_that_is_not_known_is_named_without_its_secrets(kind):
    with override_settings(SCHEDULER={"kinds": KINDS}):
        [problem] = target_problems(kind, "https://hooks.example/x?token=canary", {})

    for text in (problem.message, problem.given):
        assert "hooks.example" in text
        assert "canary" not in text


def test_a_kind_that_is_switched_off_is_refused_and_names_the_setting():
    with override_settings(SCHEDULER={"kinds": ("task",)}):
        assert kinds() == {"task": "Task"}
        with pytest.raises(InvalidTarget):
            get_target("http")
        [problem] = target_problems("http", "https://example.com/", {})

    assert problem.field == "kind"
    assert "switched off" in problem.message
    assert "SCHEDULER['kinds']" in problem.message


def test_a_good_target_has_no_problems():
    assert target_problems("task", ADD, {"a": 1}) == []
    assert target_problems("http", "https://example.com/", {}) == []


@pytest.mark.parametrize("target", ["", "  ", None, 5])
def test_a_target_must_be_given(target):
    for kind in ("task", "http"):
        problems = target_problems(kind, target, {})
        assert [problem.field for problem in problems] == ["target"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"a": float("nan")}, "NaN"),
        ({"a": "\x00"}, "NUL"),
        ({"a": "\ud800"}, "surrogates"),
        ({"a": {1}}, "A set is not JSON"),
        ({1: 1}, "keys"),
        ({"a": 10**4001}, "digits"),
        ({"a": "x" * 65_536}, "at most 65,536 are allowed"),
    ],
)
def test_arguments_that_cannot_be_stored_are_refused_for_every_kind(arguments, words):
    for kind, target in (("task", ADD), ("http", "https://example.com/")):
        [problem] = target_problems(kind, target, arguments)
        assert problem.field == "arguments"
        assert words in problem.message


def test_deep_arguments_are_refused():
    deep: list = []
    for _ in range(3000):
        deep = [deep]

    [problem] = target_problems("task", ADD, [deep])

    assert "deeper than 32" in problem.message


def test_a_host_in_the_setting_that_cannot_be_read_is_a_problem_of_the_setting():
    config = SchedulerConfig(http_allowed_hosts=("fine.example", "not a host"))

    [problem] = config.problems()

    assert "'not a host'" in problem


def test_one_callback_that_fails_does_not_keep_the_others_from_being_told(make_execution):
    execution: CurrentExecution = make_execution()
    told = threading.Event()

    def fail() -> None:
        raise RuntimeError("no")

    execution.on_stop(fail)
    execution.on_stop(told.set)

    execution.stop()

    assert execution.should_stop()
    assert told.is_set()
