"""Compute several values in one call of a function, and make an entry of each.

Everything that the call has read belongs to each value. `batches` decides what is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple

from cachelayers.entries import Envelope
from cachelayers.invalidation import (
    USER_TAG,
    Capture,
    Unit,
    capturing,
    listening_captures,
    remember_user_tags,
    warn_of_token_once,
    warn_of_unpicklable_once,
)
from cachelayers.lookup.flow import is_worth_storing, make_envelope
from cachelayers.lookup.observing import note_computed, note_disabled
from cachelayers.lookup.peeking import freshness_here
from cachelayers.lookup.policy import Policy
from cachelayers.lookup.steps import (
    Compute,
    EvaluateLazyQuerysets,
    FixPosition,
    Steps,
    refuse_response,
)
from cachelayers.lookup.tokens import shows_token
from cachelayers.utils.tracing import TracedRecall, within_recall

# Gets keys and returns the value of each, or of some.
ComputeMany = Callable[[list[str]], Any]


class Absent(Enum):
    """An enumeration with one member, for type checkers."""

    ABSENT = auto()


ABSENT: Final = Absent.ABSENT  # in the place of a value that the function did not return


class Made(NamedTuple):
    """A computed value, with its entry if it is to be stored."""

    value: Any
    envelope: Envelope | None
    policy: Policy


Recalls = Sequence[TracedRecall | None]  # of each policy, if it is traced


def make_entries(
    policies: Sequence[Policy], compute: ComputeMany, unit: Unit, recalls: Recalls
) -> Steps:
    """Compute the values of all policies together. Return a list of Made."""
    captures: list[Capture] = []
    for policy in policies:
        capture = yield from capture_of(policy, unit)
        captures.append(capture)
    first = policies[0]
    freshness = first.freshness and freshness_here(unit, first.freshness)
    together = Capture(unit, collects=first.collects, freshness=freshness)
    began, clock = time.time(), time.perf_counter()
    with capturing(together):
        values = yield from compute_values(policies, compute)
        can_store = []
        for policy, capture, value in zip(policies, captures, values, strict=True):
            can_store.append((yield from check_value(policy, capture, value)))
        read = together.dependencies()
        for capture in captures:  # recalls around this one depend on every value
            together.is_unstorable |= capture.is_unstorable
            for one in capture.dependencies():
                together.add(one.database, unit.position(one.database), one.tags)
    seconds = (time.perf_counter() - clock) / len(policies)
    made = []
    for policy, capture, value, is_storable, recall in zip(
        policies, captures, values, can_store, recalls, strict=True
    ):
        capture.is_unstorable |= together.is_unstorable or not is_storable
        for one in read:
            capture.add_dependency(one)
        with within_recall(recall):
            made.append(entry_of(policy, value, capture, began, seconds))
    return made


def capture_of(policy: Policy, unit: Unit) -> Steps:
    """Return a capture with the tags that an entry has whatever is read."""
    capture = Capture(unit)
    for database, tags in policy.dependencies():
        if (yield FixPosition(unit, database)):
            capture.add(database, unit.position(database), tags)
        else:
            capture.is_unstorable = True
    return capture


def check_value(policy: Policy, capture: Capture, value: Any) -> Steps:
    """Evaluate a value. Return whether it can be stored."""
    if value is ABSENT:
        return False
    unpicklable = yield EvaluateLazyQuerysets(policy, value)
    if unpicklable is not None:
        warn_of_unpicklable_once(policy.key, unpicklable)
    elif shows_token(value, capture.unit.request):
        capture.is_unstorable = True
        warn_of_token_once()
    return unpicklable is None


def entry_of(policy: Policy, value: Any, capture: Capture, began: float, seconds: float) -> Made:
    """Return a value with its entry, or without one if it must not be stored."""
    if value is ABSENT:
        return Made(value, None, policy)
    policy = policy.of_value(value)
    envelope = None
    if is_worth_storing(policy, capture, capture.unit):
        remember_user_tags(tag.removeprefix(USER_TAG) for tag in policy.user_tags)
        envelope = make_envelope(policy, value, capture, began, seconds)
    note_computed(policy, value, capture, seconds, is_storable=envelope is not None)
    return Made(value, envelope, policy)


def compute_values(policies: Sequence[Policy], compute: ComputeMany) -> Steps:
    """Call the function with the keys, and return the values in their order."""
    keys = [policy.key for policy in policies]
    found = yield Compute(partial(compute, keys))
    if not isinstance(found, Mapping):
        raise TypeError(
            f"{name_of(compute)} returned {found!r:.100} ({type(found).__name__}). It must return a"
            " dict: the value of each key that it was given."
        )
    if unknown := found.keys() - set(keys):
        raise ValueError(
            f"{name_of(compute)} returned the key {min(unknown, key=repr)!r}, which it was not"
            f" given. It was given {keys[:5]!r}; 1 and '1' are different keys."
        )
    values = [found.get(key, ABSENT) for key in keys]
    for key, value in zip(keys, values, strict=True):
        refuse_response(f"recall_many({key!r})", value)
    return values


def name_of(compute: Any) -> str:
    """Return how messages call a function."""
    return f"{getattr(compute, '__qualname__', repr(compute))}()"


def compute_uncached(
    policies: Sequence[Policy],
    compute: ComputeMany,
    unit: Unit,
    recalls: Recalls,
    *,
    is_disabled: bool,
) -> Steps:
    """Compute without storing. Recalls around this one get the dependencies."""
    capture = Capture(unit, collects=policies[0].collects and not is_disabled)
    note_tags_of(policies, listening_captures() if is_disabled else ())
    clock = time.perf_counter()
    if is_disabled:  # recalls around this one may be enabled: they see the reads themselves
        values = yield from compute_values(policies, compute)
    else:
        with capturing(capture):
            values = yield from compute_values(policies, compute)
    seconds = (time.perf_counter() - clock) / len(policies)
    for policy, value, recall in zip(policies, values, recalls, strict=True):
        with within_recall(recall):
            if is_disabled:
                note_disabled()
            note_computed(policy, value, capture, seconds, is_storable=False)
    return values


def note_tags_of(policies: Iterable[Policy], captures: Iterable[Capture]) -> None:
    """Add the tags that do not depend on reads to captures."""
    for capture in captures:
        for policy in policies:
            for database, tags in policy.dependencies():
                capture.note_tags(database, tags)
