"""Recall many entries at once, with one bulk read and one bulk write.

Lists of fragments and recall_many() use it. For other callers the batch is one computation: one
caller computes all missing entries, under a single lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from math import inf
from typing import Any

from asgiref.sync import sync_to_async

from cachelayers.backends import cache_errors, raise_if_callers, report_unreadable
from cachelayers.conf import package_settings
from cachelayers.entries import Envelope, pack_envelope
from cachelayers.invalidation import Unit, current_unit, ensure_unit
from cachelayers.lookup.flow import (
    MISSING,
    Found,
    Lease,
    State,
    compute_untracked,
    find,
    make_entry,
    release_lease,
    take_lease,
    wait_for_lease,
)
from cachelayers.lookup.groups import (
    ComputeMany,
    Made,
    Recalls,
    compute_uncached,
    make_entries,
)
from cachelayers.lookup.observing import note_found, note_peeked
from cachelayers.lookup.peeking import MISS, NOT_READ, freshness_here, valid_value
from cachelayers.lookup.policy import Policy, has_lost_transaction, report, report_failed_refresh
from cachelayers.lookup.steps import AwaitFlight, Steps, StoreStep
from cachelayers.utils.captures import own_read
from cachelayers.utils.flows import run_flow
from cachelayers.utils.freshness import knowledge_may_be_old
from cachelayers.utils.locks import cache_of
from cachelayers.utils.single_flight import begin_or_join, complete
from cachelayers.utils.switch import is_disabled
from cachelayers.utils.tracing import (
    TracedRecall,
    active_traces,
    begin_recall,
    note_layer,
    pop_layer,
    within_recall,
)


@dataclass(slots=True)
class Requested:
    """One entry of a batch. All entries of a batch have the same cache and the same timeout."""

    policy: Policy
    compute: Callable[..., Any]
    stored: Any = NOT_READ  # what an earlier read returned
    traced: TracedRecall | None = None  # if it is traced
    # Whether all missing values of the batch are computed by one call, which gets their keys.
    together: bool = False


def peek_many(
    alias: str, keys: Sequence[str], *, is_shown_only: bool = True, freshness: float = 0.0
) -> list[tuple[Any, Any]]:
    """Do peek() for many keys, in one bulk read."""
    unit = current_unit()
    if unit is None or unit.is_outdated or unit.is_dirty():
        return [(MISS, NOT_READ)] * len(keys)
    freshness = freshness and freshness_here(unit, freshness)
    with knowledge_may_be_old(freshness):
        stored = read_many(alias, keys)
    layer = pop_layer() if active_traces else ""
    found = []
    for key in keys:
        one = stored.get(key)
        value = valid_value(unit, one, is_shown_only=is_shown_only, freshness=freshness)
        if value is not MISS:
            note_layer(layer)
            note_peeked(alias, key, one)
        found.append((value, one))
    return found


def recall_many_after_peeking(requested: Sequence[Requested]) -> list[Any]:
    """Return the values of a batch. Compute and store together those that are missing."""
    with ensure_unit() as unit:
        found: list[Any] = run_flow(recall_steps(requested, unit))
        return found


def recall_steps(requested: Sequence[Requested], unit: Unit) -> Steps:
    """Get the values from the cache, or compute them."""
    if active_traces:
        requested = [
            replace(one, traced=begin_recall(one.policy.alias, one.policy.key)) for one in requested
        ]
    if requested[0].together and (unit.is_dirty() or is_disabled()):
        policies, compute, recalls = group_of(requested)
        off = is_disabled()
        return (yield from compute_uncached(policies, compute, unit, recalls, is_disabled=off))
    if unit.is_dirty():
        values = []
        for one in requested:
            value = yield from traced_as(one, compute_untracked(one.policy, one.compute, unit))
            values.append(value)
        return values
    found = yield from find_many(requested, unit)
    note_served(requested, [one if one.state is State.FRESH else MISSING for one in found], "fresh")
    values = [one.value for one in found]
    open_ones = [number for number, one in enumerate(found) if one.state is not State.FRESH]
    if open_ones:
        states = [found[number] for number in open_ones]
        made = yield from compute_batch([requested[number] for number in open_ones], states, unit)
        for number, value in zip(open_ones, made, strict=True):
            values[number] = value
    return values


def find_many(requested: Sequence[Requested], unit: Unit) -> Steps:
    """Find valid entries among those read before, and read the others in bulk."""
    unread = [one.policy.key for one in requested if one.stored is NOT_READ]
    first = requested[0].policy
    freshness = first.freshness and freshness_here(unit, first.freshness)
    stored = (yield ReadMany(first.alias, unread, freshness=freshness)) if unread else {}
    found = []
    for one in requested:
        entry = stored.get(one.policy.key) if one.stored is NOT_READ else one.stored
        found.append((yield from traced_as(one, find(one.policy, unit, stored=entry))))
    return found


def traced_as(one: Requested, steps: Steps) -> Steps:
    """Run steps as part of one entry's trace, if it is traced."""
    if one.traced is None:
        return (yield from steps)
    with within_recall(one.traced):
        return (yield from steps)


def note_served(requested: Sequence[Requested], found: Sequence[Found], outcome: str) -> None:
    """Count and trace the entries that are served. ``outcome``: that of the fresh ones."""
    for one, state in zip(requested, found, strict=True):
        if state.envelope is not None:
            with within_recall(one.traced):
                is_stale = state.state is State.STALE
                note_found(one.policy, state.envelope, "stale" if is_stale else outcome)


def compute_batch(requested: Sequence[Requested], found: Sequence[Found], unit: Unit) -> Steps:
    """Compute what is missing or stale, unless another caller is computing it.

    If nothing is missing, nobody waits: one caller refreshes, and the others get stale values.
    """
    batch = policy_of_batch(requested)
    may_wait = any(one.state is State.MISSING for one in found)
    flight, is_mine = begin_or_join(batch.name)
    if not is_mine:
        if may_wait:
            yield AwaitFlight(flight, package_settings().LEASE_SECONDS)
            found = yield from find_again(requested, found, unit)
        return (yield from compute_missing(requested, found, unit))
    try:
        lease = yield from take_lease(batch)
        if lease is None and may_wait:
            polled = requested[0].policy
            lease, _ = yield from wait_for_lease(batch, polled, unit, {State.FRESH})
        return (yield from compute_batch_with_lease(batch, requested, found, unit, lease))
    finally:
        complete(batch.name, flight)


def compute_batch_with_lease(
    batch: Policy,
    requested: Sequence[Requested],
    found: Sequence[Found],
    unit: Unit,
    lease: Lease | None,
) -> Steps:
    """Compute what is still missing or stale. Without the lease, only if something is missing.

    If all entries can be served stale and one cannot be computed, the lease is kept until it runs
    out, so that nobody tries again before.
    """
    may_wait = any(one.state is State.MISSING for one in found)
    failures: list[Exception] = []
    try:
        found = yield from find_again(requested, found, unit)
        if lease is None and not may_wait:
            note_served(requested, found, "fresh")
            return [one.value for one in found]
        return (yield from compute_and_store(requested, found, unit, failures))
    finally:
        if lease is not None and (may_wait or not failures):
            yield from release_lease(batch, lease)


def policy_of_batch(requested: Sequence[Requested]) -> Policy:
    """Return the policy under which a batch's lease and flight are named."""
    keys = "\0".join([one.policy.key for one in requested]).encode("utf-8", "surrogatepass")
    digest = blake2b(keys, digest_size=16).hexdigest()
    return replace(requested[0].policy, key=f"fragments:{digest}")


def find_again(requested: Sequence[Requested], found: Sequence[Found], unit: Unit) -> Steps:
    """Read again what others may have stored meanwhile, past the process's own memory."""
    keys = [one.policy.key for one in requested]
    stored = yield ReadMany(requested[0].policy.alias, keys, shared=True)
    now = []
    for one, before in zip(requested, found, strict=True):
        later = yield from traced_as(one, find(one.policy, unit, stored=stored.get(one.policy.key)))
        now.append(before if later.state is State.MISSING else later)
    return now


def compute_missing(requested: Sequence[Requested], found: Sequence[Found], unit: Unit) -> Steps:
    """After waiting, compute what is still missing, and serve the rest."""
    note_served(requested, found, "joined")
    values = [one.value for one in found]
    missing = [number for number, one in enumerate(found) if one.state is State.MISSING]
    if missing:
        made = yield from compute_and_store(
            [requested[number] for number in missing], [MISSING] * len(missing), unit, []
        )
        for number, value in zip(missing, made, strict=True):
            values[number] = value
    return values


def compute_and_store(
    requested: Sequence[Requested], found: Sequence[Found], unit: Unit, failures: list[Exception]
) -> Steps:
    """Compute one by one what is not fresh, and store it in one bulk write.

    ``failures`` collects the exceptions of entries that are served stale instead.
    """
    if requested[0].together:
        return (yield from compute_together(requested, found, unit, failures))
    values: list[Any] = []
    entries: dict[str, Envelope] = {}
    try:
        for one, before in zip(requested, found, strict=True):
            if before.state is State.FRESH:
                note_served([one], [before], "waited")
                values.append(before.value)
                continue
            try:
                steps = make_entry(one.policy, one.compute, unit)
                value, envelope = yield from traced_as(one, steps)
            except Exception as error:
                if before.state is State.MISSING or has_lost_transaction(error):
                    raise
                report_failed_refresh(one.policy, error)
                failures.append(error)
                note_served([one], [before], "stale")
                value, envelope = before.value, None
            values.append(value)
            if envelope is not None:
                entries[one.policy.key] = envelope
    finally:  # entries computed before a failure are valid
        if entries:
            yield StoreMany(requested[0].policy, entries, requested)
    return values


def compute_together(
    requested: Sequence[Requested], found: Sequence[Found], unit: Unit, failures: list[Exception]
) -> Steps:
    """Compute by one call what is not fresh, and store it."""
    values = [one.value for one in found]
    numbers = [number for number, one in enumerate(found) if one.state is not State.FRESH]
    fresh = [one if one.state is State.FRESH else MISSING for one in found]
    note_served(requested, fresh, "waited")
    if not numbers:
        return values
    open_ones = [requested[number] for number in numbers]
    policies, compute, recalls = group_of(open_ones)
    try:
        made = yield from make_entries(policies, compute, unit, recalls)
    except Exception as error:
        is_needed = any(found[number].state is State.MISSING for number in numbers)
        if is_needed or has_lost_transaction(error):
            raise
        report_failed_refresh(policies[0], error)
        failures.append(error)
        note_served(open_ones, [found[number] for number in numbers], "stale")
        return values
    for number, one in zip(numbers, made, strict=True):
        values[number] = one.value
    storable = [one for one in made if one.envelope is not None]
    # With a timeout that depends on the value, entries have different lifetimes.
    for _, some in groupby(sorted(storable, key=lifetime_of), key=lifetime_of):
        stored = list(some)
        entries = {one.policy.key: one.envelope for one in stored}
        yield StoreMany(stored[0].policy, entries, open_ones)
    return values


def lifetime_of(made: Made) -> float:
    """Return for how long a cache keeps an entry."""
    lifetime = made.policy.lifetime()
    return inf if lifetime is None else lifetime


def group_of(requested: Sequence[Requested]) -> tuple[list[Policy], ComputeMany, Recalls]:
    """Return the policies of a batch that is computed together, its function and its traces."""
    policies = [one.policy for one in requested]
    return policies, requested[0].compute, [one.traced for one in requested]


class StoreMany(StoreStep):
    """Store envelopes under their keys. ``requested``: at least those of these keys."""

    operation = "set_many"

    def __init__(
        self, policy: Policy, entries: dict[str, Envelope], requested: Sequence[Requested]
    ) -> None:
        packed = {key: pack_envelope(envelope) for key, envelope in entries.items()}
        super().__init__(policy, packed, timeout=policy.lifetime())
        if active_traces:
            self.traced = {
                id(packed[one.policy.key]): one.traced
                for one in requested
                if one.traced is not None and one.policy.key in packed
            }


class ReadMany:
    """Read what is stored under keys. ``shared``: past the memory of this process."""

    def __init__(
        self, alias: str, keys: Sequence[str], *, shared: bool = False, freshness: float = 0.0
    ) -> None:
        self.alias, self.keys, self.shared, self.freshness = alias, keys, shared, freshness

    def run(self) -> dict[str, Any]:
        with knowledge_may_be_old(self.freshness):
            return read_many(self.alias, self.keys, shared=self.shared)

    async def arun(self) -> dict[str, Any]:
        if self.shared:  # such reads follow a miss, and have no async form
            return await sync_to_async(self.run)()
        try:
            with own_read(), knowledge_may_be_old(self.freshness):
                found: dict[str, Any] = await cache_of(self.alias).aget_many(self.keys)
        except Exception:  # noqa: BLE001 - as in read_many(), which reports it
            return await sync_to_async(self.run)()
        return found


def read_many(alias: str, keys: Sequence[str], *, shared: bool = False) -> dict[str, Any]:
    """Return what is stored under keys. ``shared``: past the memory of this process."""
    cache = cache_of(alias)
    get = getattr(cache, "get_many_shared", cache.get_many) if shared else cache.get_many
    try:
        with own_read():
            found: dict[str, Any] = get(keys)
    except cache_errors() as error:
        report(alias, "get_many", error)
        return {}
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything: a miss
        raise_if_callers(error)
        report_unreadable(alias, error)
        return {} if len(keys) == 1 else read_singly(alias, keys, shared=shared)
    return found


def read_singly(alias: str, keys: Sequence[str], *, shared: bool) -> dict[str, Any]:
    """Read keys one by one, after one of several values could not be decoded."""
    found: dict[str, Any] = {}
    for key in keys:
        found.update(read_many(alias, [key], shared=shared))
    return found
