"""What can be warmed: page, target, static file, callable. Made by the plan, run by the crew."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Protocol, cast

from asgiref.sync import async_to_sync
from django.core.cache import caches

from cachelayers.conf import package_settings
from cachelayers.hashing.listing import is_shared, share
from cachelayers.warming.addresses import Address
from cachelayers.warming.outcomes import Outcome, State, WarmingError, failure
from cachelayers.warming.site import Site
from cachelayers.warming.targets import Target

# A value is asked for once more after this pause: a Redis replica may lag behind a moment.
REPLICA_PAUSE_SECONDS = 0.1


class Item(Protocol):
    """One thing to warm."""

    @property
    def label(self) -> str:
        """How the operator knows it."""

    def is_warm(self) -> bool:
        """Whether it is known, without rendering anything, to be in the cache."""

    def warm(self) -> State:
        """Put it into the cache; raises what goes wrong."""


def warm_item(item: Item, *, only_missing: bool) -> Outcome:
    """Warm one item; whatever it raises becomes a failed outcome."""
    try:
        state = State.ALREADY_WARM if only_missing and item.is_warm() else item.warm()
    except KeyboardInterrupt:
        raise
    # BaseException: a function that calls sys.exit() is a failure too, not the end of the run.
    except BaseException as error:  # noqa: BLE001
        return failure(item.label, error)
    return Outcome(label=item.label, state=state)


@dataclass(frozen=True, kw_only=True)
class PageItem:
    """A page of the site, rendered as a visitor's request would."""

    label: str
    address: Address
    site: Site

    def is_warm(self) -> bool:
        """Nothing tells: only a request that passed the middleware knows its cache key."""
        return False

    def warm(self) -> State:
        """Render it; a page that came from Django's page cache was warm already."""
        visit = self.site.visit(self.address)
        return State.ALREADY_WARM if visit.came_from_page_cache else State.WARMED


@dataclass(frozen=True, kw_only=True)
class TargetItem:
    """A key and its value."""

    target: Target

    @property
    def label(self) -> str:
        return f"{self.target.using}: {self.target.key}"

    def is_warm(self) -> bool:
        return caches[self.target.using].has_key(self.target.key)

    def warm(self) -> State:
        """Compute and store; a cache that did not keep the value is a failure."""
        target = self.target
        value = _call(target.compute)
        # Django's backends take the DEFAULT_TIMEOUT object as well, which their types hide.
        timeout = cast("float | None", target.timeout)
        caches[target.using].set(target.key, value, timeout=timeout)
        self._check_kept()
        return State.WARMED

    def _check_kept(self) -> None:
        # A cache that is down swallows the write; a run that says "warmed" then would lie.
        if self.is_warm():
            return
        time.sleep(REPLICA_PAUSE_SECONDS)
        if not self.is_warm():
            raise WarmingError(
                f"CACHES[{self.target.using!r}] did not keep the value: it may be down or full, "
                "or the value too large, or the timeout too short"
            )


@dataclass(frozen=True, kw_only=True)
class StaticItem:
    """A static file, whose id every process finds in the shared cache then."""

    name: str

    @property
    def label(self) -> str:
        return f"static: {self.name}"

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

    @property
    def label(self) -> str:
        return describe_callable(self.function)

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
