"""Registers warmers by name, and defines what a warmer may yield. Apps use it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.utils.module_loading import autodiscover_modules

from cachelayers.durations import HOW_TO_WRITE, Duration, as_seconds

if TYPE_CHECKING:
    from cachelayers.lookup import Options


@dataclass(frozen=True, kw_only=True)
class Target:
    """A cache key and the function that computes its value, for ``cache.get``.

    ``timeout`` is a duration; ``None`` means no expiry, the default is the alias's own.
    """

    key: str
    compute: Callable[[], object]
    # `object`: Django marks "the alias's own timeout" by a bare object().
    timeout: Duration | object | None = DEFAULT_TIMEOUT
    using: str = DEFAULT_CACHE_ALIAS


class RecallTarget:
    """The arguments of a ``recall()`` or ``arecall()`` whose entry is to be stored in advance.

    >>> RecallTarget("busiest:FR", compute, timeout=300, tags=["homepage"])
    """

    def __init__(self, key: str, compute: Callable[[], object], **options: Unpack[Options]) -> None:
        """The arguments are those of recall()."""
        self.key = key
        self.compute = compute
        self.options = options

    def __repr__(self) -> str:
        return f"RecallTarget({self.key!r})"


Warmable = str | Callable[[], object] | Target | RecallTarget
WarmerFunction = Callable[[], Iterable[Warmable] | Callable[[], Any] | Target | RecallTarget]


Function = TypeVar("Function", bound=WarmerFunction)


@dataclass(frozen=True, kw_only=True)
class Warmer:
    """A named function that yields what to warm; ``every_seconds`` is its interval."""

    name: str
    function: WarmerFunction
    every_seconds: float | None = None

    @property
    def defined_at(self) -> str:
        """Return where it is defined, as ``module:line``."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        line = f":{code.co_firstlineno}" if code else ""
        return f"{self.function.__module__}{line}"


_warmers: dict[str, Warmer] = {}


def warmer(name: str, *, every: Duration | None = None) -> Callable[[Function], Function]:
    """Register a function without arguments that returns or yields what to warm.

    It yields callables, URLs (strings) and ``Target`` objects. ``every``: the interval.
    """
    _check_name(name)
    every_seconds = _seconds_of(name, every)

    def register(function: Function) -> Function:
        _check_function(name, function)
        _add(Warmer(name=name, function=function, every_seconds=every_seconds))
        return function

    return register


def registered_warmers() -> dict[str, Warmer]:
    """Import the ``warmers`` modules; return the warmers by name, in INSTALLED_APPS order."""
    # When repeated, this is a dictionary lookup per app.
    autodiscover_modules("warmers")
    return dict(_warmers)


def _add(new: Warmer) -> None:
    known = _warmers.get(new.name)
    if known is not None and _identity(known) != _identity(new):
        raise ValueError(
            f"Two warmers are named {new.name!r}: {known.defined_at} and {new.defined_at}. "
            "Rename one of them."
        )
    _warmers[new.name] = new


def _identity(registered: Warmer) -> tuple[str, str]:
    # By name, because a reloaded module registers new function objects.
    function = registered.function
    return function.__module__, getattr(function, "__qualname__", repr(function))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f'@warmer was given {name!r}. Give it a name: @warmer("country pages").')


def _seconds_of(name: str, every: object) -> float | None:
    seconds = as_seconds(every)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"@warmer({name!r}) every={every!r} is no duration. {HOW_TO_WRITE}.")
    if not seconds > 0:
        raise ValueError(f"@warmer({name!r}) every={every!r} must be above 0. {HOW_TO_WRITE}.")
    return seconds


def _check_function(name: str, function: object) -> None:
    if not callable(function):
        raise TypeError(f"@warmer({name!r}) decorates {function!r}, which is no function.")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"@warmer({name!r}) decorates an async function. "
            "Make it a plain one; the callables that it yields may be async."
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise TypeError(
            f"@warmer({name!r}) decorates a function with arguments ({error}). "
            "A warmer is called without any."
        ) from None
