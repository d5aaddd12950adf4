"""Whatever running code hands over can be stored and read back, in bounds (I18, I19, I20; payloads of F19)."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import hashlib
import json
import sys
import threading
import time
import types
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules import storable
from scheduler_app.rules.problems import Problem
from scheduler_app.rules.storable import (
    cut_to_json_bytes,
    error_line,
    json_bytes,
    one_line,
    shown,
    storable_json,
    storable_problems,
    storable_text,
    traceback_text,
)
from scheduler_app.targets.base import InvalidTarget, Stopped, TargetFailed

MAX_BYTES = 65_536


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


async def coroutine() -> None:
    """Never awaited."""


class ReprRaises:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ReprExits:
    def __repr__(self) -> str:
        raise SystemExit(1)


class ReprLoops:
    def __repr__(self) -> str:
        while True:
            pass


class ReprRecurses:
    def __repr__(self) -> str:
        return repr(self)


class ReprIsHuge:
    def __repr__(self) -> str:
        return "x" * 50_000_000


class ReprIsNoText:
    def __repr__(self) -> Any:
        return 5


class Liar:
    """Claims to be whatever would be worst."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no class")


class Reduced:
    """Runs code when it is pickled."""

    def __reduce__(self) -> Any:
        raise AssertionError("it was pickled")


class HostileDict(dict):
    def items(self) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Any:
        raise RuntimeError("no iteration")


class HostileList(list):
    def __iter__(self) -> Any:
        while True:
            yield 1


class HostileText(str):
    def encode(self, *args: Any) -> Any:
        raise RuntimeError("no encoding")

    __str__ = __repr__ = encode


class Colour(enum.IntEnum):
    RED = 1


PAYLOADS: dict[str, Any] = {
    "nul": lambda: "a\x00b",
    "surrogate": lambda: "\ud800",
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "object": object,
    "set": lambda: {1, 2},
    "bytes": lambda: b"\xff\x00",
    "many bytes": lambda: bytes(50_000_000),
    "decimal": lambda: decimal.Decimal("1e400000"),
    "naive datetime": lambda: datetime.datetime(2030, 1, 1),
    "deep list": lambda: deep(3000),
    "deep object": lambda: json.loads('{"a":' * 500 + "1" + "}" * 500),
    "deep text": lambda: "[" * 7000 + "]" * 7000,
    "endless list": endless,
    "5,001 digits": lambda: 10**5000,
    "a million digits": lambda: -(10**1_000_000),
    "10 MiB text": lambda: "x" * 10 * 1024 * 1024,
    "large list": lambda: list(range(1_000_000)),
    "large keys": lambda: {"k" * 1_000_000 + str(number): number for number in range(30)},
    "ANSI escapes": lambda: "\x1b[31mred\x1b[0m",
    "carriage returns": lambda: "good\rbad",
    "right to left": lambda: "a\u202eb",
    "script": lambda: "<script>alert(1)</script>{{7*7}}%s%s%n",
    "generator": lambda: (number for number in range(3)),
    "lock": threading.Lock,
    "module": lambda: sys,
    "class": lambda: ReprLoops,
    "coroutine": coroutine,
    "repr raises": ReprRaises,
    "repr exits": ReprExits,
    "repr loops": ReprLoops,
    "repr recurses": ReprRecurses,
    "repr is huge": ReprIsHuge,
    "repr is no text": ReprIsNoText,
    "liar": Liar,
    "reduced": Reduced,
    "hostile dict": lambda: HostileDict(a=1),
    "hostile list": lambda: HostileList([1]),
    "hostile text": lambda: HostileText("text"),
    "queryset": lambda: Permission.objects.all(),
    "model instance": lambda: Permission(pk=5, content_type_id=1),
    "odd keys": lambda: {1: 1, None: 2, (1, 2): 3, float("nan"): 4, ReprRaises(): 5, 10**5000: 6},
    "exception": lambda: ValueError("x"),
}


@pytest.fixture
def payload(request: pytest.FixtureRequest) -> Any:
    value = PAYLOADS[request.param]()
    yield value
    if type(value) is types.CoroutineType:
        value.close()


each_payload = pytest.mark.parametrize("payload", list(PAYLOADS), indirect=True)


def is_storable(value: Any) -> bool:
    """What PostgreSQL keeps and every reader reads back."""
    text = json.dumps(value, allow_nan=False)
    return (
        json.loads(text) == value
        and "\\u0000" not in text
        and json_bytes(value) <= MAX_BYTES
        and json.dumps(value, ensure_ascii=False).encode().decode() is not None
    )


@each_payload
def test_every_value_becomes_one_that_can_be_stored(payload):
    assert is_storable(storable_json(payload))


@each_payload
def test_every_value_becomes_storable_inside_of_others_too(payload):
    assert is_storable(storable_json({"a": [payload, {"b": payload}], "c": (payload,)}))


@each_payload
def test_every_value_as_the_text_of_an_error_makes_one_line(payload):
    line = error_line(ValueError(payload))

    assert line.startswith("ValueError")
    assert len(line) <= 1000
    assert line.isprintable() or "\u202e" not in line
    assert "\n" not in line and "\r" not in line and "\x1b" not in line and "\x00" not in line
    line.encode()


@each_payload
def test_every_value_as_the_text_of_an_error_makes_a_traceback(payload):
    try:
        raise ValueError(payload)
    except ValueError as error:
        text = traceback_text(error, 10_000)

    assert "raise ValueError(payload)" in text
    assert len(text) <= 10_000
    assert "\x00" not in text
    text.encode()


@each_payload
def test_storing_never_takes_long(payload):
    began = time.process_time()

    storable_json([payload] * 3)

    # Generous: what it guards against takes minutes, or for ever.
    assert time.process_time() - began < 20


# --- Results


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        1.5,
        "",
        "text ü 😀",
        [],
        {},
        [1, [2, {"a": None}]],
        {"a": {"b": [True, 1.0, "x"]}},
        10**3999,
        "x" * (MAX_BYTES - 2),
        deep(31),
    ],
)
def test_json_values_are_kept_as_they_are(value):
    assert storable_json(value) == value
    assert storable_problems(value) == []


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ((1, 2), [1, 2]),
        (b"abc", "b'abc'"),
        (bytearray(b"abc"), "b'abc'"),
        ({1}, "{1}"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.datetime(2030, 1, 2, 3, 4), "2030-01-02T03:04:00"),
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(hours=25), "1 day, 1:00:00"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, 1),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.namedtuple("Point", "x y")(1, 2), [1, 2]),
        ({2: "a", None: "b", True: "c", 1.5: "d"}, {"2": "a", "null": "b", "true": "c", "1.5": "d"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (HostileDict(a=1), {"a": 1}),
        (HostileList([1]), [1]),
        (HostileText("text"), "text"),
        (10**4001, f"{10**4001 >> (13292 - 400):#x}… (about 4,002 digits)"),
        (ReprRaises(), f"<{__name__}.ReprRaises object, its repr failed: RuntimeError>"),
        (ReprLoops(), f"<{__name__}.ReprLoops object, its repr failed: it does not come to an end>"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_json_lacks_becomes_something_readable(value, kept):
    assert storable_json(value) == kept


def test_a_queryset_is_named_and_not_evaluated():
    # No database in this test: a query would fail it.
    assert storable_json(Permission.objects.all()) == (
        "<django.db.models.query.QuerySet of django.contrib.auth.models.Permission, not evaluated>"
    )
    assert "not evaluated" in storable_json({"found": [Permission.objects.all()]})["found"][0]


def test_a_model_instance_is_named_by_its_key():
    # Its own text would follow the foreign key, which is a query.
    instance = Permission(pk=5, content_type_id=1)

    assert storable_json(instance) == "<django.contrib.auth.models.Permission pk=5>"


def test_deeper_levels_than_32_are_cut_off():
    kept = storable_json(deep(40))

    for _ in range(32):
        [kept] = kept
    assert kept == "(deeper than 32 levels)"


def test_what_is_too_large_is_marked_with_size_digest_and_start():
    value = {"a": "x" * 100_000}
    text = json.dumps(value)

    kept = storable_json(value)

    assert kept["truncated"] is True
    assert kept["bytes"] == len(text)
    assert kept["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert text.startswith(kept["start"])
    assert MAX_BYTES - 10 <= json_bytes(kept) <= MAX_BYTES


def test_of_a_text_that_is_too_large_the_start_is_kept_as_text():
    assert storable_json("y" * 100_000)["start"].startswith("yyy")


def test_the_limit_is_kept_for_text_that_grows_when_it_is_written():
    for text in ('"' * 100_000, "\x01" * 100_000, "ü" * 100_000, "😀" * 100_000):
        kept = storable_json(text)
        assert json_bytes(kept) <= MAX_BYTES
        assert kept["truncated"] is True


def test_what_goes_on_for_ever_is_read_only_so_far():
    kept = storable_json(endless())

    assert kept["truncated"] is True
    assert kept["bytes_at_least"] > MAX_BYTES
    assert "sha256" not in kept


def test_the_copy_is_no_longer_the_jobs():
    value: dict[str, Any] = {"a": [1]}
    kept = storable_json(value)

    value["a"].append(2)

    assert kept == {"a": [1]}


def test_a_value_that_another_thread_keeps_changing_can_be_stored():
    value: dict[str, Any] = {"a": {}}
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            value["a"][str(number % 1000)] = number
            value["a"].pop(str((number + 500) % 1000), None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            assert len(storable_json(value)["a"]) >= 0
    finally:
        over.set()
        thread.join()


def test_a_tracer_that_was_there_is_there_afterwards():
    def tracer(*_: Any) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        shown(ReprRaises())
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(JSON_VALUES)
def test_every_made_up_value_can_be_stored_and_is_stable(value):
    kept = storable_json(value)

    assert is_storable(kept)
    assert storable_json(kept) == kept


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(), st.integers(0, 200))
def test_every_made_up_text_is_cut_to_its_limit(text, limit):
    assert len(storable_text(text, limit)) <= limit
    assert json_bytes(cut_to_json_bytes(one_line(text), limit + 2)) <= limit + 2


# --- Arguments


def test_everything_that_is_wrong_with_arguments_is_told():
    problems = storable_problems({"a": "\x00", "b": float("nan"), "c": {1}, 5: 1, "d": deep(50)})

    assert len(problems) == 5
    assert "NUL" in problems[0]


def test_arguments_that_are_too_large_are_told_their_size():
    assert storable_problems("x" * 70_000) == [
        "This takes 70,002 bytes as JSON; at most 65,536 are allowed."
    ]


# --- Errors


class StrRaises(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class StrLoops(Exception):
    def __str__(self) -> str:
        while self:
            pass
        return ""

    __repr__ = __str__


class ArgumentLoops(Exception):
    def __init__(self) -> None:
        super().__init__(ReprLoops())


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "is_sentence"):
            raise RuntimeError("no attribute")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Meta):
    pass


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no good"), "ValueError: no good"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines\r\n  and  more"), "ValueError: two lines and more"),
        (KeyError("a"), "KeyError: 'a'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (MemoryError(), "MemoryError"),
        (decimal.InvalidOperation("x"), "decimal.InvalidOperation: x"),
        (ValueError("\x1b[31m\u202ered\x00"), "ValueError: \\x1b[31m\\u202ered\ufffd"),
        (StrRaises(), f"{__name__}.StrRaises: (its text cannot be shown: RuntimeError)"),
        (
            StrLoops(),
            f"{__name__}.StrLoops: (its text cannot be shown: it does not come to an end)",
        ),
        (TargetFailed("It said no."), "It said no."),
        (Stopped("It stopped."), "It stopped."),
        (InvalidTarget([Problem("a", "A is wrong.")]), "A is wrong."),
    ],
)
def test_an_error_is_told_in_one_line(error, line):
    assert error_line(error) == line


def test_an_error_of_a_class_without_a_name_is_told():
    assert error_line(Nameless("x")) == "object: x"


def test_an_error_whose_argument_never_ends_is_told_all_the_same():
    assert error_line(ArgumentLoops()).startswith(f"{__name__}.ArgumentLoops: ")


def test_a_long_error_is_cut():
    line = error_line(ValueError("x" * 10_000_000))

    assert len(line) == 1000
    assert line.endswith("…")


def caught(function: Any) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def recurse(levels: int) -> None:
    if levels:
        recurse(levels - 1)
    raise ValueError("at the bottom")


def test_a_traceback_shows_the_code_and_the_error():
    text = traceback_text(caught(lambda: recurse(1)))

    assert text.startswith("Traceback (most recent call last):\n")
    assert 'raise ValueError("at the bottom")' in text
    assert text.endswith("ValueError: at the bottom")


def test_a_traceback_of_10000_frames_shows_its_ends():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        error = caught(lambda: recurse(9990))
    finally:
        sys.setrecursionlimit(limit)

    text = traceback_text(error)

    assert "frames left out" in text
    assert "in caught" in text
    assert text.endswith("ValueError: at the bottom")
    assert len(text) < 20_000


def test_endless_recursion_is_shown():
    text = traceback_text(caught(lambda: recurse(10**9)))

    assert "RecursionError" in text


def test_causes_and_contexts_are_shown_in_order():
    def fail() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise ValueError("second") from error
        except ValueError:
            raise TypeError("third")  # noqa: B904

    text = traceback_text(caught(fail))

    places = [
        text.index(words)
        for words in (
            "KeyError: 'first'",
            "The above exception was the direct cause",
            "ValueError: second",
            "During handling of the above exception",
            "TypeError: third",
        )
    ]
    assert places == sorted(places)


def test_a_context_that_was_suppressed_is_not_shown():
    def fail() -> None:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert "hidden" not in traceback_text(caught(fail))


def test_a_chain_that_goes_in_circles_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert traceback_text(first).count("ValueError: first") == 1


def test_a_chain_of_10000_is_cut():
    error = ValueError(0)
    for number in range(1, 10_000):
        later = ValueError(number)
        later.__cause__ = error
        error = later

    text = traceback_text(error)

    assert "earlier exceptions left out" in text
    assert text.endswith("ValueError: 9999")


def test_a_group_of_10000_shows_the_first():
    group = ExceptionGroup("many", [ValueError(number) for number in range(10_000)])

    text = traceback_text(group)

    assert "ExceptionGroup: many (10000 sub-exceptions)" in text
    assert "ValueError: 4" in text
    assert "9,995 more left out" in text


def test_a_group_in_a_group_in_a_group_ends():
    group = ExceptionGroup("innermost", [ValueError("x")])
    for _ in range(1000):
        group = ExceptionGroup("group", [group, group])

    assert len(traceback_text(group)) <= MAX_BYTES


def test_a_group_in_a_group_in_a_group_as_a_result_is_named():
    group = ExceptionGroup("innermost", [ValueError("x")])
    for _ in range(1000):
        group = ExceptionGroup("group", [group, group])

    assert storable_json(group) == "<ExceptionGroup: group (2 sub-exceptions)>"


def test_notes_are_shown():
    error = ValueError("x")
    error.add_note("look at this")
    error.__notes__.append(5)  # type: ignore[arg-type]

    assert "look at this" in traceback_text(error)


@pytest.mark.parametrize("number", range(3))
def test_an_error_that_cannot_be_shown_has_a_traceback(number):
    def fail() -> None:
        raise [StrRaises(), StrLoops(), Nameless("x")][number]

    assert "in fail" in traceback_text(caught(fail))


def test_a_long_traceback_loses_its_middle_and_keeps_the_error():
    text = traceback_text(caught(lambda: recurse(30)), 500)

    assert len(text) <= 500
    assert text.startswith("Traceback")
    assert "characters left out" in text
    assert text.endswith("ValueError: at the bottom")


def test_the_schedulers_own_frames_are_left_out(monkeypatch):
    # As if this test's helper belonged to the engine.
    monkeypatch.setattr(storable, "_is_plumbing", lambda frame: frame.f_code.co_name == "caught")

    text = traceback_text(caught(lambda: recurse(0)))

    assert "in caught" not in text
    assert "in recurse" in text


def test_an_error_of_the_schedulers_own_code_keeps_its_frames(monkeypatch):
    monkeypatch.setattr(storable, "_is_plumbing", lambda frame: True)

    assert "in recurse" in traceback_text(caught(lambda: recurse(0)))


def test_an_exception_that_was_never_raised_has_a_traceback_too():
    assert traceback_text(ValueError("x")).endswith("ValueError: x")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=[]))
    | st.sampled_from([2**63, -(2**63), 2**64, "\x00", "\ud800", "\x1f" * 11_000, "x" * 65_500])
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(SCALARS) | st.dictionaries(SCALARS, SCALARS) | st.lists(st.lists(SCALARS)))
def test_a_glance_says_what_a_thorough_look_says(value):
    at_a_glance = storable._is_small_and_plain(value, MAX_BYTES)
    if at_a_glance:
        copy = storable._Copy()
        assert json_bytes(copy.of(value)) <= MAX_BYTES
        assert not copy.changes and not copy.partial


def test_the_arguments_of_nearly_every_call_need_a_glance_only():
    assert storable._is_small_and_plain(["a", 1, None, True], MAX_BYTES)
    assert storable._is_small_and_plain({"a": "ä" * 1000, "b": -1}, MAX_BYTES)
