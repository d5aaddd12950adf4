"""Nothing in the package runs what a row, a form or a response names (S1, S22): read from its source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scheduler_app

PACKAGE = Path(scheduler_app.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "import_string",
    "import_from_string",
    "run_module",
    "run_path",
    "system",
    "popen",
}
FORBIDDEN_MODULES = {
    "pickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "yaml",
    "runpy",
}
MAY_IMPORT_BY_NAME = {
    PACKAGE / "targets" / "task.py",
    PACKAGE / "management" / "drill" / "settings.py",
}
"""The first imports the tasks.py of installed apps and no other name; the second the site's settings, which whoever
starts the process names in its environment, as DJANGO_SETTINGS_MODULE does."""
HARMLESS = {("re", "compile")}
MAY_USE_YAML = {PACKAGE / layer / "definitions.py" for layer in ("lifecycle", "management")}
SAFE_YAML = {"safe_load", "safe_dump", "compose"}
"""Of these, `compose` builds no objects, whatever the text says."""


def calls(tree: ast.AST) -> list[tuple[str, str]]:
    """The calls in a source, as (what stands before the last dot, the last name)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                found.append(("", node.func.id))
            elif isinstance(node.func, ast.Attribute):
                found.append((ast.unparse(node.func.value), node.func.attr))
    return found


def imports(tree: ast.AST) -> set[str]:
    """The names that a source imports: modules, and what it takes from them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_s01_s22_no_source_runs_what_it_is_handed(path):
    tree = ast.parse(path.read_text())

    forbidden = {
        f"{owner}.{name}".strip(".")
        for owner, name in calls(tree)
        if name in FORBIDDEN_CALLS and (owner, name) not in HARMLESS
    }
    modules = {name for name in imports(tree) if name.split(".")[0] in FORBIDDEN_MODULES}
    if path in MAY_USE_YAML:
        modules -= {"yaml"}
        assert {name for owner, name in calls(tree) if owner == "yaml"} <= SAFE_YAML
    modules |= imports(tree) & {"import_string", "eval", "exec"}

    assert forbidden == set()
    assert modules == set()


def test_s01_modules_are_imported_by_name_in_two_places_only():
    importing = {
        path
        for path in SOURCES
        if any(name == "import_module" for _, name in calls(ast.parse(path.read_text())))
    }

    assert importing == MAY_IMPORT_BY_NAME


def test_s01_what_is_imported_by_name_is_the_tasks_module_of_an_installed_app():
    source = (PACKAGE / "targets" / "task.py").read_text()

    assert source.count("import_module(") == 1
    assert 'import_module(f"{name}.tasks")' in source
    assert "self._tasks_module(app.name, app.label, app.module)" in source


def test_the_check_sees_what_it_forbids():
    tree = ast.parse(
        "import pickle\nfrom django.utils.module_loading import import_string\neval('1')"
    )

    assert ("", "eval") in calls(tree)
    assert {"pickle", "import_string"} <= imports(tree)
