"""Where the node finds a secret, and what it says when it does not (S16)."""

from __future__ import annotations

import pytest

from scheduler_app.targets import target_problems
from scheduler_app.targets.base import TargetFailed
from scheduler_app.targets.http import HttpTarget
from scheduler_app.targets.secrets import LARGEST, resolve, scrub


@pytest.fixture
def directory(settings, tmp_path):
    settings.SCHEDULER = {"secrets_directory": str(tmp_path)}
    return tmp_path


def test_a_secret_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SCHEDULER_SECRET_API_TOKEN_V2", "from-environment")

    assert resolve({"a": "Bearer secret://api-token.v2"}) == {"a": "Bearer from-environment"}


def test_a_file_comes_first_and_its_last_line_break_is_not_part_of_it(directory, monkeypatch):
    monkeypatch.setenv("SCHEDULER_SECRET_TOKEN", "from-environment")
    (directory / "token").write_text("from-a-file\n")

    assert resolve(["secret://token"]) == ["from-a-file"]


def test_the_prefix_can_be_chosen(settings, monkeypatch):
    settings.SCHEDULER = {"secrets_prefix": "OURS_"}
    monkeypatch.setenv("OURS_TOKEN", "from-our-variable")

    assert resolve("secret://token") == "from-our-variable"


def test_what_is_missing_is_named_with_where_it_was_looked_for(directory):
    with pytest.raises(TargetFailed) as caught:
        resolve({"a": "secret://no-such"})

    assert caught.value.reason == "missing_secret"
    assert f"the file {directory}/no-such" in str(caught.value)
    assert "SCHEDULER_SECRET_NO_SUCH" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"short", "has 5 characters; at least 6"),
        (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9", "not UTF-8"),
        (b"x" * (LARGEST + 1), "larger than"),
    ],
)
def test_a_file_that_cannot_be_a_secret_is_refused_in_words(directory, content, words):
    (directory / "it").write_bytes(content)

    with pytest.raises(TargetFailed, match=words):
        resolve("secret://it")


def test_a_name_cannot_lead_out_of_the_directory(directory):
    (directory.parent / "outside").write_text("outside")

    for text in ("secret://../outside", "secret:///etc/hostname", "secret://.."):
        assert target_problems("http", "https://example.com/", {"body": text})
    with pytest.raises(TargetFailed, match="no secret called 'a'"):
        resolve("secret://a/../../outside")


def test_what_was_looked_up_once_is_hidden_from_then_on(monkeypatch):
    monkeypatch.setenv("SCHEDULER_SECRET_CANARY", "canary-4711-yellow")
    assert scrub("canary-4711-yellow") == "canary-4711-yellow"

    resolve("secret://canary")

    assert scrub("say canary-4711-yellow now") == "say ******** now"


def test_a_secret_that_would_break_a_header_is_refused_without_being_shown(directory):
    (directory / "token").write_text("canary\r\nX-Evil: 1")
    arguments = resolve({"headers": {"Authorization": "secret://token"}})

    [problem] = HttpTarget().problems("https://example.com/", arguments)

    assert "control characters" in problem.message
    assert "canary" not in problem.message


def test_what_a_task_does_to_its_arguments_stays_with_that_run():
    """The next run of the job gets them as they are written there."""
    kept = {"names": ["a"], "deep": {"n": [1]}}

    given = resolve(kept)
    given["names"].append("b")
    given["deep"]["n"].clear()

    assert kept == {"names": ["a"], "deep": {"n": [1]}}
