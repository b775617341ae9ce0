"""Compute an entry ahead of its readers, whatever the cache holds. Called by warmers.

Not as refresh() does: only one caller in all processes computes, and readers who miss the entry
meanwhile wait for it, so that warming raises no stampede.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from asgiref.sync import async_to_sync, iscoroutinefunction

from cachelayers.flights import begin_or_join, land
from cachelayers.flows import arun, run
from cachelayers.invalidation.units import Unit, unit_of_work
from cachelayers.lookup.calls import Options
from cachelayers.lookup.flow import (
    Lease,
    State,
    compute_and_store,
    compute_with_lease,
    find,
    give_back,
    recall_steps,
)
from cachelayers.lookup.policy import UNSET, Policy, make_policy
from cachelayers.lookup.steps import Steps, TakeLease


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
        return bool(run(look_steps(policy, unit)))


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


def look_steps(policy: Policy, unit: Unit) -> Steps:
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
            yield from give_back(policy, lease)
        return True
    finally:
        land(policy.name, flight)
