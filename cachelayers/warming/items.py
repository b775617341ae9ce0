"""The items of a run: page, target, static file or callable.

`plan` creates them, and the worker pool warms them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol, cast

from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.db import connections

from cachelayers.conf import package_settings
from cachelayers.decorators import Handles
from cachelayers.invalidation import unit_of_work
from cachelayers.lookup import is_warm, warm
from cachelayers.staticfiles import is_shared, share
from cachelayers.warming.addresses import PLAIN, Address, Variant
from cachelayers.warming.clients import Client
from cachelayers.warming.outcomes import Outcome, State, WarmingError, failure
from cachelayers.warming.registry import RecallTarget, Target

# A value is read again after this pause, because a Redis replica may lag behind.
REPLICA_PAUSE_SECONDS = 0.1


class Item(Protocol):
    """One thing to warm."""

    @property
    def label(self) -> str:
        """Return its name for the operator."""

    @property
    def identity(self) -> str:
        """Return its id, the same in every process and on every machine."""

    def is_warm(self) -> bool:
        """Tell whether it is known to be in the cache, without rendering anything."""

    def warm(self) -> State:
        """Put it into the cache. Raises the item's errors."""


def warm_item(item: Item, *, only_missing: bool) -> Outcome:
    """Warm one item. Any exception becomes a failed outcome."""
    try:
        # One unit of work per item: with a shared position, writes during the run would invalidate
        # the entries of the last items.
        with unit_of_work():
            state = State.ALREADY_WARM if only_missing and item.is_warm() else item.warm()
    except KeyboardInterrupt:
        raise
    # BaseException: a function that calls sys.exit() fails, but must not end the run.
    except BaseException as error:  # noqa: BLE001
        drop_broken_connections()
        return failure(item.label, error)
    return Outcome(label=item.label, state=state)


def drop_broken_connections() -> None:
    """Close connections that an error has broken, so that later items do not fail too."""
    for each in connections.all(initialized_only=True):
        if each.errors_occurred and not each.in_atomic_block:
            each.close_if_unusable_or_obsolete()


@dataclass(frozen=True, kw_only=True)
class PageItem:
    """A page of the site."""

    url: str  # as it was given
    address: Address
    site: Client
    variant: Variant = PLAIN

    @property
    def label(self) -> str:
        return f"{self.url} [{self.variant}]" if self.variant.headers else self.url

    @property
    def identity(self) -> str:
        return f"page {self.address} {self.variant}"

    def is_warm(self) -> bool:
        """Return False: only a request that has passed the middleware knows the key."""
        return False

    def warm(self) -> State:
        """Request it. It was warm if it came from Django's page cache."""
        visit = self.site.visit(self.address, self.variant)
        return State.ALREADY_WARM if visit.came_from_page_cache else State.WARMED


@dataclass(frozen=True, kw_only=True)
class TargetItem:
    """A cache key and its value."""

    target: Target

    @property
    def label(self) -> str:
        return f"{self.target.using}: {self.target.key}"

    @property
    def identity(self) -> str:
        return f"target {self.label}"

    def is_warm(self) -> bool:
        cache: Any = caches[self.target.using]
        # This process's memory does not count, because it ends with the command.
        is_fresh = cache.has_shared_key if is_layered(cache) else cache.has_key
        return bool(is_fresh(self.target.key))

    def warm(self) -> State:
        """Compute and store the value. It failed if the cache did not store it."""
        target = self.target
        value = _call(target.compute)
        # Django's backends accept the DEFAULT_TIMEOUT object, but their type stubs do not.
        timeout = cast("float | None", target.timeout)
        caches[target.using].set(target.key, value, timeout=timeout)
        check_kept(
            self,
            f"CACHES[{target.using!r}] did not keep the value: it may be down or full, "
            "or the value too large, or the timeout too short",
        )
        return State.WARMED


def is_layered(cache: Any) -> bool:
    """Tell whether a cache has layers that outlive this process."""
    return bool(getattr(cache, "has_shared_layers", False))


@dataclass(frozen=True, kw_only=True)
class RecallItem:
    """A call of ``recall()``, or of a ``@cached`` function."""

    label: str
    identity: str
    compute: Callable[[], bool]  # tells whether this caller computed the value
    is_fresh: Callable[[], bool]

    def is_warm(self) -> bool:
        return self.is_fresh()

    def warm(self) -> State:
        """Have the value computed and stored. It failed if there is no fresh entry afterwards."""
        is_ours = self.compute()
        check_kept(
            self,
            "was computed, and is not in the cache: it may be down or full, or the value too"
            " large, or the timeout 0, or what it was made from changed meanwhile",
        )
        return State.WARMED if is_ours else State.ALREADY_WARM


def recall_item(target: RecallTarget) -> RecallItem:
    alias = target.options.get("using") or package_settings().ALIAS
    return RecallItem(
        label=f"{alias}: {target.key}",
        identity=f"recall {alias}: {target.key}",
        compute=lambda: warm(target.key, target.compute, **target.options),
        is_fresh=lambda: is_warm(target.key, target.compute, **target.options),
    )


def call_of_cached(thing: object) -> RecallItem | None:
    """Return the item for a ``@cached`` function or a partial of one, or None."""
    function, arguments, keywords = thing, (), {}
    if isinstance(thing, partial):
        function, arguments, keywords = thing.func, thing.args, thing.keywords
    if not isinstance(function, Handles):
        return None
    cached: Handles[..., Any] = function
    return RecallItem(
        label=describe_callable(thing),
        identity=f"cached {cached.key(*arguments, **keywords)}",
        compute=lambda: cached.warm(*arguments, **keywords),
        is_fresh=lambda: cached.is_warm(*arguments, **keywords),
    )


def check_kept(item: Item, reason: str) -> None:
    """Raise WarmingError if an item is not warm after warming.

    A cache that is down ignores writes; the run must not report "warmed" then.
    """
    if item.is_warm():
        return
    time.sleep(REPLICA_PAUSE_SECONDS)
    if not item.is_warm():
        raise WarmingError(reason)


@dataclass(frozen=True, kw_only=True)
class StaticItem:
    """A static file; every process then finds its id in the shared cache."""

    name: str

    @property
    def label(self) -> str:
        return f"static: {self.name}"

    @property
    def identity(self) -> str:
        return self.label

    def is_warm(self) -> bool:
        return is_shared(self.name)

    def warm(self) -> State:
        """Hash it and share the digest. It failed if the cache did not store it."""
        if not share(self.name):
            raise WarmingError(
                f"CACHES[{package_settings().ALIAS!r}] did not keep its id: it may be down or full,"
                " or the storage tells neither size nor time of its files"
            )
        return State.WARMED


@dataclass(frozen=True, kw_only=True)
class CallItem:
    """A function that fills the cache itself; its result is not used."""

    function: Callable[[], object]
    position: str = ""  # its index in what the warmer yields, because it has no name

    @property
    def label(self) -> str:
        return describe_callable(self.function)

    @property
    def identity(self) -> str:
        return f"call {self.position}"

    def is_warm(self) -> bool:
        """Return False: it is not known."""
        return False

    def warm(self) -> State:
        _call(self.function)
        return State.WARMED


def describe_callable(function: object) -> str:
    """Return ``airports.queries.nearest('LFPG')`` instead of a memory address."""
    if isinstance(function, partial):
        arguments = [repr(value) for value in function.args]
        arguments += [f"{name}={value!r}" for name, value in function.keywords.items()]
        return f"{describe_callable(function.func)}({', '.join(arguments)})"
    name = getattr(function, "__qualname__", None)
    return f"{getattr(function, '__module__', '?')}.{name}" if name else repr(function)


def _call(function: Callable[[], object]) -> object:
    result = function()
    return async_to_sync(_wait_for)(result) if isawaitable(result) else result


async def _wait_for(result: Awaitable[object]) -> object:
    return await result
