"""Put a value into an envelope, with its times and dependencies.

An envelope consists of lists, strings and numbers, so that every cache that can hold the value can
hold the envelope, also one that serialises with JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORMAT = "cachelayers:1"
LENGTH = 7
ENVELOPE_TYPES = (list, tuple)  # as packed, and as the memory cache holds it
SECONDS = 6  # index of the computation's seconds


@dataclass(frozen=True, slots=True)
class Envelope:
    """A stored value. Times are seconds since 1970; None: no end."""

    value: Any
    fresh_until: float | None
    dead_until: float | None
    # Each one: [database, incarnation, position, [tag, ...]].
    dependencies: Sequence[Sequence[Any]]
    created: float = 0.0
    seconds: float = 0.0  # of the computation

    def is_fresh(self, now: float) -> bool:
        """Return whether it may be served, if it is valid."""
        return self.fresh_until is None or now < self.fresh_until

    def is_dead(self, now: float) -> bool:
        """Return whether it may no longer be served while one caller refreshes it."""
        return self.dead_until is not None and now >= self.dead_until


def pack_envelope(envelope: Envelope) -> list[Any]:
    """Return the list that is stored in the cache."""
    return [
        FORMAT,
        envelope.value,
        envelope.fresh_until,
        envelope.dead_until,
        [[*dependency[:3], list(dependency[3])] for dependency in envelope.dependencies],
        envelope.created,
        envelope.seconds,
    ]


def pack_as_tuples(stored: Any) -> Any:
    """Return a stored envelope as tuples, which nobody can change; anything else unchanged."""
    if not is_well_formed(stored):
        return stored
    *head, dependencies, created, seconds = stored
    return (*head, tuple((*one[:3], tuple(one[3])) for one in dependencies), created, seconds)


def unpack_envelope(stored: Any) -> Envelope | None:
    """Return the envelope, or None for anything else, such as a plain value under the same key."""
    return Envelope(*stored[1:]) if is_well_formed(stored) else None


def is_envelope(stored: Any) -> bool:
    """Return whether a value from a cache is an envelope.

    Exact types are compared first: a user's object may answer a comparison with anything.
    """
    return (
        type(stored) in ENVELOPE_TYPES
        and len(stored) == LENGTH
        and type(stored[0]) is str
        and stored[0] == FORMAT
    )


def is_well_formed(stored: Any) -> bool:
    """Return whether a value is an envelope whose fields have the right types."""
    if not is_envelope(stored):
        return False
    _, _, fresh_until, dead_until, dependencies, created, seconds = stored
    return (
        is_time(fresh_until)
        and is_time(dead_until)
        and is_time(created)
        and is_time(seconds)
        and isinstance(dependencies, (list, tuple))
        and all(map(is_dependency, dependencies))
    )


def is_time(value: Any) -> bool:
    """Return whether a value is a time or None."""
    return value is None or isinstance(value, (int, float))


def is_dependency(value: Any) -> bool:
    """Return whether a value is a dependency: database, incarnation, position, tags."""
    match value:
        case [str(), str(), int(), [*tags]]:
            return all(isinstance(tag, str) for tag in tags)
    return False
