"""The allow-list of shell commands: what it may say, and how a job's arguments fill it (S14)."""

from __future__ import annotations

import pytest

from scheduler_app.rules.commands import (
    Command,
    argument_problems,
    command_problems,
    filled,
    read_command,
)

FACTS = {"execution_id": "7", "scheduled_for": "2030-01-01T12:00:00Z", "attempt": "1"}


def command(*argv: str, **options: object) -> Command:
    read = read_command("it", {"argv": list(argv), **options})
    assert isinstance(read, Command), read
    return read


def test_each_placeholder_becomes_exactly_one_argument():
    it = command("/bin/it", "{execution_id}", "--", "{arguments.path}", "{arguments.count}")

    argv = filled(it, {"path": "a b; $(id) *", "count": 3}, FACTS)

    assert argv == ["/bin/it", "7", "--", "a b; $(id) *", "3"]
    assert it.parameters == ("path", "count")


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again():
    it = command("/bin/it", "{arguments.a}", "{arguments.b}")

    assert filled(it, {"a": "{arguments.b}", "b": "{execution_id}"}, FACTS)[1:] == [
        "{arguments.b}",
        "{execution_id}",
    ]


def test_a_value_may_begin_with_a_dash_only_where_it_cannot_be_an_option():
    open_ = command("/bin/it", "{arguments.x}")
    closed = command("/bin/it", "--", "{arguments.x}")

    [problem] = argument_problems(open_, {"x": "--flag"})
    assert "may not begin with '-'" in problem.message
    with pytest.raises(ValueError, match="may not begin with '-'"):
        filled(open_, {"x": "-1"}, FACTS)
    assert argument_problems(closed, {"x": "--flag"}) == []
    assert filled(closed, {"x": "--flag"}, FACTS) == ["/bin/it", "--", "--flag"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "it needs the argument 'x'"),
        ({"x": "1", "y": "2"}, "it has no argument 'y'; it takes: x"),
        ({"x": ["a"]}, "must be a text, a number, true or false"),
        ({"x": None}, "must be a text"),
        ({"x": "a\0b"}, "NUL"),
        ({"x": "x" * 131_072}, "longer than 131,071 bytes"),
        (["a"], 'must be a JSON object: {"x": …}'),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_what_is_wanted(arguments, words):
    [problem] = argument_problems(command("/bin/it", "{arguments.x}"), arguments)

    assert words in problem.message


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ([], "must be an object of commands by name"),
        ({"a b": ["/bin/x"]}, "'a b' is not a name"),
        ({"x": "rm -rf /"}, "must be a list of texts"),
        ({"x": []}, "must be a list of texts"),
        ({"x": ["rm"]}, "must begin with the absolute path"),
        ({"x": ["{arguments.program}"]}, "must begin with the absolute path"),
        ({"x": ["/{arguments.program}"]}, "must begin with the absolute path"),
        ({"x": ["/bin/x", "--to={arguments.to}"]}, "a placeholder must be a whole argument"),
        ({"x": ["/bin/x", "{arguments.a}{arguments.b}"]}, "must be a whole argument"),
        ({"x": ["/bin/x", "{user}"]}, "{user} is not known; there are {execution_id}"),
        ({"x": ["/bin/x", "a\0b"]}, "must be a list of texts"),
        ({"x": {"argv": ["/bin/x"], "shell": True}}, "has no option 'shell'"),
        ({"x": {"argv": ["/bin/x"], "cwd": "here"}}, "cwd must be an absolute path"),
        ({"x": {"argv": ["/bin/x"], "environment": {"A=B": "c"}}}, "environment must be"),
        ({"x": {"argv": ["/bin/x"], "memory_mb": "2G"}}, "memory_mb must be a whole number"),
        ({"x": {"argv": ["/bin/x"], "open_files": True}}, "open_files must be a whole number"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_a_sentence(setting, words):
    [problem] = command_problems(setting)

    assert words in problem
    assert problem.startswith("shell_commands")


def test_words_with_other_braces_are_plain():
    it = command("/usr/bin/find", "/srv", "-exec", "/bin/echo", "{}", ";")

    assert filled(it, {}, FACTS)[-2:] == ["{}", ";"]
