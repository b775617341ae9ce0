"""For tests of cached code: entries within a TestCase, and assertions about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.core.cache import CacheHandler, InvalidCacheBackendError, caches
from django.core.cache.backends.base import BaseCache

from cachelayers.backends import MemoryCache, drop_store, known_stores, renew_files_of_tests
from cachelayers.conf import package_settings
from cachelayers.decorators import Handles, entry_of_call
from cachelayers.invalidation import counted_as_committed
from cachelayers.lookup import why_missed
from cachelayers.signals import entry_computed
from cachelayers.test_runs import is_test_run
from cachelayers.utils.locks import caches_replaced
from cachelayers.utils.switch import enabled_despite_setting

__all__ = ["assert_cached", "assert_computes", "assert_invalidated_by", "caching"]

# What makes keys and lifetimes; the rest of a cache's settings belongs to its own backend.
OF_EVERY_BACKEND = ("KEY_FUNCTION", "KEY_PREFIX", "TIMEOUT", "VERSION")


class CachesOfBlock(CacheHandler):
    """A cache in memory for each alias of CACHES."""

    def __init__(self) -> None:
        super().__init__()
        self._block = uuid4().hex
        self._locations: set[str] = set()

    def create_connection(self, alias: str) -> BaseCache:
        configured = caches.settings.get(alias)
        if configured is None:
            raise InvalidCacheBackendError(f"CACHES has no alias {alias!r}.")
        location = f"caching:{self._block}:{alias}"
        self._locations.add(location)
        taken = {name: configured[name] for name in OF_EVERY_BACKEND if name in configured}
        return MemoryCache(location, taken)

    def drop(self) -> None:
        """Forget all entries."""
        for location in self._locations:
            drop_store(location)


@contextmanager
def caching() -> Iterator[None]:
    """Store the values of recall(), @cached and fragments in the block, also in a TestCase.

    They are stored in the process's memory and forgotten at the end of the block. In this thread,
    what the test's transaction has written counts as committed. The setting ENABLED is ignored.
    """
    handler = CachesOfBlock()
    try:
        with enabled_despite_setting(), counted_as_committed(), caches_replaced(handler):
            yield
    finally:
        handler.drop()


def forget_cached_values() -> None:
    """Empty the caches that belong to this process of a test run: in memory, and in own files.

    The pytest plugin calls it before each test. It needs no access to a database.
    """
    for store in known_stores().values():
        store.clear()
    if is_test_run():
        renew_files_of_tests()


def assert_cached(call: Handles[..., Any] | str, /, *args: Any, **kwargs: Any) -> None:
    """Raise AssertionError unless a value is stored, fresh and valid now.

    ``call``: a cached function, followed by the call's arguments; or recall()'s key, with ``using``
    for an alias of CACHES.
    """
    name, alias, key = entry_of(call, args, kwargs)
    if (reason := why_missed(alias, key)) is not None:
        raise AssertionError(f"{name} is not cached: {reason}.")


@contextmanager
def assert_invalidated_by(
    call: Handles[..., Any] | str, /, *args: Any, **kwargs: Any
) -> Iterator[None]:
    """Raise AssertionError unless a value is cached before the block and not valid after it.

    The arguments are those of assert_cached().
    """
    name, alias, key = entry_of(call, args, kwargs)
    if (reason := why_missed(alias, key)) is not None:
        raise AssertionError(
            f"{name} is not cached before the block: {reason}. Compute it before, so that the block"
            " has something to invalidate."
        )
    yield
    if why_missed(alias, key) is None:
        raise AssertionError(f"{name} is still cached and valid after the block.")


@contextmanager
def assert_computes(count: int) -> Iterator[list[str]]:
    """Raise AssertionError unless the block computes ``count`` values of recall() and others.

    Yields the keys of the values that were computed so far, in all threads.
    """
    computed: list[str] = []

    def note(*, key: str, is_marker: bool = False, **kwargs: Any) -> None:
        if not is_marker:
            computed.append(key)

    entry_computed.connect(note, weak=False)
    try:
        yield computed
    finally:
        entry_computed.disconnect(note)
    if len(computed) != count:
        keys = "".join(f"\n  {key}" for key in computed)
        raise AssertionError(f"{len(computed)} values were computed instead of {count}:{keys}")


def entry_of(
    call: Handles[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, str, str]:
    """Return the name of an entry for messages, its alias of CACHES and its key."""
    if isinstance(call, Handles):
        shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        name = getattr(call, "__qualname__", repr(call))
        return f"{name}({', '.join(shown)})", *entry_of_call(call, *args, **kwargs)
    if not isinstance(call, str):
        raise TypeError(f"Give a cached function, or recall()'s key, not {call!r}.")
    if args or kwargs.keys() - {"using"}:
        raise TypeError(f"The key {call!r} takes no arguments beside using.")
    alias = kwargs.get("using")
    return f"recall({call!r})", package_settings().ALIAS if alias is None else alias, call
