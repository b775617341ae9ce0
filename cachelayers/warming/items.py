"""The things to warm, and how each ended. `plan` collects them, and `run` warms them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from inspect import isawaitable
from typing import Any, cast

from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.db import connections

from cachelayers.conf import package_settings
from cachelayers.decorators import Handles
from cachelayers.durations import as_seconds
from cachelayers.invalidation import unit_of_work
from cachelayers.lookup import is_warm, warm
from cachelayers.staticfiles import is_shared, share
from cachelayers.utils.text import without_secrets
from cachelayers.warming.registry import RecallTarget, Target

# A value is read again after this pause, because a Redis replica may lag behind.
REPLICA_PAUSE_SECONDS = 0.1


class State(Enum):
    """How an item ended."""

    WARMED = "warmed"
    ALREADY_WARM = "already warm"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one item; ``reason`` and ``error`` are for failures."""

    label: str
    state: State
    reason: str = ""
    error: BaseException | None = None


class WarmingError(Exception):
    """An item could not be warmed. The message is the reason for the operator."""


class TookTooLong(BaseException):
    """A time limit was reached. Not an Exception, so that a view's handlers do not catch it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:g} s, and was given up (--time-limit)")


def failure(label: str, error: BaseException) -> Outcome:
    """Return the outcome of an item that raised."""
    if isinstance(error, (WarmingError, TookTooLong)):
        # The reason is complete; only its cause needs a traceback.
        return Outcome(label=label, state=State.FAILED, reason=str(error), error=error.__cause__)
    return Outcome(label=label, state=State.FAILED, reason=describe_error(error), error=error)


def describe_error(error: BaseException) -> str:
    """Return one line such as ``ValueError: no such country``."""
    message = " ".join(without_secrets(str(error)).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def is_unknown() -> bool:
    """Tell that an item is not known to be warm: only warming it shows that."""
    return False


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to warm."""

    label: str  # its name for the operator
    identity: str  # the same in every process and on every machine
    warm: Callable[[], State]  # puts it into the cache, and raises the item's own errors
    is_warm: Callable[[], bool] = is_unknown  # renders nothing


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
        # A connection that the error has broken would make later items fail too.
        for each in connections.all(initialized_only=True):
            if each.errors_occurred and not each.in_atomic_block:
                each.close_if_unusable_or_obsolete()
        return failure(item.label, error)
    return Outcome(label=item.label, state=state)


def target_item(target: Target) -> Item:
    """Return the item for a cache key and its value."""

    def is_fresh() -> bool:
        cache: Any = caches[target.using]
        # This process's memory does not count, because it ends with the command.
        is_layered = getattr(cache, "has_shared_layers", False)
        return bool((cache.has_shared_key if is_layered else cache.has_key)(target.key))

    def store() -> State:
        value = _call(target.compute)
        # Django's backends accept the DEFAULT_TIMEOUT object, but their type stubs do not.
        timeout = cast("float | None", as_seconds(target.timeout))
        caches[target.using].set(target.key, value, timeout=timeout)
        _check_kept(
            is_fresh,
            f"CACHES[{target.using!r}] did not keep the value: it may be down or full, "
            "or the value too large, or the timeout too short",
        )
        return State.WARMED

    name = f"{target.using}: {target.key}"
    return Item(label=name, identity=f"target {name}", warm=store, is_warm=is_fresh)


def recall_item(target: RecallTarget) -> Item:
    """Return the item for a call of ``recall()``."""
    name = f"{target.options.get('using') or package_settings().ALIAS}: {target.key}"
    return _computed_item(
        name,
        f"recall {name}",
        lambda: warm(target.key, target.compute, **target.options),
        lambda: is_warm(target.key, target.compute, **target.options),
    )


def call_item(function: Callable[[], object], *, label: str, position: str) -> Item:
    """Return the item for a callable; ``position``: its index in what the warmer yields.

    A ``@cached`` function or a partial of one is computed and stored. Any other callable fills the
    cache itself, and its result is not used.
    """
    cached, arguments, keywords = cast("Any", function), (), {}
    if isinstance(function, partial):
        cached, arguments, keywords = function.func, function.args, function.keywords
    if isinstance(cached, Handles):
        return _computed_item(
            label,
            f"cached {cached.key(*arguments, **keywords)}",
            lambda: cached.warm(*arguments, **keywords),
            lambda: cached.is_warm(*arguments, **keywords),
        )

    def call() -> State:
        _call(function)
        return State.WARMED

    return Item(label=label, identity=f"call {position}", warm=call)


def static_item(name: str) -> Item:
    """Return the item for a static file; every process then finds its id in the shared cache."""

    def store() -> State:
        if not share(name):
            raise WarmingError(
                f"CACHES[{package_settings().ALIAS!r}] did not keep its id: it may be down or full,"
                " or the storage tells neither size nor time of its files"
            )
        return State.WARMED

    label = f"static: {name}"
    return Item(label=label, identity=label, warm=store, is_warm=lambda: is_shared(name))


def _computed_item(
    label: str, identity: str, compute: Callable[[], bool], is_fresh: Callable[[], bool]
) -> Item:
    """``compute`` tells whether this caller, and not another one, computed the value."""

    def store() -> State:
        is_ours = compute()
        _check_kept(
            is_fresh,
            "was computed, and is not in the cache: it may be down or full, or the value too"
            " large, or the timeout 0, or what it was made from changed meanwhile",
        )
        return State.WARMED if is_ours else State.ALREADY_WARM

    return Item(label=label, identity=identity, warm=store, is_warm=is_fresh)


def _check_kept(is_fresh: Callable[[], bool], reason: str) -> None:
    """Raise WarmingError if an item is not warm after warming.

    A cache that is down ignores writes; the run must not report "warmed" then.
    """
    if is_fresh():
        return
    time.sleep(REPLICA_PAUSE_SECONDS)
    if not is_fresh():
        raise WarmingError(reason)


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
