"""The kind `shell`: a program gets its arguments byte for byte, nothing else, and leaves nothing behind (S14)."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from scheduler_app.targets import get_target, target_problems
from scheduler_app.targets.base import InvalidTarget, TargetFailed, UnknownTarget

from .conftest import stop_soon, wait_until

SHOW = """
import json, os, resource, stat, sys
print(json.dumps({
    "argv": [os.fsencode(word).hex() for word in sys.argv[1:]],
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    "umask": os.umask(0),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    "is_session_leader": os.getsid(0) == os.getpid(),
    "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
}))
"""


@pytest.fixture
def allow(settings) -> Any:
    """Allow Python programs by name, each with the template of its arguments and options."""

    def allow(**commands: Any) -> None:
        settings.SCHEDULER = {
            "kinds": ("task", "shell"),
            "kill_grace": 1.0,
            "shell_commands": {
                name: {
                    "argv": [sys.executable, "-I", "-c", program, *rest],
                    **(options[0] if options else {}),
                }
                for name, (program, rest, *options) in commands.items()
            },
        }

    return allow


@pytest.fixture
def run(make_execution) -> Any:
    def run(name: str, arguments: Any = None, **values: Any) -> Any:
        return get_target("shell").run(make_execution(name, arguments, **values))

    return run


HOSTILE = {
    "command": "; id",
    "substitution": "$(id)",
    "backticks": "`id`",
    "newline": "a\nid",
    "option": "--flag",
    "glob": "/*",
    "quotes": "'\"\\",
    "redirect": "> canary",
    "variable": "$HOME ${PATH} %PATH%",
    "bytes": "\x01\x7f\u202e\U0001f600",
    "empty": "",
    "long": "x" * 60_000,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_s14_a_hostile_value_arrives_byte_for_byte_as_one_argument(
    allow, run, capsys, tmp_path, value
):
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    allow(show=(SHOW, ["first", "--", "{arguments.value}", "last"], {"cwd": str(tmp_path)}))
    assert target_problems("shell", "show", {"value": value}) == []

    result = run("show", {"value": value})

    shown = json.loads(capsys.readouterr().out)
    assert shown["argv"] == [word.encode().hex() for word in ("first", "--", value, "last")]
    assert result["exit_code"] == 0
    assert canary.read_text() == "untouched"
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]


@pytest.mark.parametrize(
    ("value", "words"),
    [("a\0b", "NUL"), ("x" * 1024 * 1024, "at most 65,536 are allowed")],
    ids=["nul", "1 MiB"],
)
def test_s14_what_no_program_can_be_given_is_refused_when_it_is_saved(allow, value, words):
    allow(show=(SHOW, ["{arguments.value}"]))

    problems = target_problems("shell", "show", {"value": value})

    assert any(words in problem.message for problem in problems)


def test_s14_a_leading_dash_is_refused_where_it_would_be_an_option(allow, run):
    allow(show=(SHOW, ["{arguments.value}"]), name=(SHOW, ["{job_name}"]))

    [problem] = target_problems("shell", "show", {"value": "--flag"})

    assert problem.field == "arguments.value"
    with pytest.raises(InvalidTarget, match="may not begin with '-'"):
        run("name", job_name="--version")


def test_a_program_gets_a_clean_environment_a_directory_of_its_own_and_limits(
    allow, run, capsys, monkeypatch
):
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:canary@host/db")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    inherited = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    allow(show=(SHOW, ["{execution_id}", "{scheduled_for}", "{attempt}"], {"memory_mb": 512}))

    run("show")

    os.close(inherited)
    shown = json.loads(capsys.readouterr().out)
    assert [bytes.fromhex(word).decode() for word in shown["argv"]] == [
        *("4711", "2030-01-01T12:00:00.250000Z", "1")
    ]
    environment = shown["environment"]
    assert environment.keys() - {"LC_CTYPE"} == {
        *("PATH", "LANG", "HOME", "TMPDIR", "SCHEDULER_RUN"),
        *("SCHEDULER_EXECUTION_ID", "SCHEDULER_SCHEDULED_FOR", "SCHEDULER_ATTEMPT"),
    }
    assert environment["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert shown["cwd"] == environment["HOME"]
    assert not Path(shown["cwd"]).exists()
    assert shown["umask"] == 0o077
    assert inherited not in shown["descriptors"]
    # Three, and the one that lists them.
    assert len(shown["descriptors"]) == 4
    assert shown["is_session_leader"]
    assert (shown["memory"], shown["core"]) == (512 * 1024 * 1024, 0)


def test_the_exit_code_and_the_last_line_tell_what_went_wrong(allow, run, capsys):
    program = (
        "import sys; print('out', flush=True); print('disk is full', file=sys.stderr); sys.exit(3)"
    )
    allow(fail=(program, []))

    with pytest.raises(TargetFailed) as caught:
        run("fail")

    assert str(caught.value) == "fail ended with exit code 3: disk is full"
    assert (caught.value.reason, caught.value.result["exit_code"]) == ("exit_code", 3)
    assert capsys.readouterr().out == "out\ndisk is full\n"


def test_a_program_that_is_killed_by_a_signal_says_which(allow, run):
    allow(die=("import os; os.kill(os.getpid(), 11)", []))

    with pytest.raises(TargetFailed, match=r"die was ended by SIGSEGV\.") as caught:
        run("die")

    assert caught.value.result["exit_code"] is None


def test_a_program_that_wants_too_much_memory_fails_alone(allow, run):
    allow(eat=("b'x' * (10 * 1024 ** 3)", [], {"memory_mb": 256}))

    with pytest.raises(TargetFailed, match="MemoryError"):
        run("eat")


def test_a_program_that_is_not_there_says_so(settings, run):
    settings.SCHEDULER = {"kinds": ("shell",), "shell_commands": {"gone": ["/no/such/program"]}}

    with pytest.raises(TargetFailed, match="/no/such/program cannot be started: No such file"):
        run("gone")


def test_what_it_writes_is_passed_on_while_it_runs(allow, make_execution, capsys):
    allow(slow=("import time\nprint('ä begun', flush=True)\ntime.sleep(600)", []))
    execution = make_execution("slow")
    seen: list[str] = []

    def begun() -> bool:
        seen.append(capsys.readouterr().out)
        return "begun" in "".join(seen)

    thread = stop_soon(execution, begun)
    with pytest.raises(TargetFailed, match="slow was ended") as caught:
        get_target("shell").run(execution)
    thread.join()

    assert "ä begun\n" in "".join(seen)
    assert caught.value.result["signal"] == "SIGTERM"


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
same = subprocess.Popen([sys.executable, "-c", child])
fled = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
with open(sys.argv[1] + ".part", "w") as file:
    file.write("%d %d %d" % (os.getpid(), same.pid, fled.pid))
os.rename(sys.argv[1] + ".part", sys.argv[1])
if sys.argv[2] == "stay":
    time.sleep(600)
"""


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # gone before it was opened, or between that and the reading
        return True


@pytest.mark.parametrize("how", ["stay", "leave"])
def test_no_process_outlives_its_execution_though_it_ignores_sigterm_or_fled(
    allow, make_execution, tmp_path, how
):
    allow(family=(FAMILY, ["{arguments.pids}", how]))
    pids = tmp_path / "pids"
    execution = make_execution("family", {"pids": str(pids)})

    if how == "stay":
        thread = stop_soon(execution, pids.exists)
        with pytest.raises(TargetFailed) as caught:
            get_target("shell").run(execution)
        thread.join()
        assert caught.value.result["signal"] == "SIGKILL"
    else:
        assert get_target("shell").run(execution)["exit_code"] == 0

    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: has_ended(pid))


QUIET = """
import subprocess, sys
quiet = subprocess.DEVNULL
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"],
    stdout=quiet, stderr=quiet, start_new_session=sys.argv[1] == "daemon",
)
print(child.pid)
"""


@pytest.mark.parametrize("how", ["helper", "daemon"])
def test_what_a_program_leaves_behind_in_silence_ends_unless_it_was_detached_on_purpose(
    allow, run, capsys, how
):
    allow(leave=(QUIET, [how]))

    assert run("leave")["exit_code"] == 0

    pid = int(capsys.readouterr().out)
    if how == "helper":
        wait_until(lambda: has_ended(pid))
    else:
        assert not has_ended(pid)
        os.kill(pid, signal.SIGKILL)


def test_output_without_end_is_read_on_and_its_amount_told(allow, run, monkeypatch):
    class Nowhere:
        size = 0

        def write(self, text: str) -> None:
            self.size += len(text)

    nowhere = Nowhere()
    allow(shout=("import os\nfor _ in range(500): os.write(1, b'x' * 100_000)", []))
    monkeypatch.setattr(sys, "stdout", nowhere)

    result = run("shout")

    assert nowhere.size == result["output_bytes"] == 50_000_000


def test_what_is_not_allowed_is_refused_and_names_what_is(allow, run):
    allow(show=(SHOW, []), other=(SHOW, []))

    for target in ("/bin/sh", "sh -c id", "shw", "../show"):
        [problem] = target_problems("shell", target, {})
        assert problem.field == "target"
        assert "Allowed: show, other." in problem.message
        with pytest.raises(UnknownTarget):
            run(target)
    assert target_problems("shell", "shw", {})[0].suggestion == "show"


def test_it_is_off_unless_the_settings_say_otherwise():
    with override_settings(SCHEDULER={"shell_commands": {"show": ["/bin/echo"]}}):
        [problem] = target_problems("shell", "show", {})

    assert "switched off" in problem.message
