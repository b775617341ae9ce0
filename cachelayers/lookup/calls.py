"""Get a value from a cache, or compute and store it. The top of the room: a table of contents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypedDict, TypeVar, Unpack, overload

from asgiref.sync import sync_to_async

from cachelayers.conf import package_settings
from cachelayers.flows import arun, run
from cachelayers.invalidation.invalidate import write_invalidations
from cachelayers.invalidation.tags import key_tag
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.units import some_unit, unit_of_work
from cachelayers.lookup.flow import compute_and_store, recall_steps
from cachelayers.lookup.peeking import MISS, peek
from cachelayers.lookup.policy import UNSET, Policy, Timeout, make_policy

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
