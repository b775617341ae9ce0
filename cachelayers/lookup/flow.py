"""The flow of a recall, as steps: fresh, stale, missing. Carried out by recall; does no I/O itself.

Fresh: return it. Stale: one caller refreshes it, and everybody else gets it at once. Missing or
invalid: one caller of each process asks for the lease, and one process computes.

A refresh runs where its caller stands, not in a thread and not after the response: only there are
the language, the tenant and the settings of the database session known to be right.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import uuid4

from cachelayers.conf import package_settings
from cachelayers.entries import Envelope, unpack_envelope
from cachelayers.invalidation.dependencies import Capture, capturing
from cachelayers.invalidation.execute_wrapper import has_unrecorded_writes
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.reports import warn_of_token_once
from cachelayers.invalidation.routes import with_routes
from cachelayers.invalidation.tags import USER_TAG, remember_user_tags
from cachelayers.invalidation.units import Unit
from cachelayers.lookup.observing import note_computed, note_found, note_invalid, note_missed
from cachelayers.lookup.peeking import NOT_READ, pass_on_dependencies
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
from cachelayers.utils.tracing import active_traces, pop_layer, tracing_recall

FIRST_PAUSE_SECONDS = 0.005  # between two looks whether another process has stored the entry
LONGEST_PAUSE_SECONDS = 0.05
# A lease that cannot be had and that nobody has: a cache that is down and says so to nobody.
POLLS_WITHOUT_HOLDER = 3
ROUNDS = 3  # of waiting for others whose values are not valid for this caller


class State(Enum):
    """How an entry was found."""

    FRESH = auto()
    STALE = auto()
    MISSING = auto()  # or invalid, or dead


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
        """Begin now."""
        self.token = uuid4().hex
        self.seconds = package_settings().LEASE_SECONDS
        self._began = time.monotonic()

    def is_young(self) -> bool:
        """Tell whether it cannot have run out yet: then nobody else has it."""
        return time.monotonic() - self._began < self.seconds / 2


def recall_steps(
    policy: Policy, compute: Callable[[], Any], unit: Unit, stored: Any = NOT_READ
) -> Steps:
    """Return the flow of a recall, followed where somebody follows.

    ``stored``: what was read in its place before.
    """
    steps = recall_value(policy, compute, unit, stored)
    return traced(policy, steps) if active_traces else steps


def traced(policy: Policy, steps: Steps) -> Steps:
    """Trace a flow."""
    with tracing_recall(policy.alias, policy.key):
        return (yield from steps)


def recall_value(policy: Policy, compute: Callable[[], Any], unit: Unit, stored: Any) -> Steps:
    """Get the value, from the cache or by computing it."""
    if unit.is_dirty():
        # Others may not see what this transaction has written, and it is not to see what they do.
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
    """Look for a valid entry; one that is used hands its tags to the recall around this one."""
    envelope: Envelope | None
    if stored is NOT_READ:
        if active_traces:
            pop_layer()
        envelope = yield ReadEntry(policy, shared=shared)
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
        if not (yield CheckDependency(unit, dependency)):
            note_invalid(policy, dependency)
            return OUTDATED
    pass_on_dependencies(unit, dependencies)
    state = State.FRESH if envelope.is_fresh(now) else State.STALE
    return Found(state, envelope.value, envelope)


def refresh_or_serve(
    policy: Policy, compute: Callable[[], Any], unit: Unit, stale: Envelope
) -> Steps:
    """Refresh a stale entry in the caller's own time, if nobody else does; else serve it stale.

    One that cannot be computed is served stale too, and keeps its lease: nobody tries again before
    that runs out.
    """
    lease = Lease()
    if not (yield TakeLease(policy, lease.token, lease.seconds)):
        note_found(policy, stale, "stale")
        return stale.value
    keeps_lease = False
    try:
        # Somebody may have refreshed it between the caller's look at it and the lease.
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
    """Compute a missing entry, or wait for the one caller of this process that does."""
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
            break  # it failed, or may not be shared: no use to queue up behind the next one
    return (yield from compute_and_store(policy, compute, unit))


def compute_with_lease(
    policy: Policy, compute: Callable[[], Any], unit: Unit, flight: Flight
) -> Steps:
    """Compute a missing entry, unless another process does."""
    lease = Lease()
    deadline = time.monotonic() + lease.seconds
    pause = FIRST_PAUSE_SECONDS
    has_lease = yield TakeLease(policy, lease.token, lease.seconds)
    polls_without_holder = 0
    while not has_lease and time.monotonic() < deadline:
        polls_without_holder = polls_without_holder + 1 if (yield ReadLease(policy)) is None else 0
        if polls_without_holder == POLLS_WITHOUT_HOLDER:
            break
        yield Sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        found = yield from find(policy, unit, shared=True)
        if found.envelope is not None:
            flight.is_stored = True
            note_found(policy, found.envelope, "waited")
            return found.value
        lease = Lease()
        has_lease = yield TakeLease(policy, lease.token, lease.seconds)
    try:
        # Somebody may have stored it between the miss and the lease.
        found = yield from find(policy, unit, shared=True)
        if found.envelope is not None:
            flight.is_stored = True
            note_found(policy, found.envelope, "waited")
            return found.value
        return (yield from compute_and_store(policy, compute, unit, flight))
    finally:
        if has_lease:
            yield from release_lease(policy, lease)


def release_lease(policy: Policy, lease: Lease) -> Steps:
    """Drop the lease, if it is still this caller's: it may have run out meanwhile."""
    if lease.is_young() or (yield ReadLease(policy)) == lease.token:
        yield DropLease(policy)


def compute_untracked(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute without storing; what is around it depends on the same."""
    capture = Capture(unit, collects=policy.collects)
    began = time.perf_counter()
    with capturing(capture):
        value = yield Compute(compute)
    refuse_response(f"recall({policy.key!r})", value)  # in tests too, which mostly come this way
    note_computed(policy, capture, time.perf_counter() - began, is_storable=False)
    return value


def compute_and_store(
    policy: Policy, compute: Callable[[], Any], unit: Unit, flight: Flight | None = None
) -> Steps:
    """Compute the value, and store it with what it was made of."""
    value, envelope = yield from make_entry(policy, compute, unit)
    if envelope is not None:
        is_stored = yield StoreEntry(policy, envelope)
        if flight is not None:
            flight.is_stored = is_stored
    return value


def make_entry(policy: Policy, compute: Callable[[], Any], unit: Unit) -> Steps:
    """Compute the value; return it with its entry, or None where that is not worth storing."""
    capture = Capture(unit, collects=policy.collects)
    for database, tags in policy.dependencies():
        if (yield FixPosition(unit, database)):
            capture.add(database, unit.position(database), tags)
        else:
            capture.is_unstorable = True
    began, clock = time.time(), time.perf_counter()
    with capturing(capture):
        value = yield Compute(compute)
        yield EvaluateLazyQuerysets(policy, value)
        # A fragment looks for all kinds of secrets itself.
        if policy.accepts is None and shows_token(value, unit.request):
            capture.is_unstorable = True
            warn_of_token_once()
    seconds = time.perf_counter() - clock
    envelope = None
    if is_worth_storing(policy, capture, unit):
        if policy.user_tags:
            remember_user_tags(tag.removeprefix(USER_TAG) for tag in policy.user_tags)
        envelope = make_envelope(policy, value, capture, began, seconds)
    note_computed(policy, capture, seconds, is_storable=envelope is not None)
    return value, envelope


def is_worth_storing(policy: Policy, capture: Capture, unit: Unit) -> bool:
    """Tell whether anybody may, and can, use the value that was computed."""
    if capture.is_unstorable or policy.timeout == 0 or unit.is_dirty():
        return False
    if capture.asks_clock and policy.timeout is None:
        return False
    dependencies = capture.dependencies()
    if any(log_of(one.database).is_overtaken(one) for one in dependencies):
        return False
    return not has_unrecorded_writes(one.database for one in dependencies)


def make_envelope(
    policy: Policy, value: Any, capture: Capture, began: float, seconds: float
) -> Envelope:
    """Return the entry. Its time runs from when it began to be made: its data may be as old."""
    fresh_until = None if policy.timeout is None else began + policy.timeout
    dead_until = None if fresh_until is None else fresh_until + policy.stale
    dependencies = with_routes(capture.dependencies())
    return Envelope(value, fresh_until, dead_until, dependencies, began, seconds)
