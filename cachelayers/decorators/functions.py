"""``@cached``: check its options, and replace the function by a cached one.

`storing` computes the key of each call and calls recall().
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction

from cachelayers.canonical import find_by_name
from cachelayers.decorators.storing import Arguments, Storage, Tags
from cachelayers.durations import Duration, as_seconds
from cachelayers.invalidation import user_tags
from cachelayers.lookup import (
    UNSET,
    Timeout,
    Unset,
    check_times,
    freshness_of,
    timing_of,
)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

# inspect uses these to recognise a function, and whether it is an `async def`.
FUNCTION_ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__")


class Handles(Generic[P, R]):
    """What a cached function offers beside being called. Each method takes a call's arguments."""

    _storage: Storage
    invalidation_tag: str  # that of all entries, for invalidate()

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the call's entry."""
        return self._storage.key(self._all_arguments(args), kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the call's entry invalid, in the caller's transaction."""
        self._storage.invalidate(self._all_arguments(args), kwargs)

    async def ainvalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do invalidate() in async code."""
        await self._storage.ainvalidate(self._all_arguments(args), kwargs)

    def invalidate_all(self) -> None:
        """Make the entries of all calls invalid, in the caller's transaction.

        Those of a method, for all objects and classes.
        """
        self._storage.invalidate_all()

    async def ainvalidate_all(self) -> None:
        """Do invalidate_all() in async code."""
        await self._storage.ainvalidate_all()

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute and store the call's value without reading the cache, and return it.

        For an async function, return an awaitable that does so.
        """
        value: R = self._storage.refresh(self._all_arguments(args), kwargs)
        return value

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do refresh() in async code. A plain function is called in a thread."""
        return await self._storage.arefresh(self._all_arguments(args), kwargs)

    def warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Compute and store the call's value before readers need it. Return whether this call did.

        Unlike with refresh(), only one process computes at a time, and readers wait for it.
        """
        return self._storage.warm(self._all_arguments(args), kwargs)

    def is_warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Return whether the cache holds a fresh value of the call."""
        return self._storage.is_warm(self._all_arguments(args), kwargs)

    def uncached(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without the cache."""
        value: R = self._storage.function(*self._all_arguments(args), **kwargs)
        return value

    def _all_arguments(self, arguments: Arguments) -> Arguments:
        """Return the arguments that the function gets."""
        raise TypeError(f"{type(self).__name__} does not say what its function gets")


def entry_of_call(call: Handles[P, R], *args: P.args, **kwargs: P.kwargs) -> tuple[str, str]:
    """Return the alias of CACHES and the key of a call's entry."""
    return call._storage.alias, call.key(*args, **kwargs)


class CachedFunction(Handles[P, R]):
    """A function whose results are cached."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str
        __wrapped__: Callable[P, R]

    def __init__(self, storage: Storage) -> None:
        """Copy the function's name and attributes."""
        function = storage.function
        update_wrapper(self, function)
        for name in FUNCTION_ATTRIBUTES:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self._storage = storage
        self.invalidation_tag = storage.tag

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
        # From Python 3.13 on, a classmethod binds its function without calling its __get__. A call
        # gets its class there, but invalidate() and the other methods do not.
        owner, _, name = self.__qualname__.rpartition(".")
        attributes = getattr(find_by_name(self.__module__, owner), "__dict__", {})
        outer = attributes.get(name)
        return isinstance(outer, classmethod) and outer.__func__ is self


class CachedClassMethod(CachedFunction[P, R]):
    """A class method whose results are cached, separately for each class."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedMethod[P, R]:  # type: ignore[override] # its P is without the class
        """Bind to the class."""
        return CachedMethod(self, type(instance) if owner is None else owner)


class CachedStaticMethod(CachedFunction[P, R]):
    """A static method whose results are cached."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedStaticMethod[P, R]:  # type: ignore[override] # never bound
        """Return itself."""
        return self


class CachedMethod(Handles[P, R]):
    """A cached function bound to the object, or class, that is its first argument."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str

    def __init__(self, function: CachedFunction[..., R], instance: object) -> None:
        """The arguments are those of types.MethodType, which weakref.WeakMethod expects."""
        self._storage = function._storage
        self.invalidation_tag = function._storage.tag
        self.__func__ = function
        self.__self__ = instance
        # Set here, because the class has both too, so __getattr__ would not be called.
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

    if not TYPE_CHECKING:  # a type checker knows the attributes from the annotations

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


NAMES_OF_MANY = {"<lambda>", "_"}  # "_" is customary with functools.singledispatch


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
    stale: Duration = 0,
    tags: Tags = (),
    using: str | None = None,
    capture: bool = True,
    key: Callable[..., str] | None = None,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Decorator: ...
def cached(
    function: Any = None,
    /,
    *,
    timeout: Timeout = UNSET,
    stale: Duration = 0,
    tags: Tags = (),
    using: str | None = None,
    capture: bool = True,
    key: Callable[..., str] | None = None,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Any:
    """Cache what a function, method or ``async def`` returns, by its arguments.

    ``timeout``, ``stale``, ``using``, ``capture``, ``jitter``, ``refresh_ahead`` and ``freshness``
    are recall()'s. ``tags``: tags, or a function that gets the call's arguments and returns tags.
    ``key``: a function that returns a str which identifies the call, for arguments that have no
    stable key themselves; it gets the call's arguments by position, with defaults filled in.

    Different arguments never share an entry; 1, "1", True and 1.0 are different. A model instance
    is identified by its model, database and primary key.

    The result has ``key(...)``, ``invalidate(...)``, ``refresh(...)``, ``uncached(...)``,
    ``ainvalidate(...)`` and ``arefresh(...)``, which take the arguments of a call; and
    ``invalidate_all()`` and ``ainvalidate_all()``, for all calls. Raises TypeError or ValueError
    for invalid options, and for a function that no name identifies.
    """
    options: dict[str, Any] = {
        "timeout": as_seconds(timeout),
        "stale": as_seconds(stale),
        "tags": tuple(tags) if isinstance(tags, Iterator) else tags,  # readable once
        "using": using,
        "capture": capture,
        "key": key,
    }
    timing = {"jitter": jitter, "refresh_ahead": refresh_ahead}
    # Few functions have these, and each call passes its options on.
    given = {**options, **{name: part for name, part in timing.items() if part}}

    def decorate(function: Any) -> Any:
        if (bound := bound_method(function)) is not None:
            return CachedMethod(decorate(bound.__func__), bound.__self__)
        kind, plain = unwrap_method(function)
        where = check_function(plain, has_key=key is not None)
        check_options(where, **options)
        timing_of(where, timeout, jitter, refresh_ahead)
        if freshness is not UNSET:  # else the setting is read at each call
            given["freshness"] = freshness_of(where, freshness)
        return kind(Storage(plain, **given))

    return decorate if function is None else decorate(function)


def bound_method(function: Any) -> MethodType | None:
    """Return the bound method that a function is or wraps, or None.

    At each call, Django's method_decorator passes a decorator a partial of the bound method.
    """
    if isinstance(function, partial) and not (function.args or function.keywords):
        function = function.func
    return function if isinstance(function, MethodType) else None


def unwrap_method(function: Any) -> tuple[type[CachedFunction[..., Any]], Any]:
    """Return the class of the cached function, and the plain function."""
    if isinstance(function, classmethod):
        return CachedClassMethod, function.__func__
    if isinstance(function, staticmethod):
        return CachedStaticMethod, function.__func__
    return CachedFunction, function


def check_function(function: Any, *, has_key: bool) -> str:
    """Return the beginning of error texts. Raise TypeError for a function that cannot be cached."""
    if isinstance(function, CachedFunction):
        raise TypeError(f"@cached stands twice above {function!r}. Take one away.")
    if not callable(function):
        raise TypeError(
            f"@cached decorates {function!r}, which is not a function. Its options have names:"
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
    # Not the innermost function: a decorator between may make a list of it.
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{where} is a generator, which can be read only once. Return a list instead."
        )


def refuse_shared_names(where: str, function: Any) -> None:
    """Raise TypeError for a function whose name may belong to several functions.

    A function inside another is created by each call of the outer one. Without free variables, all
    of them are equal. With free variables, each has values that its name and arguments do not
    contain.
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
    names: tuple[str, ...] = (
        code.co_freevars if code is not None else ("a name that cannot be read",)
    )
    return names


def check_options(
    where: str,
    *,
    timeout: Any,
    stale: Any,
    tags: Any,
    using: Any,
    capture: Any,
    key: Any,
) -> None:
    """Raise TypeError or ValueError for invalid options when the module is imported."""
    # The setting TIMEOUT is checked by each recall: it may not be known yet.
    check_times(where, 0 if timeout is UNSET or callable(timeout) else timeout, stale)
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
    """Raise TypeError or ValueError for invalid tags."""
    try:
        user_tags(tags)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
