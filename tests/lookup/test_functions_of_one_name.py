"""Different functions with one name share no entry."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache, partial, update_wrapper, wraps
from typing import Any

import pytest

from cachelayers import cached, unit_of_work
from tests.library.models import Author

Function = Callable[..., Any]


def report(year: int = 2026, reader: str = "") -> str:
    """A slow function of a module."""
    return f"{reader}{year}"


def for_reader(reader: Any) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        @wraps(function)
        def read(*args: Any) -> Any:
            return f"{reader}: {function(*args)}"

        return read

    return decorate


class ForReader:
    """A decorator that is an object."""

    def __init__(self, reader: Any, function: Function) -> None:
        self.reader = reader
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return f"{self.reader}: {report(*args)}"


def by_default(reader: Any) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        @wraps(function)
        def read(*args: Any, _reader: Any = reader) -> Any:
            return f"{_reader}: {function(*args)}"

        return read

    return decorate


def by_attribute(reader: Any) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        @wraps(function)
        def read(*args: Any) -> Any:
            return f"{hung.reader}: {function(*args)}"

        hung: Any = read
        hung.reader = reader
        return read

    return decorate


class Slotted:
    """A decorator that stores its function in a slot."""

    __slots__ = ("__dict__", "reader")

    def __init__(self, reader: Any, function: Function) -> None:
        self.reader = reader
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return f"{self.reader}: {report(*args)}"


class Named:
    """A callable object that has a name and wraps nothing."""

    __qualname__ = "report"

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.__name__ = self.__qualname__ = "report"

    def __call__(self) -> str:
        return f"{self.reader}: 2026"


def local_report(reader: Any) -> Function:
    @for_reader(reader)
    def within() -> int:
        return 2026

    return within


WAYS: dict[str, Callable[[Any], Function]] = {
    "a decorator": lambda reader: for_reader(reader)(report),
    "a decorator in the middle": lambda reader: lru_cache(for_reader(reader)(report)),
    "an object": lambda reader: ForReader(reader, report),
    "an object that wraps nothing": Named,
    "a default": lambda reader: by_default(reader)(report),
    "an attribute": lambda reader: by_attribute(reader)(report),
    "a slot": lambda reader: Slotted(reader, report),
    "a partial": lambda reader: update_wrapper(partial(report, reader=f"{reader}: "), report),
    "a function in another": local_report,
}


handlers: dict[str, Function] = {}


def handles(word: str) -> Callable[[Function], Function]:
    """Register functions, most of which have the same name."""

    def register(function: Function) -> Function:
        handlers[word] = function
        return function

    return register


@handles("orders")
@cached
def handle(number: int) -> str:
    return f"order {number}"


@handles("bills")  # type: ignore[no-redef] # on purpose
@cached
def handle(number: int) -> str:  # noqa: F811 - on purpose
    return f"bill {number}"


@handles("orders by key")
@cached(key=str)
def handle_by_key(number: int) -> str:
    return f"order {number}"


@handles("bills by key")  # type: ignore[no-redef] # on purpose
@cached(key=str)
def handle_by_key(number: int) -> str:  # noqa: F811 - on purpose
    return f"bill {number}"


def local_namesake(*, is_first: bool) -> Function:
    if is_first:

        @cached
        def chosen() -> str:
            return "first"
    else:

        @cached
        def chosen() -> str:
            return "second"

    return chosen


lock = threading.Lock()


def with_a_lock(function: Function) -> Function:
    held = lock

    @wraps(function)
    def locked(*args: Any) -> Any:
        with held:
            return function(*args)

    return locked


@cached
@with_a_lock
def under_its_name() -> int:
    return 1


@pytest.mark.django_db(transaction=True)
def test_each_reader_sees_his_own() -> None:
    readers = [Author.objects.create(name=name) for name in ("Ann", "Bea")]

    for reader in readers * 2:
        with unit_of_work():
            assert cached(for_reader(reader)(report))() == f"{reader}: 2026"


@pytest.mark.parametrize("way", WAYS)
def test_decorated_for_the_same_reader_they_share_entries(way: str) -> None:
    keys = {cached(WAYS[way](reader)).key() for reader in ("Ann", "Ann", "Bea")}

    assert len(keys) == 2


def test_a_decorator_with_values_without_a_key_is_an_error_at_the_first_call() -> None:
    with pytest.raises(TypeError, match=r"report: its decorator uses held, which makes no key"):
        cached(with_a_lock(report))()
    with pytest.raises(TypeError, match=r"its decorator uses reader, which makes no key"):
        cached(for_reader(lambda: 1)(report))()

    assert cached(key=lambda *_: "all")(with_a_lock(report)).key()


def test_a_function_found_by_its_name_may_have_any_decorator() -> None:
    assert under_its_name.key() == under_its_name.key()


def test_a_wrapped_function_is_found_by_its_name_too() -> None:
    assert cached(for_reader(report)(report)).key() == cached(for_reader(report)(report)).key()


@pytest.mark.django_db(transaction=True)
def test_handlers_that_are_called_alike_share_no_entry() -> None:
    def shown() -> list[str]:
        with unit_of_work():
            return [function(1) for function in handlers.values()]

    assert [shown(), shown()] == [["order 1", "bill 1"] * 2] * 2


@pytest.mark.django_db(transaction=True)
def test_functions_within_one_that_are_called_alike_share_no_entry() -> None:
    assert [local_namesake(is_first=one)() for one in (True, False, True)] == [
        *("first", "second", "first")
    ]


def test_a_function_under_its_name_has_one_key_wherever_it_is_decorated() -> None:
    assert cached(report).key() == cached(report).key()
    assert handlers["bills"].key(1) == handle.key(1)  # type: ignore[attr-defined] # of @cached
