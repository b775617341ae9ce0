"""``@cached``: check its arguments, and put a cached function in the place of the function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction

from cachelayers.canonical import find_by_name
from cachelayers.decorators.storing import Arguments, Storage, Tags
from cachelayers.invalidation.tags import user_tags
from cachelayers.lookup import UNSET, Timeout, check_times

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

# By these inspect takes an object for a function, and sees whether it is an `async def`.
FUNCTION_ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__")


class Handles(Generic[P, R]):
    """What can be done with a cached function beside calling it; each takes a call's arguments."""

    _storage: Storage

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the call's entry."""
        return self._storage.key(self._all_arguments(args), kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the call's entry invalid, in the caller's transaction."""
        self._storage.invalidate(self._all_arguments(args), kwargs)

    async def ainvalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do as invalidate() does, in async code."""
        await self._storage.ainvalidate(self._all_arguments(args), kwargs)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute and store the call's value, whatever the cache holds, and return it.

        Of an async function: return an awaitable that does so.
        """
        value: R = self._storage.refresh(self._all_arguments(args), kwargs)
        return value

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do as refresh() does, in async code; a plain function is called in a thread."""
        return await self._storage.arefresh(self._all_arguments(args), kwargs)

    def warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Compute and store the call's value ahead of its readers; tell whether this caller did.

        Elsewhere than with refresh(), only one process computes at a time, and readers wait for it.
        """
        return self._storage.warm(self._all_arguments(args), kwargs)

    def is_warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether the cache holds a fresh value of the call."""
        return self._storage.is_warm(self._all_arguments(args), kwargs)

    def uncached(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself; the cache is neither read nor written."""
        value: R = self._storage.function(*self._all_arguments(args), **kwargs)
        return value

    def _all_arguments(self, arguments: Arguments) -> Arguments:
        """Return what the function gets."""
        raise TypeError(f"{type(self).__name__} does not say what its function gets")


class CachedFunction(Handles[P, R]):
    """A function whose values are kept."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str
        __wrapped__: Callable[P, R]

    def __init__(self, storage: Storage) -> None:
        """Take the function's place, under its name."""
        function = storage.function
        update_wrapper(self, function)
        for name in FUNCTION_ATTRIBUTES:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self._storage = storage

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the call's value, from the cache or computed."""
        value: R = self._storage.recall(args, kwargs)
        return value

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> CachedMethod[Q, R]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind, as functions do."""
        return self if instance is None else CachedMethod(self, instance)

    def __reduce__(self) -> str:
        """Pickle and copy by name, as functions do."""
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<cached {self._storage.keys.where}>"

    def _all_arguments(self, arguments: Arguments) -> Arguments:
        if self._is_in_a_classmethod():
            raise TypeError(
                f"{self._storage.keys.where}: @classmethod stands above @cached, so this cannot"
                " know the class. Put @cached above @classmethod."
            )
        return arguments

    def _is_in_a_classmethod(self) -> bool:
        # Python 3.13 and later: a classmethod binds what is in it without asking its __get__. A
        # call gets its class there, but invalidate() and the like do not.
        owner, _, name = self.__qualname__.rpartition(".")
        attributes = getattr(find_by_name(self.__module__, owner), "__dict__", {})
        outer = attributes.get(name)
        return isinstance(outer, classmethod) and outer.__func__ is self


class CachedClassMethod(CachedFunction[P, R]):
    """A class method whose values are kept, for each class its own."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedMethod[P, R]:  # type: ignore[override] # its P is without the class
        """Bind to the class."""
        return CachedMethod(self, type(instance) if owner is None else owner)


class CachedStaticMethod(CachedFunction[P, R]):
    """A static method whose values are kept."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedStaticMethod[P, R]:  # type: ignore[override] # never bound
        """Return itself."""
        return self


class CachedMethod(Handles[P, R]):
    """A cached function bound to the object, or class, that is its first argument."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str

    def __init__(self, function: CachedFunction[..., R], instance: object) -> None:
        """Bind; the arguments are those of types.MethodType, which weakref.WeakMethod expects."""
        self._storage = function._storage
        self.__func__ = function
        self.__self__ = instance
        # Set here, because the class has both too and __getattr__ would not be asked.
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the call's value, from the cache or computed."""
        value: R = self._storage.recall((self.__self__, *args), kwargs)
        return value

    @property
    def __signature__(self) -> inspect.Signature:
        """Return the function's signature without the first parameter."""
        return inspect.signature(MethodType(self._storage.function, self.__self__))

    if not TYPE_CHECKING:  # a type checker is to know its attributes

        def __getattr__(self, name):
            """Return the function's own attribute, as bound methods do."""
            return getattr(self.__func__, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CachedMethod):
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__func__))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as bound methods do."""
        return getattr, (self.__self__, self.__func__.__name__)

    def __repr__(self) -> str:
        return f"<cached {self._storage.keys.where} of {self.__self__!r}>"

    def _all_arguments(self, arguments: Arguments) -> Arguments:
        return (self.__self__, *arguments)


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
    tags: Tags = (),
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
    tags: Tags = (),
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
        return kind(Storage(plain, **options))

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
        check_tags(where, tags)


def check_tags(where: str, tags: Any) -> None:
    """Raise TypeError or ValueError for tags that are no words."""
    try:
        user_tags(tags)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
