"""Task targets: what the registry finds, what binds, and how functions and coroutines run (S1, I25)."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import time
import types
from itertools import combinations
from types import SimpleNamespace

import pytest
from django.apps import AppConfig, apps

from scheduler_app.targets.base import (
    Stopped,
    UnknownTarget,
    bind_current_execution,
    unbind_current_execution,
)
from scheduler_app.targets.task import TaskRegistry, TaskTarget, _register, known_tasks

from .conftest import DEADLINE_S, stop_soon

TASKS = "tests.testapp.tasks"


@pytest.fixture
def target():
    return TaskTarget()


@pytest.fixture
def run(target, make_execution):
    def run(name: str, arguments=None, **values):
        return target.run(make_execution(f"{TASKS}.{name}", arguments, **values))

    return run


# --- The registry


def test_tasks_of_installed_apps_are_found_under_their_path():
    names = [task.name for task in known_tasks()]

    assert f"{TASKS}.add" in names
    assert names == sorted(names)


def test_what_is_no_task_is_not_found():
    names = {task.name for task in known_tasks()}

    assert f"{TASKS}.not_offered" not in names
    assert not any(name.endswith((".Path", ".task", ".current_execution")) for name in names)


def test_a_task_is_described():
    [add] = [task for task in known_tasks() if task.name == f"{TASKS}.add"]

    assert add.description == "The sum of two numbers."
    assert add.signature == "(a: int, b: int = 1)"
    assert not add.is_async
    first, second = add.parameters
    assert (first.name, first.annotation, first.required, first.default) == ("a", "int", True, "")
    assert (second.name, second.annotation, second.required, second.default) == (
        "b",
        "int",
        False,
        "1",
    )


def test_the_context_is_no_parameter_of_a_task():
    [info] = [task for task in known_tasks() if task.name == f"{TASKS}.tell_attempt"]

    assert info.signature == "(word: str = 'attempt')"


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.exec",
        "builtins.eval",
        "subprocess.run",
        "django.core.management.call_command",
        f"{TASKS}.not_offered",
        f"{TASKS}.current_execution",
        f"{TASKS}.add.func",
        f"{TASKS}.add_elsewhere",
        f"{TASKS}",
        "",
        "a\x00b",
        "../../etc/passwd",
    ],
)
def test_a_name_that_is_not_registered_never_runs(target, make_execution, name):
    with pytest.raises(UnknownTarget):
        target.load(name)
    with pytest.raises(UnknownTarget):
        target.run(make_execution(name, ["touch /tmp/canary"]))


def test_an_unknown_task_is_told_the_names_known_and_the_one_meant(target):
    [problem] = target.problems(f"{TASKS}.ad", {})
    assert problem.field == "target"
    assert f"Did you mean '{TASKS}.add'?" in problem.message
    assert f"{TASKS}.echo" in problem.message

    [problem] = target.problems("add", {})
    assert problem.suggestion == f"{TASKS}.add"


class Library:
    """A made-up site: its apps, and what their tasks modules are."""

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self._configs: list[AppConfig] = []
        monkeypatch.setattr(apps, "get_app_configs", lambda: self._configs)

    def add_app(self, name: str, tmp_path, source: str | None) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        if source is not None:
            (folder / "tasks.py").write_text(source)
        self._monkeypatch.syspath_prepend(tmp_path)
        self._monkeypatch.delitem(sys.modules, name, raising=False)
        module = __import__(name)
        config = types.SimpleNamespace(name=name, label=name, module=module)
        self._configs.append(config)  # type: ignore[arg-type]


@pytest.fixture
def library(monkeypatch):
    return Library(monkeypatch)


GOOD = "from scheduler_app.tasks import task\n@task\ndef work(): return 'good'\n"


@pytest.mark.parametrize(
    "source", ["import nothing_of_this_name", "1 / 0", "def broken(:", "import sys; sys.exit(3)"]
)
def test_an_app_whose_tasks_cannot_be_imported_does_not_take_others_down(
    library, tmp_path, caplog, source
):
    library.add_app("app_broken_one", tmp_path, source)
    library.add_app("app_good_one", tmp_path, GOOD)
    registry = TaskRegistry()

    assert registry.names() == ["app_good_one.tasks.work"]
    assert list(registry.broken_apps()) == ["app_broken_one"]
    assert "app=app_broken_one" in caplog.text
    with pytest.raises(UnknownTarget, match="tasks of the app 'app_broken_one' could not"):
        registry.get("app_broken_one.tasks.work")
    sys.modules.pop("app_good_one.tasks")


def test_an_app_without_tasks_is_fine(library, tmp_path, caplog):
    library.add_app("app_without_any", tmp_path, None)
    registry = TaskRegistry()

    assert registry.names() == []
    assert registry.broken_apps() == {}
    assert caplog.text == ""
    with pytest.raises(UnknownTarget, match="Known tasks: none"):
        registry.get("x")


def test_the_tasks_are_collected_once_however_many_threads_ask(library, tmp_path):
    counting = "import time\ntime.sleep(0.05)\n" + GOOD
    library.add_app("app_slow_one", tmp_path, counting)
    registry = TaskRegistry()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(registry.get("app_slow_one.tasks.work")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert len(found) == 8
    assert len({id(task) for task in found}) == 1
    sys.modules.pop("app_slow_one.tasks")


def test_a_variation_of_a_task_does_not_replace_it(library, tmp_path):
    source = GOOD + "first = work.using()\nlast = work.using()\n"
    library.add_app("app_of_variations", tmp_path, source)
    registry = TaskRegistry()

    module = sys.modules.get("app_of_variations.tasks")
    assert registry.names() == ["app_of_variations.tasks.work"]
    module = sys.modules.pop("app_of_variations.tasks")
    assert registry.get("app_of_variations.tasks.work").task is module.work


def test_a_task_of_the_backport_is_found_on_any_django(library, tmp_path, make_execution):
    pytest.importorskip("django_tasks")
    source = (
        "from django_tasks import task\n"
        "@task(takes_context=True)\n"
        "def work(context): return context.attempt\n"
    )
    library.add_app("app_of_backport", tmp_path, source)
    target = TaskTarget(TaskRegistry())

    assert target.run(make_execution("app_of_backport.tasks.work", {}, attempt=2)) == 2
    sys.modules.pop("app_of_backport.tasks")


# --- Arguments


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("add", {"a": 1}),
        ("add", {"a": 1, "b": 2}),
        ("add", [1]),
        ("add", [1, 2]),
        ("echo", {}),
        ("echo", []),
        ("tell_attempt", {}),
        ("tell_attempt", {"word": "x"}),
        ("tell_attempt", ["x"]),
        ("take_anything", [1, 2, 3]),
        ("take_anything", {"any": 1}),
    ],
)
def test_arguments_that_fit_are_fine(target, task, arguments):
    assert target.problems(f"{TASKS}.{task}", arguments) == []


@pytest.mark.parametrize(
    ("task", "arguments", "words"),
    [
        ("add", {}, "missing a required argument: 'a'"),
        ("add", {"a": 1, "c": 2}, "unexpected keyword argument 'c'"),
        ("add", [1, 2, 3], "too many positional arguments"),
        ("add", None, "a JSON object of keyword arguments, or a JSON list"),
        ("add", "text", "a JSON object of keyword arguments, or a JSON list"),
        ("add", 5, "a JSON object of keyword arguments, or a JSON list"),
        ("tell_attempt", {"context": 1}, "multiple values for argument 'context'"),
        ("tell_attempt", {"wort": "x"}, "Did you mean 'word'?"),
        ("tell_attempt", ["x", "y"], "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(target, task, arguments, words):
    [problem] = target.problems(f"{TASKS}.{task}", arguments)

    assert problem.field == "arguments"
    assert words in problem.message
    assert f"The arguments do not fit {task}(" in problem.message


def positional_only(a, /, b=2): ...


def keyword_only(a, *, b): ...


def variadic(a, *rest, **named): ...


def with_defaults(a, b, c=3, d=4): ...


def nothing(): ...


def context_by_name(*, context): ...


def any_number(*args): ...


@pytest.mark.parametrize(
    "function",
    [
        *(positional_only, keyword_only, variadic, with_defaults, nothing),
        *(context_by_name, any_number),
    ],
)
@pytest.mark.parametrize("takes_context", [False, True])
def test_arguments_fit_exactly_when_python_would_take_them(function, takes_context):
    called = inspect.signature(function)
    task = _register(SimpleNamespace(func=function, takes_context=takes_context, module_path="m.f"))
    names = ["a", "b", "c", "d", "e"]
    as_lists = [[0] * number for number in range(7)]
    as_objects = [
        dict.fromkeys(chosen) for size in range(6) for chosen in combinations(names, size)
    ]

    for arguments in [*as_lists, *as_objects]:
        args, kwargs = (arguments, {}) if isinstance(arguments, list) else ([], arguments)
        try:
            called.bind(*([None] if takes_context else []), *args, **kwargs)
        except TypeError as error:
            with pytest.raises(TypeError, match=re.escape(str(error))):
                task.call_arguments(arguments)
        else:
            assert task.call_arguments(arguments) == (args, kwargs)


# --- Running


def test_a_function_is_called_with_its_arguments(run):
    assert run("add", {"a": 2}) == 3
    assert run("add", [2, 5]) == 7
    assert run("take_anything", [1, 2]) == [[1, 2], {}]
    assert run("take_anything", {"x": 1}) == [[], {"x": 1}]


def test_a_function_runs_in_the_calling_thread(run):
    began = run("echo", {"value": None})

    assert began is None
    assert run("ask_in_which_thread") == threading.current_thread().name


def test_what_a_function_raises_comes_out(run):
    with pytest.raises(RuntimeError, match="on purpose"):
        run("fail")
    with pytest.raises(SystemExit):
        run("be_hostile", {"how": "exit"})
    with pytest.raises(KeyboardInterrupt):
        run("be_hostile", {"how": "interrupt"})


def test_a_task_that_takes_the_context_is_told_its_attempt(run):
    assert run("tell_attempt", attempt=3) == "attempt 3"
    assert run("tell_attempt", {"word": "try"}, attempt=1) == "try 1"
    assert run("tell_attempt", ["number"], attempt=2) == "number 2"
    assert run("tell_attempt_async", attempt=3) == "attempt 3 of 4711"


def test_a_coroutine_is_awaited(run):
    assert run("add_async", {"a": 1, "b": 2}) == 3


def test_coroutines_of_several_threads_run_side_by_side(run):
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(run("add_async", [n, n])))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert sorted(answers) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_database_work_of_a_coroutine_runs_in_the_executions_own_thread(run):
    answers = []

    def work() -> None:
        answers.append((threading.current_thread().name, run("ask_in_which_thread")))

    threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert all(worker == thread for worker, thread in answers)


def test_a_coroutine_that_is_asked_to_stop_is_cancelled(target, make_execution):
    execution = make_execution(f"{TASKS}.sleep_async", {"seconds": 60})
    began = time.monotonic()
    thread = stop_soon(execution, when=lambda: time.monotonic() > began + 0.2)

    with pytest.raises(Stopped):
        target.run(execution)

    assert time.monotonic() - began < DEADLINE_S
    thread.join()


def test_a_coroutine_asked_to_stop_before_it_began_is_cancelled_at_its_first_await(
    target, make_execution
):
    execution = make_execution(f"{TASKS}.sleep_async", {"seconds": 60})
    execution.stop()

    with pytest.raises(Stopped):
        target.run(execution)


def test_a_stop_after_a_coroutines_end_does_nothing(target, make_execution):
    execution = make_execution(f"{TASKS}.add_async", {"a": 1, "b": 2})
    target.run(execution)

    execution.stop()


def test_what_a_coroutine_raises_comes_out(run, library, tmp_path, make_execution):
    with pytest.raises(SystemExit):
        run("exit_async")
    source = (
        "import asyncio\nfrom scheduler_app.tasks import task\n"
        "@task\nasync def work(): raise asyncio.CancelledError\n"
    )
    library.add_app("app_that_cancels", tmp_path, source)
    with pytest.raises(asyncio.CancelledError):
        TaskTarget(TaskRegistry()).run(make_execution("app_that_cancels.tasks.work"))
    sys.modules.pop("app_that_cancels.tasks")


def test_a_coroutine_knows_its_execution(library, tmp_path, make_execution):
    source = (
        "from scheduler_app.tasks import current_execution, task\n"
        "@task\nasync def work(): return current_execution().id\n"
    )
    library.add_app("app_that_asks", tmp_path, source)
    execution = make_execution("app_that_asks.tasks.work")
    bound = bind_current_execution(execution)
    try:
        assert TaskTarget(TaskRegistry()).run(execution) == execution.id
    finally:
        unbind_current_execution(bound)
        sys.modules.pop("app_that_asks.tasks")


def test_coroutines_leave_no_threads_behind(run):
    run("add_async", [1, 1])
    before = threading.active_count()
    for _ in range(20):
        run("add_async", [1, 1])

    deadline = time.monotonic() + DEADLINE_S
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
