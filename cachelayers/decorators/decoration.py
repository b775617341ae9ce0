"""@cached itself: check what it is given, and put something in the function's place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction

from cachelayers.decorators.functions import (
    CachedClassMethod,
    CachedFunction,
    CachedMethod,
    CachedStaticMethod,
)
from cachelayers.decorators.keeping import Keeping, Words
from cachelayers.invalidation.tags import word_tags
from cachelayers.lookup import UNSET
from cachelayers.lookup.policy import Timeout, check_times

P = ParamSpec("P")
R = TypeVar("R")

NAMES_OF_MANY = {"<lambda>", "_"}  # the latter by the custom of functools.singledispatch


class Decorator(Protocol):
    """What cached(...) with options returns."""

    @overload
    def __call__(self, function: classmethod[Any, P, R], /) -> CachedClassMethod[P, R]: ...
    @overload
    def __call__(self, function: staticmethod[P, R], /) -> CachedStaticMethod[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


@overload
def cached(function: classmethod[Any, P, R], /) -> CachedClassMethod[P, R]: ...
@overload
def cached(function: staticmethod[P, R], /) -> CachedStaticMethod[P, R]: ...
@overload
def cached(function: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached(
    *,
    timeout: Timeout = UNSET,
    stale: float = 0,
    tags: Words = (),
    using: str | None = None,
    capture: bool = True,
    key: Callable[..., str] | None = None,
) -> Decorator: ...
def cached(
    function: Any = None,
    /,
    *,
    timeout: Timeout = UNSET,
    stale: float = 0,
    tags: Words = (),
    using: str | None = None,
    capture: bool = True,
    key: Callable[..., str] | None = None,
) -> Any:
    """Keep what a function, method or ``async def`` returns, by its arguments.

    ``timeout``, ``stale``, ``using`` and ``capture`` are recall()'s. ``tags``: words, or a function
    that gets the call's arguments and returns them. ``key``: a function that gets the call's
    arguments and returns a str to know the call by, for arguments that have no stable key
    themselves; it gets them by position, defaults filled in.

    Different arguments never share an entry; 1, "1", True and 1.0 are different. A model's instance
    is known by its model, database and primary key.

    The result has ``key(...)``, ``invalidate(...)``, ``refresh(...)``, ``uncached(...)``,
    ``ainvalidate(...)`` and ``arefresh(...)``, which take the arguments of a call. Raises TypeError
    or ValueError where the options mean nothing or the function cannot be known by a name.
    """
    options: dict[str, Any] = {
        "timeout": timeout,
        "stale": stale,
        "tags": tuple(tags) if isinstance(tags, Iterator) else tags,  # one can be read only once
        "using": using,
        "capture": capture,
        "key": key,
    }

    def decorate(function: Any) -> Any:
        if (bound := bound_method(function)) is not None:
            return CachedMethod(decorate(bound.__func__), bound.__self__)
        kind, plain = unwrap_method(function)
        where = check_function(plain, has_key=key is not None)
        check_options(where, **options)
        return kind(Keeping(plain, **options))

    return decorate if function is None else decorate(function)


def bound_method(function: Any) -> MethodType | None:
    """Return the bound method that a function is, or that Django's method_decorator makes of it.

    That gives a decorator a partial of the method, named like it, at each call.
    """
    if isinstance(function, partial) and not (function.args or function.keywords):
        function = function.func
    return function if isinstance(function, MethodType) else None


def unwrap_method(function: Any) -> tuple[type[CachedFunction[..., Any]], Any]:
    """Return what is to stand in place of a function, class method or static method, and it."""
    if isinstance(function, classmethod):
        return CachedClassMethod, function.__func__
    if isinstance(function, staticmethod):
        return CachedStaticMethod, function.__func__
    return CachedFunction, function


# The function


def check_function(function: Any, *, has_key: bool) -> str:
    """Return the beginning of an error's text for a function; TypeError where it is none."""
    if isinstance(function, CachedFunction):
        raise TypeError(f"@cached stands twice above {function!r}. Take one away.")
    if not callable(function):
        raise TypeError(
            f"@cached decorates {function!r}, which is no function. Its options have names:"
            " @cached(timeout=300). It stands below @property."
        )
    if isinstance(function, type):
        raise TypeError(f"@cached decorates the class {function.__qualname__}. Decorate a method.")
    module, qualname = (getattr(function, name, None) for name in ("__module__", "__qualname__"))
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise TypeError(f"@cached decorates {function!r}, which has no name. Use a def.")
    where = f"@cached {module}.{qualname}"
    refuse_generators(where, function)
    if not has_key:
        refuse_shared_names(where, function)
    return where


def refuse_generators(where: str, function: Any) -> None:
    """Raise TypeError for functions whose result can be read only once."""
    # Not the innermost one: a decorator between may make a list of it.
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{where} is a generator, which can be read only once. Return a list instead."
        )


def refuse_shared_names(where: str, function: Any) -> None:
    """Raise TypeError for a function whose name can mean several functions with other results.

    A function inside another is made anew by each call of that one. Without free variables all of
    them are the same; with some, each has values that its name and arguments do not tell.
    """
    cure = (
        "Define it at the top of a module, or give cached(key=...) with a text that"
        " tells it from the others."
    )
    if function.__name__ in NAMES_OF_MANY:
        raise TypeError(f"{where} has no name of its own. {cure}")
    free = free_variables(function)
    if "<locals>" in function.__qualname__ and free:
        raise TypeError(f"{where} uses {', '.join(free)} of the function around it. {cure}")


def free_variables(function: Any) -> tuple[str, ...]:
    """Return the names that a function takes from the function around it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    names: tuple[str, ...] = code.co_freevars if code is not None else ("what cannot be seen",)
    return names


# The options


def check_options(
    where: str, *, timeout: Any, stale: Any, tags: Any, using: Any, capture: Any, key: Any
) -> None:
    """Raise TypeError or ValueError for options that mean nothing, at the import of the module."""
    # What the setting TIMEOUT says is checked by each recall: it may not be known yet.
    check_times(where, 0 if timeout is UNSET else timeout, stale)
    if using is not None and not isinstance(using, str):
        raise TypeError(f"{where}: using is {using!r}. Give an alias of CACHES.")
    if not isinstance(capture, bool):
        raise TypeError(f"{where}: capture is {capture!r}. Give True or False.")
    if key is not None and not callable(key):
        raise TypeError(
            f"{where}: key is {key!r}. Give a function of the arguments that returns a str."
        )
    for name, option in (("key", key), ("tags", tags)):
        if iscoroutinefunction(option):
            raise TypeError(f"{where}: {name} is an async function. Give a plain one.")
    if not callable(tags):
        check_words(where, tags)


def check_words(where: str, tags: Any) -> None:
    """Raise TypeError or ValueError for tags that are no words."""
    try:
        word_tags(tags)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
