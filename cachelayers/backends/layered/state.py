"""The state of one LayeredCache in a process, shared by its objects: epochs, recent writes.

Django makes a cache object for each thread; ``coordination`` and ``flows`` keep in this state what
they know of other processes' writes.
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cachelayers.backends.layered.bus import Bus, StreamPosition, make_bus
from cachelayers.backends.layered.layers import Layer
from cachelayers.backends.layered.layers.base import LayerEntry
from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.entries import is_envelope
from cachelayers.utils.counters import cell_of
from cachelayers.utils.locks import ForkSafeLock, fork_count
from cachelayers.utils.rate_limit import RateLimit

MOST_NAMES = 20_000


class Recent:
    """Times of writes, by name. Not thread-safe by itself: see State."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}
        self._unknown_before = float("-inf")  # writes before this time are no longer listed by name

    def note(self, names: Iterable[str]) -> None:
        now = time.monotonic()
        for name in names:
            self._written[name] = now
        if len(self._written) > MOST_NAMES:
            self.note_everything()

    def note_everything(self) -> None:
        self._unknown_before = time.monotonic()
        self._written = {}

    def was_written(self, name: str, since: float) -> bool:
        """Return whether a name was, or may have been, written at ``since`` or later."""
        return self._unknown_before >= since or self._written.get(name, float("-inf")) >= since


DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# By layer: the epoch; negative: the layer is out since that epoch.
Record = Mapping[str, int]


def later_than(epoch: int) -> int:
    """Return a new epoch: the current time, or one more if the clock is behind.

    Not a counter: if every record is lost, no former epoch may be used again.
    """
    return max(time.time_ns() // 1_000, abs(epoch) + 1)


def merged(records: Iterable[Record]) -> dict[str, int]:
    """Return the highest epoch of each layer; of equal ones, the one that says it is out."""
    best: dict[str, int] = {}
    for record in records:
        for alias, epoch in record.items():
            known = best.get(alias, 0)
            if abs(epoch) > abs(known) or (abs(epoch) == abs(known) and epoch < known):
                best[alias] = epoch
    return best


def record_of(value: Any) -> Record:
    """Return a layer's stored record, or an empty one."""
    if not isinstance(value, dict):
        return {}
    return {
        alias: epoch
        for alias, epoch in value.items()
        if isinstance(alias, str) and type(epoch) is int
    }


def head_of(cache: str, epoch: int) -> str:
    """Return the beginning of names in an epoch of a layer of the LayeredCache ``cache``."""
    digits = ""
    while epoch:
        epoch, digit = divmod(epoch, 36)
        digits = DIGITS[digit] + digits
    return f"{own_names(cache)}{digits}:"


def record_name(cache: str) -> str:
    """Return the name of the record; no entry has such a name."""
    return f"{own_names(cache)}epochs"


def own_names(cache: str) -> str:
    """Return the printable beginning of all names of a LayeredCache, which no other cache uses."""
    return f"~{quote(cache, safe='')}:"


POLL_SECONDS = 0.1  # between two polls of the bus, outside units of work
EPOCH_SECONDS = 1.0  # between two reads of the record of epochs
MOST_UNPUBLISHED = 1_000
TURN_SECONDS = 2.0  # that a thread waits for another one's poll
DEGRADED_SECONDS = 1.0  # the longest time that memory keeps a value while the bus is down


class State:
    """One LayeredCache of this process."""

    def __init__(self, alias: str, options: LayeredOptions) -> None:
        self.alias = alias
        self.options = options
        self.cell = cell_of(alias)
        self.bus: Bus | StreamPosition = make_bus(options.BUS, alias, options.LAYERS)
        self.epochs: Record = {}
        self.heads: Mapping[str, str] = {}  # by layer; a layer that is out has none
        self.polled_at = float("-inf")  # of time.monotonic(); when the last poll of the bus began
        self.compared_at = float("-inf")  # when the record of epochs was last read
        self.is_bus_readable = True  # at the last poll
        # Names that could not be published; None: more than can be stored.
        self.unpublished: set[str] | None = set()
        self.local_head = next_local_head()
        self.has_shared = True  # layers, from which a value can be read again
        self.servers: dict[str, str] = {}  # by layer: the server's id at the last check
        self.digests = RateLimit()  # of a warning that keys cannot be told
        self._forks = fork_count()
        self._recent = Recent()
        self._lock = ForkSafeLock()
        self.poll_lock = ForkSafeLock()  # of the polling thread

    def needs_poll(self, began: float) -> bool:
        """Return whether a unit of work that began at ``began`` must poll the bus first."""
        return began > self.polled_at

    def is_polling_here(self) -> bool:
        """Return whether this thread is polling: a signal receiver may use the cache."""
        return self.poll_lock.is_held_here()

    def is_forked(self) -> bool:
        """Return, once after a fork, whether this is a forked child."""
        before, self._forks = self._forks, fork_count()
        return before != self._forks

    def take_epochs(self, epochs: Mapping[str, int]) -> None:
        """Use these epochs from now on. Running flows keep those with which they began."""
        with self._lock:
            self.epochs = epochs = merged([self.epochs, epochs])
            self.heads = {
                layer: head_of(self.alias, epoch) for layer, epoch in epochs.items() if epoch > 0
            }

    # This process's memory

    def store_unless_written(
        self, locals_: Sequence[Layer], since: float, entries: Mapping[str, LayerEntry]
    ) -> None:
        """Store entries from shared layers in memory, unless they were written since."""
        if not locals_ or not entries:
            return
        with self._lock:
            fresh = {
                f"{self.local_head}{name}": self.bounded(entry)
                for name, entry in entries.items()
                if not self._recent.was_written(name, since)
            }
            for layer in locals_:
                write_or_drop(layer, fresh)

    def replace(
        self, locals_: Sequence[Layer], since: float, entries: Mapping[str, LayerEntry]
    ) -> None:
        """Store entries that were written to shared layers in memory.

        An entry that another thread has written meanwhile is dropped: only the layers know which
        write was last.
        """
        with self._lock:
            contested = [name for name in entries if self._recent.was_written(name, since)]
            self._recent.note(entries)
            bounded = {f"{self.local_head}{name}": self.bounded(k) for name, k in entries.items()}
            for layer in locals_:
                if self.has_shared:
                    write_or_drop(layer, bounded)
                else:
                    layer.write_many(bounded)
                layer.delete_many([f"{self.local_head}{name}" for name in contested])

    def drop(self, locals_: Sequence[Layer], names: Iterable[str]) -> bool:
        """Delete names from memory; return whether any entry existed."""
        names = list(names)
        found = False
        with self._lock:
            self._recent.note(names)
            for layer in locals_:
                found |= layer.delete_many([f"{self.local_head}{name}" for name in names])
        return found

    def drop_everything(self, locals_: Sequence[Layer]) -> None:
        """Delete this cache's entries from memory."""
        with self._lock:
            self._recent.note_everything()
            old = self.local_head
            self.local_head = next_local_head()
            for layer in locals_:
                layer.clear_names(old)

    def note_unpublished(self, names: Sequence[str] | None) -> None:
        """Remember names that could not be published."""
        with self._lock:
            if self.unpublished is not None:
                known = self.unpublished
                self.unpublished = None if names is None else known | set(names)
                if self.unpublished is not None and len(self.unpublished) > MOST_UNPUBLISHED:
                    self.unpublished = None

    def take_unpublished(self) -> Sequence[str] | None:
        """Return the unpublished names, and forget them."""
        with self._lock:
            unpublished, self.unpublished = self.unpublished, set()
            return None if unpublished is None else list(unpublished)

    def bounded(self, entry: LayerEntry) -> LayerEntry:
        """Return the entry as memory stores it.

        A recalled value needs no bound: its tags are checked on each hit.
        """
        if is_envelope(entry.value) or not self.has_shared:
            return entry
        seconds = self.options.memory_seconds
        if not self.is_bus_readable:
            seconds = min(seconds, DEGRADED_SECONDS)
        return entry._replace(expires=min(entry.expires, time.time() + seconds))


def write_or_drop(layer: Layer, entries: Mapping[str, LayerEntry]) -> None:
    """Write to memory; if a value has no pickle, only delete the older entry."""
    try:
        layer.write_many(entries)
    except (TypeError, ValueError, AttributeError, RecursionError, pickle.PicklingError):
        layer.delete_many(list(entries))


_local_numbers = itertools.count(1)


def next_local_head() -> str:
    """Return a new and unique beginning of names in memory, used until memory is emptied.

    Short: each read builds a name and hashes it.
    """
    return f"~{next(_local_numbers)}:"


_states: dict[tuple[str, str, LayeredOptions], State] = {}
_states_lock = ForkSafeLock()


def state_of(alias: str, key_prefix: str, options: LayeredOptions) -> State:
    """Return the state of a LayeredCache, which all its objects in this process share."""
    known = alias, key_prefix, options
    with _states_lock:
        if known not in _states:
            _states[known] = State(alias, options)
        return _states[known]
