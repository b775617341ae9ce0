"""Get a value from a cache, or compute and store it; compute it ahead of its readers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypedDict, TypeVar, Unpack, overload

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.db.models import Model

from cachelayers.canonical import Unsaved, Unstable, canonical_form
from cachelayers.conf import package_settings
from cachelayers.invalidation.dependencies import (
    Capture,
    add_instance,
    is_draft,
    mistrust_draft,
    rows_in,
    without_laziness,
)
from cachelayers.invalidation.invalidate import write_invalidations
from cachelayers.invalidation.tags import key_tag
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.units import Unit, some_unit, unit_of_work
from cachelayers.lookup.flow import (
    Lease,
    State,
    compute_and_store,
    compute_with_lease,
    find,
    recall_steps,
    release_lease,
)
from cachelayers.lookup.peeking import MISS, peek
from cachelayers.lookup.policy import UNSET, Policy, Timeout, make_policy
from cachelayers.lookup.steps import Steps, TakeLease
from cachelayers.utils.flows import arun, run
from cachelayers.utils.single_flight import begin_or_join, complete

Value = TypeVar("Value")


class Options(TypedDict, total=False):
    """What every recall may be given; for type checkers."""

    timeout: Timeout
    stale: float
    tags: Iterable[str]
    using: str | None
    capture: bool


def recall(
    key: str,
    compute: Callable[[], Value],
    *,
    timeout: Timeout = UNSET,
    stale: float = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
) -> Value:
    """Return the value under ``key``, or compute and store it.

    ``timeout``: seconds for which it is fresh; None: as long as nothing that it was made from
    changes. ``stale``: seconds after that in which it is still served to others while the caller
    that found it so computes it anew. ``tags``: words that invalidate() may name. ``using``: an
    alias of CACHES. With ``capture=False`` only its words and its key invalidate it.

    What ``compute`` raises is raised here, and nothing is stored. Raises TypeError or ValueError
    for arguments that mean nothing.
    """
    return recall_by(make_policy(key, compute, timeout, stale, tags, using, capture), compute)


def recall_by(policy: Policy, compute: Callable[[], Value]) -> Value:
    """Do as recall() does, with a policy that was made and checked already."""
    value, stored = peek(policy.alias, policy.key)
    if value is MISS:
        return recall_after_peeking(policy, compute, stored)
    found: Value = value
    return found


def recall_after_peeking(policy: Policy, compute: Callable[[], Value], stored: Any) -> Value:
    """Do as recall() does where a look into the cache has found nothing of use but ``stored``."""
    with some_unit() as unit:
        value: Value = run(recall_steps(policy, compute, unit, stored))
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
    stale: float = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
) -> Any:
    """Do as recall() does, without blocking the event loop; ``compute`` may be async."""
    policy = make_policy(key, compute, timeout, stale, tags, using, capture)
    with some_unit() as unit:
        return await arun(recall_steps(policy, compute, unit))


def refresh(
    key: str,
    compute: Callable[[], Value],
    *,
    timeout: Timeout = UNSET,
    stale: float = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
) -> Value:
    """Compute and store, whatever the cache holds; the arguments are recall()'s.

    In a unit of its own: what it reads is what is there now.
    """
    policy = make_policy(key, compute, timeout, stale, tags, using, capture)
    with unit_of_work() as unit:
        value: Value = run(compute_and_store(policy, compute, unit))
        return value


@overload
async def arefresh(
    key: str, compute: Callable[[], Awaitable[Value]], **options: Unpack[Options]
) -> Value: ...


@overload
async def arefresh(key: str, compute: Callable[[], Value], **options: Unpack[Options]) -> Value: ...


async def arefresh(
    key: str,
    compute: Callable[[], Any],
    *,
    timeout: Timeout = UNSET,
    stale: float = 0,
    tags: Iterable[str] = (),
    using: str | None = None,
    capture: bool = True,
) -> Any:
    """Do as refresh() does, without blocking the event loop; ``compute`` may be async."""
    policy = make_policy(key, compute, timeout, stale, tags, using, capture)
    with unit_of_work() as unit:
        return await arun(compute_and_store(policy, compute, unit))


def invalidate_key(key: str, using: str | None = None) -> None:
    """Make the entry under ``key`` invalid, in the caller's transaction."""
    alias = package_settings().ALIAS if using is None else using
    write_invalidations({log_database(): [key_tag(alias, key)]})


async def ainvalidate_key(key: str, using: str | None = None) -> None:
    """Do as invalidate_key() does, in async code."""
    await sync_to_async(invalidate_key)(key, using)


def warm(key: str, compute: Callable[[], Any], **options: Unpack[Options]) -> bool:
    """Compute and store an entry, or wait until another caller has; tell whether it was this one.

    The arguments are recall()'s; ``compute`` may be async. In a unit of work of its own.
    """
    policy = policy_of(key, compute, options)
    with unit_of_work() as unit:
        steps = warm_steps(policy, compute, unit)
        # On an event loop of its own, where the compute needs one.
        is_async = iscoroutinefunction(compute)
        return bool(async_to_sync(arun)(steps) if is_async else run(steps))


def is_warm(key: str, compute: Callable[[], Any], **options: Unpack[Options]) -> bool:
    """Tell whether recall() with these arguments would find a fresh entry. Computes nothing."""
    policy = policy_of(key, compute, options)
    with unit_of_work() as unit:
        return bool(run(is_warm_steps(policy, unit)))


def policy_of(key: str, compute: Callable[[], Any], options: Options) -> Policy:
    """Check what was given, as recall() does."""
    return make_policy(
        key,
        compute,
        options.get("timeout", UNSET),
        options.get("stale", 0),
        options.get("tags", ()),
        options.get("using"),
        options.get("capture", True),
    )


def is_warm_steps(policy: Policy, unit: Unit) -> Steps:
    """Look for a fresh entry that outlives this process, where one can."""
    shared = getattr(policy.cache, "has_shared_layers", False)
    return (yield from find(policy, unit, shared=shared)).state is State.FRESH


def warm_steps(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute, unless another caller of this or another process does so just now."""
    flight, is_mine = begin_or_join(policy.name)
    if not is_mine:
        yield from recall_steps(policy, compute, unit)
        return False
    try:
        lease = Lease()
        if not (yield TakeLease(policy, lease.token, lease.seconds)):
            yield from compute_with_lease(policy, compute, unit, flight)
            return False
        try:
            yield from compute_and_store(policy, compute, unit, flight)
        finally:
            yield from release_lease(policy, lease)
        return True
    finally:
        complete(policy.name, flight)


def add_rows_of_argument(capture: Capture, given: object) -> bool:
    """Depend on the rows in an argument. Tell whether these, and its spelling, say all of it."""
    given = without_laziness(given)
    if isinstance(given, Model):
        return add_instance(capture, given)
    try:
        canonical_form(given)
    except Unsaved:
        mistrust_draft([capture])
        return False
    except (Unstable, RecursionError):
        return False  # nobody knows what it is made of
    are_clear = [add_instance(capture, row) for row in rows_in(given)]
    return all(are_clear)


def holds_draft(given: object) -> bool:
    """Tell whether an argument is, or holds, a row that was not read from a database."""
    given = without_laziness(given)
    if isinstance(given, Model):
        return is_draft(given)
    try:
        canonical_form(given)
    except Unsaved:
        return True
    except (Unstable, RecursionError):
        pass
    return False
