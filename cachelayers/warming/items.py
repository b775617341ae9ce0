"""What can be warmed: page, target, static file, callable. Made by the plan, run by the crew."""

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
from cachelayers.invalidation.units import unit_of_work
from cachelayers.lookup import is_warm, warm
from cachelayers.staticfiles import is_shared, share
from cachelayers.warming.addresses import PLAIN, Address, Variant
from cachelayers.warming.clients import Client
from cachelayers.warming.outcomes import Outcome, State, WarmingError, failure
from cachelayers.warming.registry import RecallTarget, Target

# A value is asked for once more after this pause: a Redis replica may lag behind a moment.
REPLICA_PAUSE_SECONDS = 0.1


class Item(Protocol):
    """One thing to warm."""

    @property
    def label(self) -> str:
        """How the operator knows it."""

    @property
    def identity(self) -> str:
        """What tells it from others, the same in every process and on every machine."""

    def is_warm(self) -> bool:
        """Whether it is known, without rendering anything, to be in the cache."""

    def warm(self) -> State:
        """Put it into the cache; raises what goes wrong."""


def warm_item(item: Item, *, only_missing: bool) -> Outcome:
    """Warm one item; whatever it raises becomes a failed outcome."""
    try:
        # A unit each: with the position of the command's begin, what the last item stores would
        # be outdated by everything that was written while the others were warmed.
        with unit_of_work():
            state = State.ALREADY_WARM if only_missing and item.is_warm() else item.warm()
    except KeyboardInterrupt:
        raise
    # BaseException: a function that calls sys.exit() is a failure too, not the end of the run.
    except BaseException as error:  # noqa: BLE001
        drop_broken_connections()
        return failure(item.label, error)
    return Outcome(label=item.label, state=state)


def drop_broken_connections() -> None:
    """Close the connections that an error has broken: everything after it would fail as well."""
    for each in connections.all(initialized_only=True):
        if each.errors_occurred and not each.in_atomic_block:
            each.close_if_unusable_or_obsolete()


@dataclass(frozen=True, kw_only=True)
class PageItem:
    """A page of the site, as a visitor asks for it."""

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
        """Nothing tells: only a request that passed the middleware knows its cache key."""
        return False

    def warm(self) -> State:
        """Render it; a page that came from Django's page cache was warm already."""
        visit = self.site.visit(self.address, self.variant)
        return State.ALREADY_WARM if visit.came_from_page_cache else State.WARMED


@dataclass(frozen=True, kw_only=True)
class TargetItem:
    """A key and its value."""

    target: Target

    @property
    def label(self) -> str:
        return f"{self.target.using}: {self.target.key}"

    @property
    def identity(self) -> str:
        return f"target {self.label}"

    def is_warm(self) -> bool:
        cache: Any = caches[self.target.using]
        # What is in the memory of this process alone is gone when the command has ended.
        look = cache.has_shared_key if is_layered(cache) else cache.has_key
        return bool(look(self.target.key))

    def warm(self) -> State:
        """Compute and store; a cache that did not keep the value is a failure."""
        target = self.target
        value = _call(target.compute)
        # Django's backends take the DEFAULT_TIMEOUT object as well, which their types hide.
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
    """A call of ``recall()``, or of a function under ``@cached``."""

    label: str
    identity: str
    compute: Callable[[], bool]  # tells whether it was not another caller who computed
    look: Callable[[], bool]

    def is_warm(self) -> bool:
        return self.look()

    def warm(self) -> State:
        """Have it computed and stored; an entry that is not fresh then is a failure."""
        is_ours = self.compute()
        check_kept(
            self,
            "was computed, and is not in the cache: it may be down or full, or the value too"
            " large, or the timeout 0, or what it was made from changed meanwhile",
        )
        return State.WARMED if is_ours else State.ALREADY_WARM


def recall_item(target: RecallTarget) -> RecallItem:
    """The item of a recall target."""
    alias = target.options.get("using") or package_settings().ALIAS
    return RecallItem(
        label=f"{alias}: {target.key}",
        identity=f"recall {alias}: {target.key}",
        compute=lambda: warm(target.key, target.compute, **target.options),
        look=lambda: is_warm(target.key, target.compute, **target.options),
    )


def call_of_cached(thing: object) -> RecallItem | None:
    """The item of a function under ``@cached``, or of a partial call of one; else None."""
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
        look=lambda: cached.is_warm(*arguments, **keywords),
    )


def check_kept(item: Item, reason: str) -> None:
    """Raise WarmingError for an item that is not warm although it was warmed.

    A cache that is down swallows the write; a run that says "warmed" then would lie.
    """
    if item.is_warm():
        return
    time.sleep(REPLICA_PAUSE_SECONDS)
    if not item.is_warm():
        raise WarmingError(reason)


@dataclass(frozen=True, kw_only=True)
class StaticItem:
    """A static file, whose id every process finds in the shared cache then."""

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
        """Hash it anew and share that; a cache that did not keep it is a failure."""
        if not share(self.name):
            raise WarmingError(
                f"CACHES[{package_settings().ALIAS!r}] did not keep its id: it may be down or full,"
                " or the storage tells neither size nor time of its files"
            )
        return State.WARMED


@dataclass(frozen=True, kw_only=True)
class CallItem:
    """A function that fills the cache by itself; its result is not used."""

    function: Callable[[], object]
    place: str = ""  # where it stands among what its warmer yields: it has no name of its own

    @property
    def label(self) -> str:
        return describe_callable(self.function)

    @property
    def identity(self) -> str:
        return f"call {self.place}"

    def is_warm(self) -> bool:
        """Nothing tells."""
        return False

    def warm(self) -> State:
        _call(self.function)
        return State.WARMED


def describe_callable(function: object) -> str:
    """``airports.queries.nearest('LFPG')`` rather than an address in memory."""
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
