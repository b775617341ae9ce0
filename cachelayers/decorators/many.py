"""``@cached_many``: cache what a function returns for each of a list of ids.

It is built on recall_many(). The keys are those of `storing`, with one id in the place of the list.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import sync_to_async

from cachelayers.canonical import DraftArgument
from cachelayers.decorators.functions import FUNCTION_ATTRIBUTES, check_function, check_options
from cachelayers.decorators.storing import Storage, Tags, depend_on_arguments
from cachelayers.durations import Duration, as_seconds
from cachelayers.invalidation import PLAIN_TYPES, listening_captures, refuse_draft
from cachelayers.lookup import (
    UNSET,
    Timeout,
    Unset,
    ainvalidate_keys,
    arecall_many,
    freshness_of,
    invalidate_keys,
    recall_many,
    timing_of,
)

P = ParamSpec("P")
Id = TypeVar("Id")
Value = TypeVar("Value")
Result = TypeVar("Result")  # a dict of values by id, or an awaitable of one

Call = tuple[tuple[Any, ...], dict[str, Any]]  # the arguments after the ids


class CachedMany(Generic[Id, P, Result]):
    """A function of ids whose results are cached, one entry for each id."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str
        __wrapped__: Callable[..., Any]

    def __init__(self, storage: Storage) -> None:
        """Copy the function's name and attributes."""
        update_wrapper(self, storage.function)
        for name in FUNCTION_ATTRIBUTES:
            if hasattr(storage.function, name):
                setattr(self, name, getattr(storage.function, name))
        self._storage = storage
        self.invalidation_tag = storage.tag

    def __call__(self, ids: Iterable[Id], /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Return a dict of the values by id. The function is called with the missing ids."""
        result: Any = self._recall(list(dict.fromkeys(ids)), (args, kwargs))
        return result  # type: ignore[no-any-return]

    def key(self, one: Id, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of one id's entry."""
        return self._storage.key((one, *args), kwargs)

    def invalidate(self, ids: Iterable[Id], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the entries of ids invalid, in the caller's transaction."""
        keys = [self.key(one, *args, **kwargs) for one in ids]
        invalidate_keys(keys, using=self._storage.options["using"])

    async def ainvalidate(self, ids: Iterable[Id], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do invalidate() in async code."""
        keys = [self.key(one, *args, **kwargs) for one in ids]
        await ainvalidate_keys(keys, using=self._storage.options["using"])

    def invalidate_all(self) -> None:
        """Make all entries of the function invalid, in the caller's transaction."""
        self._storage.invalidate_all()

    async def ainvalidate_all(self) -> None:
        """Do invalidate_all() in async code."""
        await self._storage.ainvalidate_all()

    def uncached(self, ids: Iterable[Id], /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call the function itself, without the cache."""
        result: Result = self._storage.function(list(ids), *args, **kwargs)
        return result

    def __reduce__(self) -> str:
        """Pickle and copy by name, as functions do."""
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<cached {self._storage.keys.where}>"

    def _recall(self, ids: list[Any], call: Call) -> Any:
        args, kwargs = call
        storage = self._storage
        try:
            by_key = {storage.key((one, *args), kwargs): one for one in ids}
        except DraftArgument:
            refuse_draft(listening_captures())
            return storage.function(ids, *args, **kwargs)

        def tags_of(key: str) -> Any:
            return storage.tags_of((by_key[key], *args), kwargs)

        options: Any = {**storage.options, "tags": tags_of}
        if storage.is_async:
            compute_async = partial(self._compute_async, by_key, call)
            return by_id_async(by_key, arecall_many(by_key, compute_async, **options))
        return by_id(by_key, recall_many(by_key, partial(self._compute, by_key, call), **options))

    def _compute(self, by_key: Mapping[str, Any], call: Call, keys: list[str]) -> dict[str, Any]:
        depend_on_arguments(self._objects(by_key, call, keys))
        args, kwargs = call
        ids = [by_key[key] for key in keys]
        return self._by_key(by_key, keys, self._storage.function(ids, *args, **kwargs))

    async def _compute_async(
        self, by_key: Mapping[str, Any], call: Call, keys: list[str]
    ) -> dict[str, Any]:
        if objects := self._objects(by_key, call, keys):
            await sync_to_async(depend_on_arguments)(objects)  # it may read the log
        args, kwargs = call
        ids = [by_key[key] for key in keys]
        return self._by_key(by_key, keys, await self._storage.function(ids, *args, **kwargs))

    def _objects(self, by_key: Mapping[str, Any], call: Call, keys: list[str]) -> list[object]:
        """Return the arguments that rows may be in. RuntimeError if one was changed meanwhile."""
        args, kwargs = call
        for key in keys:
            if self._storage.key((by_key[key], *args), kwargs) != key:
                raise RuntimeError(
                    f"{self._storage.keys.where}(): an argument was changed before its values were"
                    " computed. Pass it a copy."
                )
        given = [*(by_key[key] for key in keys), *args, *kwargs.values()]
        return [one for one in given if type(one) not in PLAIN_TYPES]

    def _by_key(self, by_key: Mapping[str, Any], keys: list[str], found: Any) -> dict[str, Any]:
        """Return the function's values by key. TypeError or ValueError if they cannot be told."""
        where = self._storage.keys.where
        if not isinstance(found, Mapping):
            raise TypeError(
                f"{where}() returned {found!r:.100} ({type(found).__name__}). Return a dict of the"
                " values by id, such as dict(zip(ids, values))."
            )
        ids = {by_key[key] for key in keys}
        if unknown := [one for one in found if one not in ids]:
            raise ValueError(
                f"{where}() returned a value for {unknown[0]!r}, which it was not given. It was"
                f" given {list(ids)[:5]!r}; 1 and '1' are different ids."
            )
        return {key: found[by_key[key]] for key in keys if by_key[key] in found}


def by_id(by_key: Mapping[str, Any], values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return values by their ids instead of their keys."""
    return {by_key[key]: value for key, value in values.items()}


async def by_id_async(
    by_key: Mapping[str, Any], values: Awaitable[Mapping[str, Any]]
) -> dict[Any, Any]:
    """Do by_id() with values that are awaited."""
    return by_id(by_key, await values)


class ManyDecorator(Protocol):
    """What cached_many(...) with options returns."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[list[Id], P], Awaitable[Mapping[Id, Value]]], /
    ) -> CachedMany[Id, P, Awaitable[dict[Id, Value]]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[Id], P], Mapping[Id, Value]], /
    ) -> CachedMany[Id, P, dict[Id, Value]]: ...


@overload
def cached_many(
    function: Callable[Concatenate[list[Id], P], Awaitable[Mapping[Id, Value]]], /
) -> CachedMany[Id, P, Awaitable[dict[Id, Value]]]: ...
@overload
def cached_many(
    function: Callable[Concatenate[list[Id], P], Mapping[Id, Value]], /
) -> CachedMany[Id, P, dict[Id, Value]]: ...
@overload
def cached_many(
    *,
    timeout: Timeout = UNSET,
    stale: Duration = 0,
    tags: Tags = (),
    using: str | None = None,
    capture: bool = True,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> ManyDecorator: ...
def cached_many(
    function: Any = None,
    /,
    *,
    timeout: Timeout = UNSET,
    stale: Duration = 0,
    tags: Tags = (),
    using: str | None = None,
    capture: bool = True,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Any:
    """Cache what a function, or ``async def``, returns for each of a list of ids.

    The function gets a list of ids first, and returns a dict of values by id; an id that it leaves
    out is not in the result, and is not stored. It is called with the ids that are missing. Its
    other arguments are part of the key. All that one call reads invalidates each of its values.

    ``tags``: tags, or a function that gets one id and the other arguments, and returns tags. The
    other options are those of @cached. The result has ``key(id, ...)``, ``invalidate(ids, ...)``,
    ``ainvalidate(ids, ...)``, ``uncached(ids, ...)``, ``invalidate_all()`` and
    ``ainvalidate_all()``. Raises TypeError or ValueError for invalid options, for methods, and for
    a function that no name identifies.
    """
    options: dict[str, Any] = {
        "timeout": as_seconds(timeout),
        "stale": as_seconds(stale),
        "tags": tuple(tags) if isinstance(tags, Iterator) else tags,  # readable once
        "using": using,
        "capture": capture,
        "key": None,
    }

    def decorate(function: Any) -> Any:
        where = check_function(function, has_key=False)
        check_parameters(where, function)
        check_options(where, **options)
        timing_of(where, timeout, jitter, refresh_ahead)
        more: dict[str, Any] = {"jitter": jitter, "refresh_ahead": refresh_ahead}
        if freshness is not UNSET:  # else the setting is read at each call
            more["freshness"] = freshness_of(where, freshness)
        return CachedMany(Storage(function, **options, **more))

    return decorate if function is None else decorate(function)


def check_parameters(where: str, function: Any) -> None:
    """Raise TypeError if a function's first parameter cannot be the list of ids."""
    if isinstance(function, CachedMany):
        raise TypeError(f"@cached_many stands twice above {function!r}. Take one away.")
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind not in {first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD}:
        raise TypeError(f"{where}: it takes no list of ids as its first argument.")
    if first.name in {"self", "cls"}:
        raise TypeError(
            f"{where} is a method: its first argument is no list of ids. Decorate a function, and"
            " call it from the method."
        )
