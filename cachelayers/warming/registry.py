"""Register warmers under a name and find them again. Used by apps and by ``warm_cache``."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.utils.module_loading import autodiscover_modules

from cachelayers.warming.targets import WarmerFunction

Function = TypeVar("Function", bound=WarmerFunction)


@dataclass(frozen=True, kw_only=True)
class Warmer:
    """A named function that says what to warm; ``every_seconds`` is how often it wants to run."""

    name: str
    function: WarmerFunction
    every_seconds: float | None = None

    @property
    def defined_at(self) -> str:
        """Where to find it, as ``module:line``."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        line = f":{code.co_firstlineno}" if code else ""
        return f"{self.function.__module__}{line}"


_warmers: dict[str, Warmer] = {}


def warmer(name: str, *, every: float | None = None) -> Callable[[Function], Function]:
    """Register a function without arguments that returns or yields what to warm.

    It yields callables, URLs (strings) and ``Target`` objects. ``every`` is in seconds.
    """
    _check_name(name)
    _check_every(name, every)

    def register(function: Function) -> Function:
        _check_function(name, function)
        _add(Warmer(name=name, function=function, every_seconds=every))
        return function

    return register


def registered_warmers() -> dict[str, Warmer]:
    """All warmers by name, in the order of INSTALLED_APPS; imports the ``warmers`` modules."""
    # Repeated calls cost a look into sys.modules for each app.
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
    # By name, not by object: a module that is reloaded registers its functions anew.
    function = registered.function
    return function.__module__, getattr(function, "__qualname__", repr(function))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f'@warmer was given {name!r}. Give it a name: @warmer("country pages").')


def _check_every(name: str, every: object) -> None:
    if every is None:
        return
    if isinstance(every, bool) or not isinstance(every, (int, float)):
        raise TypeError(f"@warmer({name!r}) every={every!r} is no number. Give it in seconds.")
    if not every > 0:
        raise ValueError(f"@warmer({name!r}) every={every!r} must be above 0. Give it in seconds.")


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
