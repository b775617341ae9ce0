"""@cached as a decorator: the attributes it preserves, and the functions it refuses."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache, partial, wraps
from typing import Any, assert_type

import asgiref.sync
import pytest
from django.template import Context, Engine

from cachelayers.decorators import CachedFunction, CachedMethod, cached, storing
from cachelayers.lookup import UNSET


@cached(timeout=5)
def plain(country: str, *, limit: int = 10) -> int:
    """Count airports."""
    return len(country) * limit


@cached
async def asynchronous(country: str) -> int:
    """Count airports, later."""
    return len(country)


class Report:
    """A class at the top of a module, so that pickle finds it."""

    @cached(key=lambda self, year=2026: "")
    def total(self, year: int = 2026) -> int:
        """Add up."""
        return year

    @cached(key=lambda self: "")
    async def later(self) -> int:
        return 1

    @cached(key=lambda self: "")
    def described(self) -> str:
        return super().__repr__()

    @cached
    @classmethod
    def inner(cls, year: int) -> int:
        return year

    @cached
    @staticmethod
    def static(year: int) -> int:
        return year


def returned(*args: Any, **kwargs: Any) -> Any:
    """A replacement of recall() that returns its arguments."""
    return args, kwargs


# What stays of the function


def test_the_function_keeps_its_name_docstring_signature_and_original() -> None:
    assert plain.__name__ == "plain"
    assert plain.__qualname__ == "plain"
    assert plain.__module__ == __name__
    assert plain.__doc__ == "Count airports."
    assert str(inspect.signature(plain)) == "(country: 'str', *, limit: 'int' = 10) -> 'int'"
    assert plain.__wrapped__("FR") == 20


def test_a_bound_method_keeps_its_name_docstring_and_signature() -> None:
    method = Report().total

    assert method.__name__ == "total"
    assert method.__qualname__ == "Report.total"
    assert method.__module__ == __name__
    assert method.__doc__ == "Add up."
    assert str(inspect.signature(method)) == "(year: 'int' = 2026) -> 'int'"
    assert str(inspect.signature(Report.inner)) == "(year: 'int') -> 'int'"
    assert str(inspect.signature(Report.static)) == "(year: 'int') -> 'int'"


@pytest.mark.parametrize("ask", [inspect.iscoroutinefunction, asgiref.sync.iscoroutinefunction])
def test_async_functions_and_methods_are_recognised(ask: Callable[[Any], bool]) -> None:
    assert ask(asynchronous)
    assert ask(Report().later)
    assert ask(Report.later)
    assert not ask(plain)
    assert not ask(Report().total)


def test_a_function_that_is_marked_as_async_is_taken_for_async() -> None:
    def marked() -> Any:
        return asynchronous.__wrapped__("FR")

    asgiref.sync.markcoroutinefunction(marked)

    assert asgiref.sync.iscoroutinefunction(cached(marked))


def test_it_is_pickled_and_copied_by_name_as_functions_are() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(plain, protocol)) is plain
        assert pickle.loads(pickle.dumps(Report.total, protocol)) is Report.total
    assert copy.copy(plain) is plain
    assert copy.deepcopy({"function": plain})["function"] is plain


def test_a_bound_method_is_pickled_with_its_object() -> None:
    restored = pickle.loads(pickle.dumps(Report().total))

    assert isinstance(restored, CachedMethod)
    assert isinstance(restored.__self__, Report)
    assert restored.__func__ is Report.total


def test_bound_methods_compare_hash_and_die_as_pythons_do() -> None:
    report, other = Report(), Report()

    assert report.total == report.total
    assert hash(report.total) == hash(report.total)
    assert report.total != other.total
    assert report.total != "total"
    method = weakref.WeakMethod(report.total)
    assert method() == report.total
    del report
    assert method() is None


def test_attributes_that_were_set_on_the_function_are_found_on_its_bound_form() -> None:
    def shown(self: Any) -> str:
        return "shown"

    shown.short_description = "Shown"  # type: ignore[attr-defined]
    method: Any = cached(shown).__get__(Report(), Report)

    assert method.short_description == "Shown"
    with pytest.raises(AttributeError, match="absent"):
        method.absent  # noqa: B018 - the access is the act


def test_templates_call_it_as_any_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "recall", lambda key, compute, **options: compute())
    template = Engine().from_string("{{ report.total }} {{ none }}")

    rendered = template.render(Context({"report": Report(), "none": cached(no_arguments)}))

    assert rendered == "2026 nothing"


def no_arguments() -> str:
    return "nothing"


def test_type_checkers_know_parameters_and_results() -> None:
    report = Report()

    # Checked by mypy, and by the calls above at run time.
    def for_mypy() -> None:
        assert_type(plain("FR", limit=3), int)
        assert_type(plain.refresh("FR"), int)
        assert_type(report.total(2026), int)
        assert_type(report.inner(2026), int)
        assert_type(Report.static(2026), int)
        plain(5)  # type: ignore[arg-type]
        plain.invalidate("FR", depth=3)  # type: ignore[call-arg]
        report.total("2026")  # type: ignore[arg-type]
        report.total.absent  # type: ignore[attr-defined] # noqa: B018
        report.inner("2026")  # type: ignore[arg-type]

    async def for_mypy_too() -> None:
        assert_type(await asynchronous("FR"), int)
        assert_type(await report.later(), int)

    assert callable(for_mypy)
    assert asyncio.iscoroutinefunction(for_mypy_too)


# What is handed to recall()


def test_the_options_reach_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "recall", returned)
    options: dict[str, Any] = {
        "timeout": 60,
        "stale": 5,
        "using": "other",
        "capture": False,
        "jitter": 0.1,
        "refresh_ahead": 0.2,
    }
    words = (word for word in ["homepage"])  # can be read only once
    decorate = cached(**options, tags=words)
    first, second = decorate(no_arguments), decorate(plain.__wrapped__)

    for function, arguments in ((first, ()), (second, ("FR",))):
        given = {**options, "tags": (function.invalidation_tag, "homepage")}
        assert function(*arguments) == ((function.key(*arguments), ANY), given)


def test_the_defaults_are_those_of_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "recall", returned)

    function = cached(no_arguments)
    result: Any = function()

    assert result[1] == {
        "timeout": UNSET,
        "stale": 0,
        "using": None,
        "capture": True,
        "tags": (function.invalidation_tag,),
    }


def test_the_alias_is_that_of_the_option_in_an_invalidation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(storing, "invalidate_key", lambda key, using: found.append((key, using)))
    function = cached(using="other")(no_arguments)

    function.invalidate()

    assert found == [(function.key(), "other")]


class Anything:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY = Anything()


# Functions that are refused


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def closure(number: int) -> Callable[[], int]:
    def inner() -> int:
        return number

    return inner


def local_without_free_variables() -> Callable[[int], int]:
    def inner(number: int) -> int:
        return number

    return inner


def as_list(function: Callable[..., Any]) -> Callable[..., list[Any]]:
    @wraps(function)
    def collect(*args: Any) -> list[Any]:
        return list(function(*args))

    return collect


def _(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (300, "@cached decorates 300, which is not a function. Its options have names"),
        ("homepage", "which is not a function"),
        (property(len), "It stands below @property"),
        (Report, "@cached decorates the class Report. Decorate a method."),
        (partial(no_arguments), "which has no name. Use a def."),
        (plain, "@cached stands twice"),
        (generator, "generator is a generator, which can be read only once"),
        (async_generator, "async_generator is a generator"),
        (lambda: 1, "<lambda> has no name of its own. Define it at the top"),
        (_, "_ has no name of its own"),
        (closure(1), "inner uses number of the function around it"),
        (lru_cache(closure(1)), "inner uses number of the function around it"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_function_that_cannot_be_cached_is_refused_when_decorated(
    function: Any, text: str
) -> None:
    with pytest.raises(TypeError) as raised:
        cached(function)

    assert text in str(raised.value)


def test_a_closure_with_a_key_of_its_own_is_taken() -> None:
    ones, twos = (cached(key=partial(str, n))(closure(n)) for n in (1, 2))

    assert ones.key() != twos.key()


def test_a_method_that_uses_super_has_a_name_of_its_own() -> None:
    # To Python, __class__ is a free variable there.
    assert isinstance(cached(Report.described.__wrapped__), CachedFunction)


def test_a_local_function_without_free_variables_is_always_the_same_one() -> None:
    one, other = (cached(local_without_free_variables()) for _ in range(2))

    assert one.key(1) == other.key(1)


def test_a_decorator_between_may_make_a_list_of_a_generator() -> None:
    assert isinstance(cached(as_list(generator)), CachedFunction)


# Options that are refused


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": -1}, ValueError, "timeout is -1. Give 0 seconds or more"),
        ({"timeout": float("nan")}, ValueError, "timeout is nan"),
        ({"timeout": "60"}, TypeError, "timeout is '60'. Give a number of seconds"),
        ({"timeout": True}, TypeError, "timeout is True"),
        ({"stale": -1}, ValueError, "stale is -1"),
        ({"stale": None}, TypeError, "stale is None"),
        ({"stale": 5, "timeout": None}, ValueError, "stale is 5, and the timeout None"),
        ({"tags": "homepage"}, TypeError, "tags is 'homepage'. Give a list of strings"),
        ({"tags": None}, TypeError, "tags is None"),
        ({"tags": [""]}, ValueError, "A tag is empty"),
        ({"tags": ["a\nb"]}, ValueError, "has control characters"),
        ({"tags": ["a" * 201]}, ValueError, "has 201 characters"),
        ({"tags": [5]}, TypeError, "A tag is a string, not 5"),
        ({"tags": asynchronous}, TypeError, "tags is an async function"),
        ({"key": asynchronous}, TypeError, "key is an async function"),
        ({"key": "busiest"}, TypeError, "key is 'busiest'. Give a function of the arguments"),
        ({"using": 5}, TypeError, "using is 5. Give an alias of CACHES"),
        ({"capture": None}, TypeError, "capture is None. Give True or False"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_options_that_mean_nothing_are_refused_with_the_functions_name(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        cached(**options)(no_arguments)

    assert str(raised.value).startswith(f"@cached {__name__}.no_arguments: ")
    assert text in str(raised.value)
