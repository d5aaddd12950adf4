"""The kind `management`: an allowed command, arguments that its parser accepts, a process of its own."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from django.test import override_settings

from scheduler_app.targets import get_target, target_problems
from scheduler_app.targets.base import TargetFailed, UnknownTarget
from scheduler_app.targets.management import command_line

from .conftest import stop_soon


@pytest.fixture(autouse=True)
def allowed(settings) -> None:
    settings.SCHEDULER = {
        "kinds": ("management",),
        "management_commands": ("say", "check", "no_such_command"),
        "kill_grace": 1.0,
    }


def run(make_execution: Any, arguments: Any, target: str = "say") -> Any:
    return get_target("management").run(make_execution(target, arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, []),
        ({"args": ["a", 5]}, ["--", "a", "5"]),
        ({"args": ["--days=9", "-x"]}, ["--", "--days=9", "-x"]),
        ({"options": {"days": 7}}, ["--days=7"]),
        ({"options": {"days": "-7"}}, ["--days=-7"]),
        ({"options": {"--dry-run": True}}, ["--dry-run"]),
        ({"options": {"dry_run": False}}, []),
        ({"options": {"interactive": False}}, ["--noinput"]),
        ({"options": {"interactive": True}}, []),
        ({"options": {"color_it": True}}, ["--color-it"]),
        ({"options": {"color_it": False}}, ["--no-color-it"]),
        ({"options": {"tag": ["--settings=evil", "b"]}}, ["--tag=--settings=evil", "--tag=b"]),
        ({"options": {"between": ["a", "b"]}}, ["--between", "a", "b"]),
        ({"options": {"verbosity": 2}}, ["--verbosity=2"]),
        ({"args": ["x"], "options": {"mode": "fast"}}, ["--mode=fast", "--", "x"]),
    ],
)
def test_arguments_become_words_of_which_no_value_can_be_an_option(arguments, words):
    assert command_line("say", arguments) == ["say", "--no-color", *words]


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        (["a"], "arguments", 'must be {"args"'),
        ({"days": 7}, "arguments", 'must be {"args"'),
        ({"options": []}, "arguments.options", "must be a JSON object"),
        ({"options": {"dayz": 7}}, "arguments.options", "Did you mean 'days'?"),
        ({"options": {"days": "x"}}, "arguments", "invalid int value"),
        ({"options": {"days": [1]}}, "arguments.options.days", "takes one text or number"),
        ({"options": {"tag": "x"}}, "arguments.options.tag", "takes a list"),
        ({"options": {"mode": "warp"}}, "arguments", "invalid choice"),
        ({"options": {"dry_run": "yes"}}, "arguments.options.dry_run", "must be true or false"),
        ({"options": {"between": ["-a", "b"]}}, "arguments.options.between", "begin with '-'"),
        ({"options": {"settings": "evil"}}, "arguments.options", "no option 'settings'"),
        ({"options": {"pythonpath": "/tmp"}}, "arguments.options", "no option 'pythonpath'"),
        ({"options": {"help": True}}, "arguments.options", "no option 'help'"),
        ({"args": [None]}, "arguments.args", "list of texts"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words(arguments, field, words):
    [problem] = target_problems("management", "say", arguments)

    assert problem.field == field
    assert words in problem.message


@pytest.mark.parametrize("secret", ["hunter2", "it's\\1", "two\nlines"])
def test_s16_a_refusal_repeats_no_secret_that_the_parser_would_tell(secret):
    [problem] = target_problems("management", "say", {"options": {"api_token": secret}})

    assert re.match(
        r"say: Error: argument --api-token: invalid choice: ['\"][*]{8}['\"] \(", problem.message
    )


def test_only_allowed_commands_that_exist_can_be_chosen(make_execution):
    for target, words in (
        ("shell", "Allowed: check, no_such_command, say."),
        ("os.system", "Allowed: check"),
        ("no_such_command", "No installed app has the management command"),
    ):
        [problem] = target_problems("management", target, {})
        assert problem.field == "target"
        assert words in problem.message
        with pytest.raises(UnknownTarget):
            run(make_execution, {}, target)


def test_it_is_off_unless_the_settings_say_otherwise():
    with override_settings(SCHEDULER={"management_commands": ("say",)}):
        [problem] = target_problems("management", "say", {})

    assert "switched off" in problem.message


def test_all_that_it_writes_is_passed_on_and_its_exit_code_is_the_result(make_execution, capfd):
    result = run(
        make_execution, {"args": ["; id", "--x"], "options": {"days": 3, "interactive": False}}
    )

    said, past = capfd.readouterr().out.splitlines()
    assert ast.literal_eval(said) == {
        "words": ["; id", "--x"],
        "days": 3,
        "mode": None,
        "tag": None,
        "between": None,
        "dry_run": False,
        "interactive": False,
        "color_it": None,
    }
    assert past == "past the text layer"
    assert result["exit_code"] == 0


@pytest.mark.parametrize(
    ("then", "error"),
    [
        ("fail", "say ended with exit code 1: CommandError: there is nothing to say"),
        ("exit", "say ended with exit code 4: past the text layer"),
    ],
)
def test_a_command_that_fails_fails_its_execution_and_not_this_process(make_execution, then, error):
    with pytest.raises(TargetFailed) as caught:
        run(make_execution, {"options": {"then": then}})

    assert str(caught.value) == error


def test_a_command_that_never_ends_is_ended(make_execution, capsys):
    execution = make_execution("say", {"options": {"then": "sleep"}})
    seen: list[str] = []

    def begun() -> bool:
        seen.append(capsys.readouterr().out)
        return "past the text layer" in "".join(seen)

    thread = stop_soon(execution, begun)
    with pytest.raises(TargetFailed, match="say was ended"):
        get_target("management").run(execution)
    thread.join()
