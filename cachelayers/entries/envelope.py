"""Put a value into an envelope that says when and of what it was made. Touches no cache.

An envelope is made of lists, strings and numbers only: every cache can hold it that can hold the
value, also one that serialises with JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORMAT = "cachelayers:1"
LENGTH = 7
ENVELOPE_TYPES = (list, tuple)  # as sealed, and as the memory cache keeps it
SECONDS = 6  # where in it the time of computing is


@dataclass(frozen=True, slots=True)
class Envelope:
    """A stored value. Times are seconds since 1970; None: no end."""

    value: Any
    fresh_until: float | None
    dead_until: float | None
    # What it was made of: [database, incarnation, position, [tag, ...]] each
    dependencies: Sequence[Sequence[Any]]
    created: float = 0.0
    seconds: float = 0.0  # what it took to compute it

    def is_fresh(self, now: float) -> bool:
        """Tell whether it may be served as it is, if it is valid."""
        return self.fresh_until is None or now < self.fresh_until

    def is_dead(self, now: float) -> bool:
        """Tell whether it may not even be served while one caller refreshes it."""
        return self.dead_until is not None and now >= self.dead_until


def pack_envelope(envelope: Envelope) -> list[Any]:
    """Return what is put into the cache."""
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
    """Return a sealed envelope as tuples, which nobody can change; anything else as it is."""
    if not is_well_formed(stored):
        return stored
    *head, dependencies, created, seconds = stored
    return (*head, tuple((*one[:3], tuple(one[3])) for one in dependencies), created, seconds)


def unpack_envelope(stored: Any) -> Envelope | None:
    """Return the envelope, or None for what is none, such as a plain value under the same key."""
    return Envelope(*stored[1:]) if is_well_formed(stored) else None


def is_envelope(stored: Any) -> bool:
    """Tell an envelope from everything else that may be in a cache.

    By exact types first: what a user's object answers to a comparison may be no truth value.
    """
    return (
        type(stored) in ENVELOPE_TYPES
        and len(stored) == LENGTH
        and type(stored[0]) is str
        and stored[0] == FORMAT
    )


def is_well_formed(stored: Any) -> bool:
    """Tell an envelope from one that was tampered with, too."""
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
    """Tell what can be the end of something, or no end."""
    return value is None or isinstance(value, (int, float))


def is_dependency(value: Any) -> bool:
    """Tell what says of what an entry was made: a database, an incarnation, a position, tags."""
    match value:
        case [str(), str(), int(), [*tags]]:
            return all(isinstance(tag, str) for tag in tags)
    return False
