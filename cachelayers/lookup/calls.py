"""The public calls: recall, refresh, invalidate a key, warm, and their async forms.

`flow` yields the steps; this module runs them within a unit of work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypedDict, TypeVar, Unpack, overload

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.db.models import Model

from cachelayers.canonical import Unsaved, Unstable, canonical_form
from cachelayers.conf import package_settings
from cachelayers.durations import Duration
from cachelayers.invalidation import (
    Capture,
    Unit,
    add_instance,
    ensure_unit,
    is_draft,
    key_tag,
    log_database,
    refuse_draft,
    rows_in,
    unit_of_work,
    without_laziness,
    write_invalidations,
)
from cachelayers.lookup.flow import (
    State,
    compute_and_store,
    compute_with_lease,
    find,
    recall_steps,
    release_lease,
    take_lease,
)
from cachelayers.lookup.peeking import MISS, peek
from cachelayers.lookup.policy import UNSET, Policy, Timeout, Unset, make_policy
from cachelayers.lookup.steps import Steps
from cachelayers.utils.flows import arun_flow, run_flow
from cachelayers.utils.single_flight import begin_or_join, complete
from cachelayers.utils.switch import is_disabled

Value = TypeVar("Value")


class Options(TypedDict, total=False):
    """The options of every recall, for type checkers."""

    timeout: Timeout
    stale: Duration
    tags: Iterable[str]
    using: str | None
    capture: bool
    jitter: float
    refresh_ahead: float
    freshness: Duration | Unset


def recall(
    key: str,
    compute: Callable[[], Value],
    *,
    timeout: Timeout = UNSET,
    stale: Duration = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Value:
    """Return the value under ``key``, or compute and store it.

    ``timeout``: how long it is fresh, in seconds, as a timedelta, as "2h30m", or a function of the
    value that returns one of these; None: until something that it depends on changes. ``stale``:
    the time after that in which other callers still get it, while one caller computes it again.
    ``tags``: tags that invalidate() may name. ``using``: an alias of CACHES. With
    ``capture=False``, only its tags and its key invalidate it. ``jitter``: the part of the timeout
    by which it is shortened at random, so that entries do not end together. ``refresh_ahead``: the
    last part of the timeout, in which one caller computes it again and the others still get it.
    ``freshness``: for how long this process need not look again what other processes have changed;
    0: it looks in each unit of work. It always knows its own changes.

    Exceptions of ``compute`` are raised, and nothing is stored. Raises TypeError or ValueError for
    invalid arguments.
    """
    policy = make_policy(
        key, compute, timeout, stale, tags, using, capture, jitter, refresh_ahead, freshness
    )
    return recall_by(policy, compute)


def recall_by(policy: Policy, compute: Callable[[], Value]) -> Value:
    """Do recall() with a policy that was checked already."""
    value, stored = peek(policy.alias, policy.key, freshness=policy.freshness)
    if value is MISS:
        return recall_after_peeking(policy, compute, stored)
    found: Value = value
    return found


def recall_after_peeking(policy: Policy, compute: Callable[[], Value], stored: Any) -> Value:
    """Do recall() after peek() has returned ``stored``."""
    with ensure_unit() as unit:
        value: Value = run_flow(recall_steps(policy, compute, unit, stored))
        return value


@overload
async def arecall(
    key: str, compute: Callable[[], Awaitable[Value]], **options: Unpack[Options]
) -> Value: ...


@overload
async def arecall(key: str, compute: Callable[[], Value], **options: Unpack[Options]) -> Value: ...


async def arecall(
    key: str,
    compute: Callable[[], Any],
    *,
    timeout: Timeout = UNSET,
    stale: Duration = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Any:
    """Do recall() without blocking the event loop. ``compute`` may be async."""
    policy = make_policy(
        key, compute, timeout, stale, tags, using, capture, jitter, refresh_ahead, freshness
    )
    with ensure_unit() as unit:
        return await arun_flow(recall_steps(policy, compute, unit))


def refresh(key: str, compute: Callable[[], Value], **options: Unpack[Options]) -> Value:
    """Compute and store the value, without reading the cache. The arguments are recall()'s.

    It runs in its own unit of work, so that it reads the present data.
    """
    policy = policy_of(key, compute, options)
    with unit_of_work() as unit:
        value: Value = run_flow(compute_and_store(policy, compute, unit))
        return value


@overload
async def arefresh(
    key: str, compute: Callable[[], Awaitable[Value]], **options: Unpack[Options]
) -> Value: ...


@overload
async def arefresh(key: str, compute: Callable[[], Value], **options: Unpack[Options]) -> Value: ...


async def arefresh(key: str, compute: Callable[[], Any], **options: Unpack[Options]) -> Any:
    """Do refresh() without blocking the event loop. ``compute`` may be async."""
    policy = policy_of(key, compute, options)
    with unit_of_work() as unit:
        return await arun_flow(compute_and_store(policy, compute, unit))


def invalidate_key(key: str, using: str | None = None) -> None:
    """Make the entry under ``key`` invalid, in the caller's transaction."""
    invalidate_keys([key], using)


async def ainvalidate_key(key: str, using: str | None = None) -> None:
    """Do invalidate_key() in async code."""
    await sync_to_async(invalidate_key)(key, using)


def invalidate_keys(keys: Iterable[str], using: str | None = None) -> None:
    """Make the entries under keys invalid, in the caller's transaction."""
    alias = package_settings().ALIAS if using is None else using
    write_invalidations({log_database(): [key_tag(alias, key) for key in keys]})


async def ainvalidate_keys(keys: Iterable[str], using: str | None = None) -> None:
    """Do invalidate_keys() in async code."""
    await sync_to_async(invalidate_keys)(keys, using)


def warm(key: str, compute: Callable[[], Any], **options: Unpack[Options]) -> bool:
    """Compute and store an entry, or wait until another caller has. Return whether this one did.

    The arguments are recall()'s; ``compute`` may be async. It runs in its own unit of work.
    """
    policy = policy_of(key, compute, options)
    if is_disabled():
        return False
    with unit_of_work() as unit:
        steps = warm_steps(policy, compute, unit)
        # An async computation gets its own event loop.
        is_async = iscoroutinefunction(compute)
        return bool(async_to_sync(arun_flow)(steps) if is_async else run_flow(steps))


def is_warm(key: str, compute: Callable[[], Any], **options: Unpack[Options]) -> bool:
    """Return whether recall() with these arguments would find a fresh entry. Computes nothing."""
    policy = policy_of(key, compute, options)
    if is_disabled():
        return False
    with unit_of_work() as unit:
        return bool(run_flow(is_warm_steps(policy, unit)))


def policy_of(key: str, compute: Callable[[], Any], options: Options) -> Policy:
    """Check the options, as recall() does."""
    return make_policy(
        key,
        compute,
        options.get("timeout", UNSET),
        options.get("stale", 0),
        options.get("tags", ()),
        options.get("using"),
        options.get("capture", True),
        options.get("jitter", 0.0),
        options.get("refresh_ahead", 0.0),
        options.get("freshness", UNSET),
    )


def is_warm_steps(policy: Policy, unit: Unit) -> Steps:
    """Look for a fresh entry, if possible in a layer that outlives this process."""
    shared = getattr(policy.cache, "has_shared_layers", False)
    return (yield from find(policy, unit, shared=shared)).state is State.FRESH


def warm_steps(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute the value, unless another caller of this or another process is computing it."""
    flight, is_mine = begin_or_join(policy.name)
    if not is_mine:
        yield from recall_steps(policy, compute, unit)
        return False
    try:
        lease = yield from take_lease(policy)
        if lease is None:
            yield from compute_with_lease(policy, compute, unit, flight)
            return False
        try:
            yield from compute_and_store(policy, compute, unit, flight)
        finally:
            yield from release_lease(policy, lease)
        return True
    finally:
        complete(policy.name, flight)


def add_rows_of_argument(capture: Capture, argument: object) -> bool:
    """Add the rows in an argument. Return whether the rows and the canonical form say all of it."""
    argument = without_laziness(argument)
    if isinstance(argument, Model):
        return add_instance(capture, argument)
    try:
        canonical_form(argument)
    except Unsaved:
        refuse_draft([capture])
        return False
    except (Unstable, RecursionError):
        return False  # its dependencies are unknown
    are_clear = [add_instance(capture, row) for row in rows_in(argument)]
    return all(are_clear)


def holds_draft(argument: object) -> bool:
    """Return whether an argument is, or holds, an instance that was not read from a database."""
    argument = without_laziness(argument)
    if isinstance(argument, Model):
        return is_draft(argument)
    try:
        canonical_form(argument)
    except Unsaved:
        return True
    except (Unstable, RecursionError):
        pass
    return False
