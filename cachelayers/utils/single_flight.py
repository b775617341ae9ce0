"""One compute at a time for a missing entry, within this process. Used by recalls and caches."""

from __future__ import annotations

import os
import threading

Name = tuple[str, str]  # cache alias and key


class Flight:
    """A compute that others of this process wait for."""

    def __init__(self) -> None:
        """Begin."""
        self.completed = threading.Event()
        self.is_stored = False
        self._thread = threading.get_ident()

    def is_of_this_thread(self) -> bool:
        """Tell whether to wait for it would be to wait for oneself: in a signal handler, say."""
        return self._thread == threading.get_ident()


_flights: dict[Name, Flight] = {}


def begin_or_join(name: Name) -> tuple[Flight, bool]:
    """Return the flight of an entry, and whether the caller is the one to compute."""
    mine = Flight()
    flight = _flights.setdefault(name, mine)  # one step under the interpreter's lock
    return flight, flight is mine


def complete(name: Name, flight: Flight) -> None:
    """Wake everybody who waits."""
    if _flights.get(name) is flight:
        del _flights[name]
    flight.completed.set()


# The threads that compute do not exist in a forked child.
os.register_at_fork(after_in_child=_flights.clear)
