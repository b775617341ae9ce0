"""What all objects of one LayeredCache in a process share: epochs, position, recent writes.

Django makes a cache object for each thread; what is known of the others' writes outlives it.
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence

from cachelayers.backends.layered.bus import Bus, StreamPosition, make_bus
from cachelayers.backends.layered.epochs import Record, head_of, merged
from cachelayers.backends.layered.kept import Kept
from cachelayers.backends.layered.layers import Layer
from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.backends.layered.recent import Recent
from cachelayers.entries.envelope import is_sealed
from cachelayers.locks import ForkSafeLock, fork_count
from cachelayers.stats import cell_of

LOOK_SECONDS = 0.1  # between two looks at the bus, where there is no unit of work
EPOCH_SECONDS = 1.0  # between two looks at the record of epochs
MOST_UNSENT = 1_000
TURN_SECONDS = 2.0  # that a thread waits for another one's look
DEGRADED_SECONDS = 1.0  # the longest that memory keeps a value while the bus is out


class State:
    """One LayeredCache of this process."""

    def __init__(self, alias: str, options: LayeredOptions) -> None:
        """Know nothing of the others yet."""
        self.alias = alias
        self.options = options
        self.cell = cell_of(alias)
        self.bus: Bus | StreamPosition = make_bus(options.BUS, alias, options.LAYERS)
        self.epochs: Record = {}
        self.heads: Mapping[str, str] = {}  # by layer; a layer that is out has none
        self.looked_at = float("-inf")  # of time.monotonic(); when the last look at the bus began
        self.compared_at = float("-inf")  # the record of epochs
        self.hears = True  # whether the bus could be read the last time
        # Names that could not be told to the others; None: more than can be remembered.
        self.unsent: set[str] | None = set()
        self.local_head = next_local_head()
        self.has_shared = True  # layers, from where a value can be fetched again
        self.servers: dict[str, str] = {}  # by layer: which server it was the last time
        self._forks = fork_count()
        self._recent = Recent()
        self._lock = ForkSafeLock()
        self.look_lock = ForkSafeLock()  # of the thread that looks

    def needs_look(self, began: float) -> bool:
        """Tell whether a unit of work that began then is to look at the bus first."""
        return began > self.looked_at

    def is_looking_here(self) -> bool:
        """Tell whether this thread is in the middle of a look: a receiver may use the cache."""
        return self.look_lock.is_held_here()

    def is_forked(self) -> bool:
        """Tell once whether this is a child of the process that was last asked."""
        before, self._forks = self._forks, fork_count()
        return before != self._forks

    def take_epochs(self, epochs: Mapping[str, int]) -> None:
        """Use these epochs from now on. Flows that are under way keep those they began with."""
        with self._lock:
            self.epochs = epochs = merged([self.epochs, epochs])
            self.heads = {
                layer: head_of(self.alias, epoch) for layer, epoch in epochs.items() if epoch > 0
            }

    # The memory of this process

    def keep(self, locals_: Sequence[Layer], since: float, entries: Mapping[str, Kept]) -> None:
        """Put what was read from shared layers into memory, but nothing that was written since."""
        if not locals_ or not entries:
            return
        with self._lock:
            fresh = {
                f"{self.local_head}{name}": self.bounded(kept)
                for name, kept in entries.items()
                if not self._recent.was_written(name, since)
            }
            for layer in locals_:
                write_or_drop(layer, fresh)

    def replace(self, locals_: Sequence[Layer], since: float, entries: Mapping[str, Kept]) -> None:
        """Put what was written to shared layers into memory.

        What somebody else has written meanwhile goes: who was the last, only the layers know.
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
        """Take names out of memory; return whether any was there."""
        names = list(names)
        found = False
        with self._lock:
            self._recent.note(names)
            for layer in locals_:
                found |= layer.delete_many([f"{self.local_head}{name}" for name in names])
        return found

    def drop_everything(self, locals_: Sequence[Layer]) -> None:
        """Empty the memory of this cache's entries."""
        with self._lock:
            self._recent.note_everything()
            old = self.local_head
            self.local_head = next_local_head()
            for layer in locals_:
                layer.clear_names(old)

    def note_unsent(self, names: Sequence[str] | None) -> None:
        """Remember what the others have not been told."""
        with self._lock:
            if self.unsent is not None:
                known = self.unsent
                self.unsent = None if names is None else known | set(names)
                if self.unsent is not None and len(self.unsent) > MOST_UNSENT:
                    self.unsent = None

    def take_unsent(self) -> Sequence[str] | None:
        """Return what is still to be told, and forget it."""
        with self._lock:
            unsent, self.unsent = self.unsent, set()
            return None if unsent is None else list(unsent)

    def bounded(self, kept: Kept) -> Kept:
        """Return the entry as memory keeps it.

        A recalled value needs no bound: its tags are checked each time.
        """
        if is_sealed(kept.value) or not self.has_shared:
            return kept
        seconds = self.options.memory_seconds
        if not self.hears:
            seconds = min(seconds, DEGRADED_SECONDS)
        return kept._replace(expires=min(kept.expires, time.time() + seconds))


def write_or_drop(layer: Layer, entries: Mapping[str, Kept]) -> None:
    """Write to memory; what it cannot keep, and a shared layer can, is not to be the older one."""
    try:
        layer.write_many(entries)
    except (TypeError, ValueError, AttributeError, RecursionError, pickle.PicklingError):
        layer.delete_many(list(entries))


_local_numbers = itertools.count(1)


def next_local_head() -> str:
    """Return what names begin with in memory, until that is emptied: nobody else's do.

    Short: each read makes a name, and hashes it.
    """
    return f"~{next(_local_numbers)}:"


_states: dict[tuple[str, str, LayeredOptions], State] = {}
_states_lock = ForkSafeLock()


def state_of(alias: str, key_prefix: str, options: LayeredOptions) -> State:
    """Return the state of a LayeredCache, made when first asked for."""
    known = alias, key_prefix, options
    with _states_lock:
        if known not in _states:
            _states[known] = State(alias, options)
        return _states[known]
