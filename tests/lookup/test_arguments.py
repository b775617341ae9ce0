"""Keys of arguments: different argument lists never share one, and equal ones always do."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import math
import os
import struct
import subprocess
import sys
import time as clock
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, QueryDict
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy, override
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachelayers.canonical import ArgumentKeys
from testproject.airports.models import Airport, Country
from tests.environment import PROJECT

Function = Callable[..., Any]


class Colour(enum.Enum):
    RED = "red"
    CRIMSON = "crimson"


class Fruit(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):  # noqa: SLOT000 - its attribute is the point
    """A str subclass with an attribute."""

    language: str

    def __str__(self) -> str:
        return "the same for all"

    __format__ = None  # type: ignore[assignment]  # never to be asked


class Number(int):
    """An int subclass."""


class Slotted(list[int]):
    """A list with an attribute in a slot."""

    __slots__ = ("unit",)
    unit: str


class Place(NamedTuple):
    latitude: float
    longitude: float


class Outer:
    class Inner:
        """A nested class is found by its qualified name."""


def takes_anything(*args: Any, **kwargs: Any) -> None:
    """A function of any arguments."""


def takes_some(first: Any, second: Any = 2, *, third: Any = 3) -> None:
    """A function with defaults."""


def key_of(*args: Any, function: Function = takes_anything, **kwargs: Any) -> str:
    keys = ArgumentKeys(f"app.views:{function.__name__}", inspect.signature(function))
    return keys.key(args, kwargs)


def word(text: str, language: str) -> Text:
    made = Text(text)
    made.language = language
    return made


def slotted(unit: str) -> Slotted:
    made = Slotted([1])
    made.unit = unit
    return made


def saved(model: type[Any], database: str = "default", **fields: Any) -> Any:
    instance = model(**fields)
    instance._state.adding, instance._state.db = False, database
    return instance


# Never shared

DIFFERENT: list[tuple[Any, ...]] = [
    # one value in many types
    (1,),
    ("1",),
    (True,),
    (1.0,),
    (1 + 0j,),
    (Decimal(1),),
    (Fraction(1),),
    (b"1",),
    (bytearray(b"1"),),
    (Number(1),),
    (Size.SMALL,),
    (Right.READ,),
    # nothing, in many ways
    (),
    (None,),
    (...,),
    ("",),
    (b"",),
    (0,),
    (False,),
    (0.0,),
    (-0.0,),
    ((),),
    ([],),
    ({},),
    (set(),),
    (frozenset(),),
    ("None",),
    # where one value ends and the next begins
    ("a", "bc"),
    ("ab", "c"),
    ("abc",),
    (("a", "bc"),),
    (["a", "bc"],),
    (["a"], "bc"),
    ((("a",), "bc"),),
    ("s1:a",),
    ("a", "s1:a"),
    ("as1:a",),
    ("a", "bsc"),
    ("asb", "c"),
    (1, 2),
    (12,),
    (-12,),
    ({"a": 1, "b": 2},),
    ({"a": 2, "b": 1},),
    ({"a": {"b": 2}},),
    ([("a", 1), ("b", 2)],),
    ({1, 2},),
    ({1, True + 1, "2"},),
    (frozenset({1, 2}),),
    ({"a", "b", "c", "d", "e"},),
    (frozenset({"a", "b", "c", "d", "e"}),),
    # numbers at their edges
    (10**5000,),
    (10**5000 + 1,),
    (math.inf,),
    (-math.inf,),
    (math.nan,),
    (Decimal("1.0"),),
    (Decimal("NaN"),),
    (Decimal("-0"),),
    # text that looks alike
    ("é",),
    ("e\u0301",),
    ("\ud800",),
    (chr(0x10000),),
    ("\ud800\udc00",),
    ("\0",),
    # text of other classes
    (mark_safe("<b>"),),
    ("<b>",),
    (word("a", "de"),),
    (word("a", "fr"),),
    (word("b", "de"),),
    # what a class adds
    (slotted("m"),),
    (slotted("ft"),),
    ([1],),
    (Place(1, 2),),
    ((1, 2),),
    (Counter("ab"),),
    ({"a": 1, "b": 1},),
    (QueryDict("a=1"),),
    (QueryDict("a=1&a=2"),),
    # dates and times
    (date(2026, 1, 2),),
    (datetime(2026, 1, 2),),  # noqa: DTZ001 - a naive one is meant
    (datetime(2026, 1, 2, tzinfo=UTC),),
    (datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC")),),
    (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))),),
    (datetime(2026, 1, 2, 1, tzinfo=ZoneInfo("Europe/Paris")),),
    (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris")),),
    (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=1),),
    ("2026-01-02",),
    (time(1, 2),),
    (time(1, 2, tzinfo=UTC),),
    (timedelta(seconds=1),),
    (timedelta(microseconds=1),),
    # members, classes and the rest
    (Colour.RED,),
    (Colour.CRIMSON,),
    (Fruit.RED,),
    ("red",),
    (Right.READ | Right.WRITE,),
    (Right(0),),
    (Colour,),
    (Outer,),
    (Outer.Inner,),
    (Country,),
    (str,),
    (UUID(int=1),),
    (Path("a"),),
    (PurePosixPath("a"),),
    (PureWindowsPath("a"),),
    (Path("a/b"),),
    (range(0),),
    (range(1, 1),),
    (range(0, 3, 2),),
    (range(0, 4, 2),),
    (slice(1),),
    (slice(1, None),),
    (gettext_lazy("Yes"),),
    ("Yes",),
    (lazy(lambda: mark_safe("Yes"), SafeString)(),),
    # rows
    (saved(Country, code="1"),),
    (saved(Country, code="2"),),
    (saved(Country, code="1", database="other"),),
    (saved(Airport, id=1),),
    (saved(Airport, id="1"),),
]


def test_different_argument_lists_never_share_a_key() -> None:
    keys = [key_of(*arguments) for arguments in DIFFERENT]

    shared = [DIFFERENT[i] for i, key in enumerate(keys) if keys.index(key) != i]

    assert shared == []


def test_a_keyword_is_not_a_dictionary_and_not_a_pair() -> None:
    keys = {key_of(a=1), key_of({"a": 1}), key_of("a", 1), key_of(("a", 1)), key_of(b=1)}

    assert len(keys) == 5


def test_functions_and_their_parameters_are_part_of_the_key() -> None:
    def first(a: Any, b: Any) -> None: ...
    def swapped(b: Any, a: Any) -> None: ...
    def starred(*a: Any) -> None: ...

    signatures = [inspect.signature(function) for function in (first, swapped, starred)]
    keys = {ArgumentKeys("app:f", signature).key((1, 2), {}) for signature in signatures}
    paths = {ArgumentKeys(path, signatures[0]).key((1, 2), {}) for path in ("a:b.c", "a.b:c")}

    assert len(keys) == 3
    assert len(paths) == 2


def test_keys_of_a_truncated_long_name_stay_different() -> None:
    signature = inspect.signature(takes_anything)
    keys = {ArgumentKeys("é " * 200 + end, signature).key((), {}) for end in ("a", "b")}

    assert len(keys) == 2
    for key in keys:
        assert len(key) <= 200
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key


# Always shared


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((1,), {}),
        ((1, 2), {}),
        ((), {"first": 1}),
        ((1,), {"second": 2}),
        ((), {"second": 2, "first": 1}),
        ((1,), {"third": 3}),
        ((1, 2), {"third": 3}),
    ],
)
def test_every_way_to_write_a_call_has_one_key(
    arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    assert key_of(*arguments, function=takes_some, **keywords) == key_of(1, function=takes_some)


def test_the_order_of_dictionaries_sets_and_keywords_does_not_matter() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of(a=1, b=2) == key_of(b=2, a=1)
    one, other = set(range(0, 9, 8)), set(range(8, -1, -8))
    assert list(one) != list(other)  # 0 and 8 collide in a small set
    assert key_of(one) == key_of(other)
    assert key_of(frozenset(one)) == key_of(frozenset(other))


def test_a_row_is_identified_by_its_key_not_by_its_fields() -> None:
    country = saved(Country, code="FR", name="France")
    renamed = saved(Country, code="FR", name="République française")

    assert key_of(country) == key_of(renamed)
    assert key_of(SimpleLazyObject(lambda: country)) == key_of(country)


def test_a_lazy_translation_has_the_form_of_its_text_in_the_active_language() -> None:
    keys = []
    for language in ("de", "fr", "de"):
        with override(language):
            keys.append(key_of(gettext_lazy("Yes")))

    assert keys[0] == keys[2]
    assert keys[0] != keys[1]


def test_signs_and_bits_of_nan_have_different_keys() -> None:
    quiet = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]

    assert key_of(math.nan) == key_of(float("nan"))
    assert key_of(quiet) != key_of(math.nan)


# Every value, in any nesting

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "a", "1", "s1:a", ";", ":", "i1;", "True"]),
    st.text(max_size=4),
    st.binary(max_size=3),
    st.decimals().filter(lambda value: not value.is_snan()),  # no set can hold one
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC, ZoneInfo("Europe/Paris")])),
    st.uuids(),
    st.sampled_from([Colour.RED, Fruit.RED, Size.SMALL, Number(1), mark_safe("a")]),
)
HASHABLE = st.one_of(ATOMS, st.tuples(ATOMS), st.frozensets(ATOMS, max_size=2))
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=6,
)
LISTS = st.lists(VALUES, max_size=3)


def same(one: Any, other: Any) -> bool:
    """Compare by type and content, without the tested code."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, datetime):
        return (one.replace(tzinfo=None), one.tzinfo, one.fold) == (
            other.replace(tzinfo=None),
            other.tzinfo,
            other.fold,
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return same_in_any_order(list(one), list(other))
    if isinstance(one, dict):
        return same_in_any_order(list(one.items()), list(other.items()))
    return bool(one == other)


def same_in_any_order(ones: list[Any], others: list[Any]) -> bool:
    rest = list(others)
    for one in ones:
        found = next((i for i, other in enumerate(rest) if same(one, other)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


@given(LISTS, LISTS)
@example(["a", "bc"], ["ab", "c"])
@settings(max_examples=150, deadline=None)
def test_two_lists_share_a_key_just_if_they_are_the_same(
    ones: list[Any], others: list[Any]
) -> None:
    assert (key_of(*ones) == key_of(*others)) is same(tuple(ones), tuple(others))


@given(LISTS, st.data())
@settings(max_examples=100, deadline=None)
def test_one_change_anywhere_changes_the_key(values: list[Any], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values)))
    changed = [*values]
    changed[place : place + data.draw(st.integers(0, 1))] = data.draw(LISTS)

    assert (key_of(*values) == key_of(*changed)) is same(tuple(values), tuple(changed))


PROGRAM = """
import json, sys
import django
django.setup()
from tests.lookup.test_arguments import DIFFERENT, key_of
print(json.dumps([key_of(*arguments) for arguments in DIFFERENT]))
"""


def keys_of_another_process(hash_seed: int) -> list[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONHASHSEED": str(hash_seed),
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(result.stdout)
    return found


def test_every_process_computes_the_same_keys_with_any_hash_seed() -> None:
    keys = [key_of(*arguments) for arguments in DIFFERENT]

    for hash_seed in (1, 2):
        assert keys_of_another_process(hash_seed) == keys


# Refused


class LocalNamesake:
    """A class that later gets another one's name."""


def local_class() -> type:
    class Local(enum.Enum):
        ONE = 1

    return Local


def contains_itself() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "a object has no stable key"),
        ([{"deep": object()}], "a object has no stable key"),
        (len, "a builtin_function_or_method has no stable key"),
        (takes_some, "a function has no stable key"),
        (functools.partial(takes_some), "a partial has no stable key"),
        (iter([1]), "a list_iterator has no stable key"),
        (HttpRequest(), "a HttpRequest has no stable key"),
        (AnonymousUser(), "a AnonymousUser has no stable key"),
        (Country.objects.all(), "a QuerySet has no stable key"),
        (Country(code="FR"), "it has not been saved"),
        (saved(Airport), "it has not been saved"),
        (local_class(), "the class local_class.<locals>.Local cannot be found under its name"),
        (local_class().ONE, "cannot be found under its name"),  # type: ignore[attr-defined]
        (type("LocalNamesake", (), {"__module__": __name__}), "cannot be found under its name"),
        (contains_itself(), "it is nested too deeply, or contains itself"),
        (lazy(lambda: 1, int)(), "it is lazy, and not a text"),
        # Written in C, with content that cannot be seen from outside.
        (OrderedDict(a=1), "a OrderedDict has no stable key"),
        (defaultdict(list), "a defaultdict has no stable key"),
        (deque([1], maxlen=2), "a deque has no stable key"),
        (clock.gmtime(0), "a struct_time has no stable key"),
        (os.stat(PROJECT), "a stat_result has no stable key"),  # noqa: PTH116
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_argument_without_a_stable_key_is_refused_by_name(value: Any, reason: str) -> None:
    with pytest.raises(TypeError) as raised:
        key_of(1, value, function=takes_some)

    text = str(raised.value)
    assert text.startswith("app.views.takes_some(): the argument 'second'")
    assert type(value).__name__ in text
    assert reason in text
    assert "cached(key=...)" in text


def test_a_wrong_call_raises_the_error_that_python_would() -> None:
    with pytest.raises(TypeError, match=r"takes_some\(\): missing a required argument: 'first'"):
        key_of(function=takes_some)
    with pytest.raises(TypeError, match=r"takes_some\(\): too many positional arguments"):
        key_of(1, 2, 3, function=takes_some)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'fourth'"):
        key_of(1, fourth=4, function=takes_some)


def test_a_required_keyword_is_never_filled_in() -> None:
    def strict(*, name: str) -> None: ...

    with pytest.raises(TypeError, match="missing a required"):
        key_of(function=strict)
