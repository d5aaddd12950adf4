"""What the code itself does not do, and what a written row cannot make it do: S1, S17, S19, S22, S26, S28."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import scheduler_app
from scheduler_app.engine.performing import perform
from scheduler_app.rules.storable import storable_json
from scheduler_app.targets.base import CurrentExecution

PACKAGE = Path(scheduler_app.__file__).parent
ROOT = PACKAGE.parent
SOURCES = [*PACKAGE.rglob("*.py"), *(ROOT / "jobscheduler").rglob("*.py")]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *(("task", name) for name in ("os.system", "builtins.exec", "subprocess.run", "eval")),
        ("task", "tests.testapp.tasks.subprocess"),
        ("task", "tests.testapp.tasks.__builtins__"),
        ("task", "scheduler_app.lifecycle.delete_jobs"),
        ("task", "../../etc/passwd"),
        ("task", "tests.testapp.tasks:echo"),
        ("shell", "/bin/sh"),
        ("shell", "sh -c id"),
        ("management", "flush"),
        ("management", "shell"),
        ("pickle", "x"),
        ("", ""),
    ],
)
def test_s01_a_row_that_names_other_code_runs_none(kind: str, target: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    execution = CurrentExecution(
        id=1,
        job_id=1,
        job_name="evil",
        attempt=1,
        scheduled_for=datetime(2030, 1, 1, tzinfo=UTC),
        target=target,
        arguments=[f"touch {canary}"],
        timeout_s=5,
    )

    ending = perform(execution, kind)

    assert ending.raised and ending.permanent
    assert ending.reason in ("unknown_task", "invalid_target", "invalid_arguments")
    assert not canary.exists()


def calls_and_names(path: Path, *, only_imports: bool = False) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if only_imports and not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(alias.name for alias in node.names)}
    return found


def users_of(*names: str, **options: bool) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if calls_and_names(path, **options) & set(names)
    }


def test_s17_markup_is_made_in_one_reviewed_place() -> None:
    assert users_of("mark_safe", "SafeText", "html_safe") == set()
    makers = users_of("format_html", "format_html_join")
    assert makers <= {
        "scheduler_app/admin/html.py",
        "scheduler_app/admin/charts.py",
        "scheduler_app/admin/strip.py",
        "scheduler_app/admin/form_fields.py",
        "scheduler_app/admin/forms.py",
        "scheduler_app/api/renderers.py",
    }, makers
    for template in (ROOT / "templates").rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape\s+off|safeseq", text), template
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text), template
        assert not re.search(
            r"\sstyle=|\son(click|load|error|focus|change|submit|input|key\w+|mouse\w+)=|javascript:",
            text,
        ), template


def test_s17_only_formats_with_constant_text_make_markup() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "format_html":
                assert isinstance(node.args[0], ast.Constant), (path, node.lineno)


def test_s19_nothing_writes_spreadsheets() -> None:
    """There is no CSV to inject into; whoever adds one escapes what begins with = + - @ and says so here."""
    assert users_of("csv", "openpyxl", "xlsxwriter") == set()
    for path in SOURCES:
        assert not re.search(r"text/csv|ms-excel|spreadsheet", path.read_text()), path


class Bomb:
    """What a pickle would run."""

    def __reduce__(self):
        return (print, ("boom",))

    def __repr__(self) -> str:
        return "<Bomb>"


def test_s22_a_result_is_stored_as_text_never_as_an_object() -> None:
    assert users_of("pickle", "marshal", "shelve", "dill", "multiprocessing") == set()
    stored = storable_json({"bomb": Bomb()})
    assert stored == {"bomb": "<Bomb>"} or "Bomb" in str(stored)


def test_s26_nothing_calls_out_but_the_guarded_client() -> None:
    """There are no notifications; all that leaves this process for HTTP goes through the client of S9."""
    clients = ("urllib3", "requests", "httpx", "aiohttp", "urllib.request", "http.client")
    callers = users_of(*clients, only_imports=True)
    assert callers <= {
        "scheduler_app/targets/guarded_http.py",
        "scheduler_app/targets/http.py",
        # Waits until the site that it has started answers.
        "jobscheduler/management/commands/runlocal.py",
    }
    assert users_of("smtplib", "send_mail") == set()
    assert users_of("socket", only_imports=True) <= {
        "scheduler_app/targets/guarded_http.py",
        # The name of this machine, pairs of sockets between its processes, the drill's own cable, a free port.
        *(
            f"scheduler_app/engine/{name}.py"
            for name in ("node", "watchdog", "children", "template")
        ),
        "scheduler_app/management/commands/runscheduler.py",
        "scheduler_app/management/drill/proxy.py",
        "jobscheduler/management/commands/runlocal.py",
    }


def test_s28_every_dependency_is_pinned_for_every_python() -> None:
    wanted = {
        re.match(r"[A-Za-z0-9_.-]+", line)[0].lower().replace("_", "-")  # type: ignore[index]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#") and "python_version" not in line
    }
    for path in sorted((ROOT / "constraints").glob("python3.*.txt")):
        pins = [
            line.partition("#")[0].strip()
            for line in path.read_text().splitlines()
            if line.partition("#")[0].strip()
        ]
        assert all("==" in pin for pin in pins), path
        pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
        assert wanted <= pinned, (path, wanted - pinned)


def test_s28_nothing_is_fetched_when_a_page_is_shown() -> None:
    for path in [*(ROOT / "templates").rglob("*.html"), *PACKAGE.rglob("static/**/*.css")]:
        assert not re.search(
            r"""(src|href)=["']?(https?:)?//|url\(["']?https?:""", path.read_text()
        )


def test_every_threat_of_the_documentation_has_tests_of_its_number() -> None:
    rows = re.findall(
        r"^\| S(\d+) \|.*\| ?([^|]*)\|$", (ROOT / "docs" / "security.md").read_text(), re.M
    )
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))

    assert [int(number) for number, _ in rows] == list(range(1, 31))
    for number, proof in rows:
        named = re.search(rf"def test_(s\d\d_)*s{int(number):02}_", tests)
        assert named or proof.strip() == "–", f"S{number}"
        for path in re.findall(r"`(tests/[^`]+)`", proof):
            assert (ROOT / path).exists(), path
