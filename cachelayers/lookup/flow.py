"""The flow of a recall, as steps. `calls` runs them; this module does no I/O itself.

A fresh entry is returned. For a stale one, one caller refreshes it and the others get it as it is.
For a missing or invalid one, one caller of each process asks for the lease, and one process
computes.

A refresh runs in the caller, not in a thread and not after the response: only there are the
language, the tenant and the database session's settings certainly right.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import uuid4

from cachelayers.conf import package_settings
from cachelayers.entries import Envelope, unpack_envelope
from cachelayers.invalidation import (
    USER_TAG,
    Capture,
    Unit,
    capturing,
    has_unrecorded_writes,
    listening_captures,
    log_of,
    remember_user_tags,
    warn_of_token_once,
    warn_of_unpicklable_once,
    with_routes,
)
from cachelayers.lookup.observing import (
    note_computed,
    note_disabled,
    note_found,
    note_invalid,
    note_missed,
)
from cachelayers.lookup.peeking import (
    NOT_READ,
    fix_earlier_positions,
    freshness_here,
    pass_on_dependencies,
)
from cachelayers.lookup.policy import Policy, has_lost_transaction, report_failed_refresh
from cachelayers.lookup.steps import (
    AwaitFlight,
    CheckDependency,
    Compute,
    DropLease,
    EvaluateLazyQuerysets,
    FixPosition,
    ReadEntry,
    ReadLease,
    Sleep,
    Steps,
    StoreEntry,
    TakeLease,
    dependencies_of,
    refuse_response,
)
from cachelayers.lookup.tokens import shows_token
from cachelayers.utils.single_flight import Flight, begin_or_join, complete
from cachelayers.utils.switch import is_disabled
from cachelayers.utils.tracing import active_traces, note_unkept, pop_layer, tracing_recall

FIRST_PAUSE_SECONDS = 0.005  # between two polls for an entry that another process computes
LONGEST_PAUSE_SECONDS = 0.05
# A lease that cannot be taken although nobody holds it: the cache is down and raises no error.
POLLS_WITHOUT_HOLDER = 3
ROUNDS = 3  # of waiting for other callers whose values are not valid for this one


class State(Enum):
    FRESH = auto()
    STALE = auto()
    MISSING = auto()  # or invalid, or past its stale time


class Found(NamedTuple):
    """What the cache holds for this caller."""

    state: State
    value: Any = None
    envelope: Envelope | None = None


MISSING = Found(State.MISSING)
OUTDATED = Found(State.MISSING, "what is there is not valid any more")


class Lease:
    """The right to compute, from the moment it is asked for."""

    def __init__(self) -> None:
        self.token = uuid4().hex
        self.seconds = package_settings().LEASE_SECONDS
        self._began = time.monotonic()

    def is_young(self) -> bool:
        """Return whether it cannot have run out yet: then nobody else has it."""
        return time.monotonic() - self._began < self.seconds / 2


def recall_steps(
    policy: Policy, compute: Callable[[], Any], unit: Unit, stored: Any = NOT_READ
) -> Steps:
    """Return the steps of a recall, traced if a trace is active.

    ``stored``: what an earlier read of the key returned.
    """
    steps = recall_value(policy, compute, unit, stored)
    return traced(policy, steps) if active_traces else steps


def traced(policy: Policy, steps: Steps) -> Steps:
    with tracing_recall(policy.alias, policy.key):
        return (yield from steps)


def recall_value(policy: Policy, compute: Callable[[], Any], unit: Unit, stored: Any) -> Steps:
    """Get the value from the cache, or compute it."""
    if is_disabled():
        return (yield from compute_alone(policy, compute, unit))
    if unit.is_dirty():
        # Others must not see what this transaction has written, and it must not read their entries.
        return (yield from compute_untracked(policy, compute, unit))
    found = yield from find(policy, unit, stored=stored)
    if found is OUTDATED:
        found = yield from find(policy, unit, shared=True)
    if found.envelope is not None and found.state is State.STALE:
        return (yield from refresh_or_serve(policy, compute, unit, found.envelope))
    if found.envelope is not None:
        note_found(policy, found.envelope, "fresh")
        return found.value
    return (yield from compute_once(policy, compute, unit))


def find(policy: Policy, unit: Unit, *, shared: bool = False, stored: Any = NOT_READ) -> Steps:
    """Look for a valid entry. One that is used passes its tags to the recall around this one."""
    envelope: Envelope | None
    freshness = policy.freshness and freshness_here(unit, policy.freshness)
    if stored is NOT_READ:
        if active_traces:
            pop_layer()
        envelope = yield ReadEntry(policy, shared=shared, freshness=freshness)
    else:
        envelope = unpack_envelope(stored)
    now = time.time()
    if envelope is None or envelope.is_dead(now):
        note_missed(envelope)
        return MISSING
    dependencies = dependencies_of(envelope)
    if dependencies is None or not (policy.accepts is None or policy.accepts(envelope.value)):
        return MISSING
    for dependency in dependencies:
        if not (yield CheckDependency(unit, dependency, freshness)):
            note_invalid(policy, dependency)
            return OUTDATED
    if freshness:
        fix_earlier_positions(unit, dependencies)
    pass_on_dependencies(unit, dependencies)
    state = State.FRESH if envelope.is_fresh(now) else State.STALE
    return Found(state, envelope.value, envelope)


def refresh_or_serve(
    policy: Policy, compute: Callable[[], Any], unit: Unit, stale: Envelope
) -> Steps:
    """Refresh a stale entry within this call, unless another caller does; otherwise serve it.

    If it cannot be computed, it is served stale and the lease is kept until it runs out, so that
    nobody tries again before.
    """
    lease = yield from take_lease(policy)
    if lease is None:
        note_found(policy, stale, "stale")
        return stale.value
    keeps_lease = False
    try:
        # Another caller may have refreshed it after this one read it.
        found = yield from find(policy, unit, shared=True)
        if found.envelope is not None and found.state is State.FRESH:
            note_found(policy, found.envelope, "waited")
            return found.value
        return (yield from compute_and_store(policy, compute, unit))
    except Exception as error:
        if has_lost_transaction(error):
            raise
        keeps_lease = True
        report_failed_refresh(policy, error)
        note_found(policy, stale, "stale")
        return stale.value
    finally:
        if not keeps_lease:
            yield from release_lease(policy, lease)


def compute_once(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute a missing entry, or wait for the caller of this process that computes it."""
    for _ in range(ROUNDS):
        flight, is_mine = begin_or_join(policy.name)
        if is_mine:
            try:
                return (yield from compute_with_lease(policy, compute, unit, flight))
            finally:
                complete(policy.name, flight)
        yield AwaitFlight(flight, package_settings().LEASE_SECONDS)
        found = yield from find(policy, unit, shared=True)
        if found.envelope is not None:
            note_found(policy, found.envelope, "joined")
            return found.value
        if not flight.is_stored:
            break  # it failed, or its value is not shared
    return (yield from compute_and_store(policy, compute, unit))


def compute_with_lease(
    policy: Policy, compute: Callable[[], Any], unit: Unit, flight: Flight
) -> Steps:
    """Compute a missing entry, unless another process does."""
    lease, found = (yield from take_lease(policy)), MISSING
    if lease is None:
        lease, found = yield from wait_for_lease(policy, policy, unit, {State.FRESH, State.STALE})
    try:
        if found.envelope is None:
            # Another caller may have stored it between the miss and the lease.
            found = yield from find(policy, unit, shared=True)
        if found.envelope is not None:
            flight.is_stored = True
            note_found(policy, found.envelope, "waited")
            return found.value
        return (yield from compute_and_store(policy, compute, unit, flight))
    finally:
        if lease is not None:
            yield from release_lease(policy, lease)


def take_lease(policy: Policy) -> Steps:
    """Return the lease, or None if another caller has it."""
    lease = Lease()
    return lease if (yield TakeLease(policy, lease.token, lease.seconds)) else None


def wait_for_lease(policy: Policy, polled: Policy, unit: Unit, enough: Collection[State]) -> Steps:
    """Wait until the lease is free, or another process has stored the entry ``polled``.

    Return the lease or None, and the entry if its state is ``enough``.
    """
    deadline = time.monotonic() + package_settings().LEASE_SECONDS
    pause, polls_without_holder, lease = FIRST_PAUSE_SECONDS, 0, None
    while lease is None and time.monotonic() < deadline:
        polls_without_holder = polls_without_holder + 1 if (yield ReadLease(policy)) is None else 0
        if polls_without_holder == POLLS_WITHOUT_HOLDER:
            break
        yield Sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        found = yield from find(polled, unit, shared=True)
        if found.state in enough:
            return None, found
        lease = yield from take_lease(policy)
    return lease, MISSING


def release_lease(policy: Policy, lease: Lease) -> Steps:
    """Delete the lease, if this caller still holds it: it may have run out."""
    if lease.is_young() or (yield ReadLease(policy)) == lease.token:
        yield DropLease(policy)


def compute_alone(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute without the cache and without the log, because caching is disabled here.

    A recall around this one may be enabled: it sees the reads itself, and gets the tags.
    """
    for capture in listening_captures():
        for database, tags in policy.dependencies():
            capture.note_tags(database, tags)
    note_disabled()
    began = time.perf_counter()
    value = yield Compute(compute)
    refuse_response(f"recall({policy.key!r})", value)
    nothing = Capture(unit, collects=False)
    note_computed(policy, value, nothing, time.perf_counter() - began, is_storable=False)
    return value


def compute_untracked(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute without storing. Recalls around this one get the same dependencies."""
    capture = Capture(unit, collects=policy.collects)
    note_unkept("written")
    began = time.perf_counter()
    with capturing(capture):
        value = yield Compute(compute)
    refuse_response(f"recall({policy.key!r})", value)  # most tests come this way too
    note_computed(policy, value, capture, time.perf_counter() - began, is_storable=False)
    return value


def compute_and_store(
    policy: Policy, compute: Callable[[], Any], unit: Unit, flight: Flight | None = None
) -> Steps:
    """Compute the value, and store it with its dependencies."""
    if is_disabled():
        return (yield from compute_alone(policy, compute, unit))
    value, envelope = yield from make_entry(policy, compute, unit)
    if envelope is not None:
        is_stored = yield StoreEntry(policy, envelope)
        if flight is not None:
            flight.is_stored = is_stored
    return value


def make_entry(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute the value. Return it with its entry, or with None if it must not be stored."""
    freshness = policy.freshness and freshness_here(unit, policy.freshness)
    capture = Capture(unit, collects=policy.collects, freshness=freshness)
    for database, tags in policy.dependencies():
        if (yield FixPosition(unit, database)):
            capture.add(database, unit.position(database), tags)
        else:
            capture.is_unstorable = True
    began, clock = time.time(), time.perf_counter()
    with capturing(capture):
        value = yield Compute(compute)
        unpicklable = yield EvaluateLazyQuerysets(policy, value)
        if unpicklable is not None:  # a value made of it may be storable
            warn_of_unpicklable_once(policy.key, unpicklable)
        # A fragment searches for all kinds of secrets itself.
        if policy.accepts is None and shows_token(value, unit.request):
            capture.is_unstorable = True
            warn_of_token_once()
    seconds = time.perf_counter() - clock
    envelope = None
    policy = policy.of_value(value)
    if unpicklable is None and is_worth_storing(policy, capture, unit):
        if policy.user_tags:
            remember_user_tags(tag.removeprefix(USER_TAG) for tag in policy.user_tags)
        envelope = make_envelope(policy, value, capture, began, seconds)
    note_computed(policy, value, capture, seconds, is_storable=envelope is not None)
    return value, envelope


def is_worth_storing(policy: Policy, capture: Capture, unit: Unit) -> bool:
    """Return whether the computed value may be shared and can be found again."""
    if reason := reason_against_storing(policy, capture, unit):
        note_unkept(reason)
    return not reason


def reason_against_storing(policy: Policy, capture: Capture, unit: Unit) -> str:
    """Return why the computed value must not be stored, as the panel knows it; "": it may be."""
    if capture.is_unstorable:
        return "unstorable"
    if policy.timeout == 0:
        return "timeout"
    if unit.is_dirty():
        return "written"
    if capture.asks_clock and policy.timeout is None:
        return "clock"
    dependencies = capture.dependencies()
    if any(log_of(one.database).is_invalidated(one) for one in dependencies):
        return "changed"
    return "written" if has_unrecorded_writes(one.database for one in dependencies) else ""


def make_envelope(
    policy: Policy, value: Any, capture: Capture, began: float, seconds: float
) -> Envelope:
    """Return the entry. Its timeout counts from the start of the computation."""
    fresh_until, dead_until = policy.times_of(began)
    dependencies = with_routes(capture.dependencies())
    return Envelope(value, fresh_until, dead_until, dependencies, began, seconds)
