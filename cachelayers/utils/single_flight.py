"""Single flight: one computation at a time for a missing entry, within this process.

Recalls and the caches' get_or_set() use it.
"""

from __future__ import annotations

import os
import threading

Name = tuple[str, str]  # cache alias and key


class Flight:
    """A computation that other threads of this process wait for."""

    def __init__(self) -> None:
        self.completed = threading.Event()
        self.is_stored = False
        self._thread = threading.get_ident()

    def is_of_this_thread(self) -> bool:
        """Return whether waiting for it would be a deadlock, as in a signal handler."""
        return self._thread == threading.get_ident()


_flights: dict[Name, Flight] = {}


def begin_or_join(name: Name) -> tuple[Flight, bool]:
    """Return the flight of an entry, and whether the caller has to compute."""
    mine = Flight()
    flight = _flights.setdefault(name, mine)  # atomic
    return flight, flight is mine


def complete(name: Name, flight: Flight) -> None:
    """Wake all waiting callers."""
    if _flights.get(name) is flight:
        del _flights[name]
    flight.completed.set()


# The threads that compute do not exist in a forked child.
os.register_at_fork(after_in_child=_flights.clear)
