"""How the processes of a site agree about epochs, and hear of each other's writes.

The lower half of the flows: one layer asked or written to, behind its breaker.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from cachelayers.backends.layered.bus import Bus, Events, NoBus, event_of
from cachelayers.backends.layered.calls import FAILED, REFUSED, Call, Flow, Poll
from cachelayers.backends.layered.circuit_breaker import Breaker
from cachelayers.backends.layered.layers import Layer
from cachelayers.backends.layered.layers.base import NEVER, LayerEntry
from cachelayers.backends.layered.state import (
    EPOCH_SECONDS,
    POLL_SECONDS,
    TURN_SECONDS,
    State,
    later_than,
    merged,
    record_name,
    record_of,
)
from cachelayers.entries import is_envelope
from cachelayers.invalidation.units import current_unit


class Coordination:
    """One LayeredCache object's layers, with what its process knows of the others."""

    def __init__(self, state: State, layers: Sequence[Layer], bus: Bus) -> None:
        """``layers``: from the fastest to the most durable."""
        self.state, self.layers, self.bus = state, layers, bus
        self.shared = [layer for layer in layers if not layer.is_local]
        self.locals = [layer for layer in layers if layer.is_local]
        self.limit_seconds = state.options.TIME_LIMIT
        state.has_shared = bool(self.shared)

    # Looking at what the others do

    def poll(self) -> Flow:
        """Read the bus, and now and then the epochs, if that was not done since the unit began."""
        unit = current_unit()
        began = time.monotonic() - POLL_SECONDS if unit is None else unit.began
        if self.state.needs_poll(began) and not self.state.is_polling_here():
            yield Poll(self._take_turn(began))

    def _take_turn(self, began: float) -> Flow:
        """Look, as one thread at a time; others wait, but not for ever."""
        lock = self.state.poll_lock
        try:
            if lock.acquire(timeout=TURN_SECONDS) and self.state.needs_poll(began):
                self.state.polled_at = max(self.state.polled_at, (yield from self._poll_now()))
        finally:  # at once, and whether it was had or not: a signal's exception may come anywhere
            try:  # noqa: SIM105 - a call of suppress() would be such a place
                lock.release()
            except RuntimeError:
                pass

    def _poll_now(self) -> Flow:
        """Look, and return as of when what others have written is known now."""
        now = time.monotonic()
        if self.state.is_forked():
            self.state.drop_everything(self.locals)  # a thread of the parent's may not have done it
        for layer in self.shared:
            if layer.breaker.is_open and layer.breaker.takes_probe():
                yield from self._readmit(layer)
        if now - self.state.compared_at >= EPOCH_SECONDS:
            yield from self.coordinate()
        events = yield from self._read_bus()
        if events is REFUSED:
            return self.state.polled_at  # in a broken transaction
        is_bus_readable = events is not FAILED
        if is_bus_readable != self.state.is_bus_readable:
            self.state.is_bus_readable = is_bus_readable
            self.state.drop_everything(self.locals)
        if not is_bus_readable:
            return now
        if events.everything:
            yield from self.coordinate()
        if self.state.unpublished != set() and not (yield from self._bus_waits_for_commit()):
            yield from self._publish_unpublished()
        return now if events.as_of is None else events.as_of

    def _read_bus(self) -> Flow:
        """Return what is new on the bus, after memory was told."""
        if isinstance(self.bus, NoBus):
            return Events()
        is_probe = self.bus.breaker.is_open
        if is_probe and (self._is_layer(self.bus.breaker) or not self.bus.breaker.takes_probe()):
            return FAILED
        events = yield Call(self.bus, "read", self.limit_seconds, self._apply)
        if is_probe and events is not FAILED and events is not REFUSED:
            self.bus.breaker.close()
        return events

    def _apply(self, events: Events) -> None:
        """Take out of memory what others have written."""
        if events.everything:
            self.state.compared_at = float("-inf")
            self.state.drop_everything(self.locals)
        elif events.names:
            self.state.drop(self.locals, events.names)

    def _publish_unpublished(self) -> Flow:
        """Tell what could not be told; what is cut off is told later."""
        unpublished = self.state.take_unpublished()
        try:
            yield from self.publish(unpublished)
        except BaseException:
            self.state.note_unpublished(unpublished)
            raise

    def _bus_waits_for_commit(self) -> Flow:
        """Tell whether an event now would be part of a transaction."""
        return self.bus.is_transactional and (
            (yield Call(self.bus, "waits_for_commit", self.limit_seconds)) is True
        )

    def waits_for_commit(self) -> Flow:
        """Tell whether what is read and written now may be undone: it is not for memory then."""
        if (yield from self._bus_waits_for_commit()):
            return True
        for layer in self.shared:
            if layer.is_transactional and (
                (yield Call(layer, "waits_for_commit", self.limit_seconds)) is True
            ):
                return True
        return False

    def publish(self, names: Sequence[str] | None) -> Flow:
        """Tell the other processes which names have changed; None: everything."""
        # Where no process has a memory, only what concerns the epochs matters to others.
        if isinstance(self.bus, NoBus) or names == [] or (names and not self.locals):
            return
        if self.bus.breaker.is_open:
            self.state.note_unpublished(names)
            return
        answer = yield Call(self.bus, "append", self.limit_seconds, event_of(names))
        if answer is not True:
            self.state.note_unpublished(names)

    def _is_layer(self, breaker: Breaker) -> bool:
        return any(layer.breaker is breaker for layer in self.shared)

    # Asking one layer

    def ask(self, layer: Layer, names: Sequence[str]) -> Flow:
        """Return what a layer has of names; FAILED where it is skipped."""
        if layer.is_local:
            head = self.state.local_head
            found = layer.read_many([f"{head}{name}" for name in names])
        else:
            is_usable = yield from self._is_usable(layer)
            head = self.state.heads.get(layer.alias, "")
            if not head or not is_usable:
                return FAILED
            found = yield Call(
                layer, "read_many", self.limit_seconds, [f"{head}{name}" for name in names]
            )
            if found is FAILED or found is REFUSED:
                return FAILED
        return {name[len(head) :]: entry for name, entry in found.items()}

    def write(self, layer: Layer, operation: str, what: Any, *arguments: Any) -> Flow:
        """Write to a layer; what it misses ends its epoch.

        ``what``: a name, names, or entries by their names.
        """
        is_usable = yield from self._is_usable(layer)
        head = self.state.heads.get(layer.alias, "")
        if not head or not is_usable:
            yield from self._note_missed(layer)
            return FAILED
        return (yield from self.write_under(head, layer, operation, what, *arguments))

    def write_under(
        self, head: str, layer: Layer, operation: str, what: Any, *arguments: Any
    ) -> Flow:
        """Write to a layer, in an epoch."""
        answer = yield Call(layer, operation, self.limit_seconds, with_head(head, what), *arguments)
        if answer is REFUSED and operation != "add" and not (yield from self._is_doomed(layer)):
            # What is there is older than what should be. Where not even this works, it is out.
            names = [f"{head}{name}" for name in names_in(what)]
            for removal in ("write_tombstones", "delete_many"):
                removed = yield Call(layer, removal, self.limit_seconds, names)
                if removed is not REFUSED:
                    break
            if removed is FAILED or removed is REFUSED:
                answer = FAILED
        if layer.is_transactional and not are_all_sealed(what):
            yield Call(layer, "note_own", self.limit_seconds, names_in(with_head(head, what)))
        if answer is FAILED:
            yield from self._note_missed(layer)
        elif operation == "write_many" and answer is not REFUSED:
            return [name[len(head) :] for name in answer]
        return answer

    def _is_doomed(self, layer: Layer) -> Flow:
        """Tell whether a layer is in a transaction, with which the write would be undone."""
        return layer.is_transactional and (
            (yield Call(layer, "waits_for_commit", self.limit_seconds)) is True
        )

    def ask_plainly(self, layer: Layer, operation: str, *arguments: Any) -> Flow:
        """Ask a layer about what is no entry of this cache."""
        if not (yield from self._is_usable(layer)):
            return FAILED
        return (yield Call(layer, operation, self.limit_seconds, *arguments))

    def deciders(self) -> Iterator[Layer]:
        """Yield the shared layers that may decide, the most durable first."""
        for layer in reversed(self.shared):
            if not layer.breaker.is_open:
                yield layer

    def _is_usable(self, layer: Layer) -> Flow:
        """Tell whether a layer is to be asked; try one that was down, when it is time."""
        if not layer.breaker.is_open:
            return True
        if not layer.breaker.takes_probe():
            return False
        return (yield from self._readmit(layer))

    # Epochs

    def coordinate(self, *, raised: bool = False) -> Flow:
        """Read all records, take the highest epochs, and write them where they are not known.

        ``raised``: this process has just begun new ones.
        """
        name = record_name(self.state.alias)
        records, older = yield from self._read_each_record()
        self.state.compared_at = time.monotonic()
        if not records:
            self._begin_alone()
            return
        coordinated = self._coordinated(records, older, raised=raised)
        is_new = coordinated != merged([*records.values(), self.state.epochs])
        if not any(records.values()):
            coordinated = yield from self._found(records, coordinated)
        for layer in self.shared:
            if layer.alias in records and records[layer.alias] != coordinated:
                entries = {name: LayerEntry(coordinated, NEVER)}
                yield Call(layer, "write_many", self.limit_seconds, entries)
        if self.state.epochs and coordinated != self.state.epochs:
            self.state.drop_everything(self.locals)
        self.state.take_epochs(coordinated)
        if raised or is_new:
            # Who has not heard of it would go on reading where nobody writes any more.
            yield from self.publish(None)

    def _read_each_record(self) -> Flow:
        """Return the record of each layer that can be reached, and those that may be older ones."""
        name = record_name(self.state.alias)
        records: dict[str, Mapping[str, int]] = {}
        older: set[str] = set()
        for layer in self.shared:
            if layer.breaker.is_open:
                continue
            answer = yield Call(layer, "read_many", self.limit_seconds, [name])
            if answer is not FAILED and answer is not REFUSED:
                if (yield from self._is_doomed(layer)):
                    older.add(layer.alias)
                records[layer.alias] = record_of(answer[name].value if name in answer else None)
                yield from self._check_for_restart(layer, records[layer.alias])
        return records, older

    def _check_for_restart(self, layer: Layer, record: Mapping[str, int]) -> Flow:
        """Begin a new epoch where the server is another one: it may have come with old values."""
        server = yield Call(layer, "server_id", self.limit_seconds)
        if server is None or server is FAILED or server is REFUSED:
            return
        known = self.state.servers.get(layer.alias)
        self.state.servers[layer.alias] = server
        epoch = self.state.epochs.get(layer.alias, 0)
        is_settled = abs(record.get(layer.alias, 0)) > epoch  # another process has noticed it too
        if known is not None and known != server and epoch > 0 and not is_settled:
            self.state.take_epochs({**self.state.epochs, layer.alias: -later_than(epoch)})

    def _coordinated(
        self, records: Mapping[str, Mapping[str, int]], older: Container[str], *, raised: bool
    ) -> dict[str, int]:
        """Return the epochs that count from now on.

        ``older``: layers that a transaction sees as they were when it began. That their record is
        behind means nothing.
        """
        known = self.state.epochs
        found = merged(record for alias, record in records.items() if alias not in older)
        best = merged([*records.values(), known])
        for layer in self.shared:
            epoch = best.get(layer.alias, 0)
            # Somebody has written an older record over a later one: who has it may have used it.
            # Where there is none, the server has lost or evicted it, and what is known goes on.
            recorded = abs(found.get(layer.alias, 0))
            is_behind = not raised and 0 < recorded < abs(known.get(layer.alias, 0))
            is_back = epoch < 0 and layer.alias in records
            if epoch == 0 or is_behind or is_back:
                best[layer.alias] = later_than(epoch)
        return best

    def _found(self, records: Mapping[str, Mapping[str, int]], coordinated: dict[str, int]) -> Flow:
        """Begin the first record of all; of several processes that do, one decides."""
        name = record_name(self.state.alias)
        layer = next(one for one in reversed(self.shared) if one.alias in records)
        is_added = yield Call(
            layer, "add", self.limit_seconds, name, LayerEntry(coordinated, NEVER)
        )
        if is_added is not False:
            return coordinated
        answer = yield Call(layer, "read_many", self.limit_seconds, [name])
        if answer is FAILED or answer is REFUSED or name not in answer:
            return coordinated
        others = record_of(answer[name].value)
        return {alias: others.get(alias, epoch) for alias, epoch in coordinated.items()}

    def _begin_alone(self) -> None:
        """Have epochs while no layer can be reached, to compare with when one is back."""
        if not self.state.epochs:
            self.raise_epochs(self.shared)

    def raise_epochs(self, layers: Sequence[Layer]) -> None:
        """Begin new epochs in this process; agree() tells the others."""
        epochs = dict(self.state.epochs)
        for layer in layers:
            epochs[layer.alias] = later_than(epochs.get(layer.alias, 0))
        self.state.take_epochs(epochs)

    def _note_missed(self, layer: Layer) -> Flow:
        """After a write that a layer has missed: nobody is to read what it has."""
        yield from self._read_records()
        epoch = self.state.epochs.get(layer.alias, 0)
        if epoch >= 0:
            self.state.take_epochs({**self.state.epochs, layer.alias: -later_than(epoch)})
            yield from self._write_records(layer)
            yield from self.publish(None)

    def _read_records(self) -> Flow:
        """Take what the other processes have recorded."""
        name = record_name(self.state.alias)
        found = [self.state.epochs]
        for layer in self.shared:
            if not layer.breaker.is_open:
                answer = yield Call(layer, "read_many", self.limit_seconds, [name])
                if answer is not FAILED and answer is not REFUSED and name in answer:
                    found.append(record_of(answer[name].value))
        self.state.take_epochs(merged(found))

    def _write_records(self, out: Layer) -> Flow:
        """Record in every layer that can be reached that one is out, and have others look."""
        entries = {record_name(self.state.alias): LayerEntry(dict(self.state.epochs), NEVER)}
        for layer in self.shared:
            if layer is not out and not layer.breaker.is_open:
                yield Call(layer, "write_many", self.limit_seconds, entries)

    def _readmit(self, layer: Layer) -> Flow:
        """Try a layer that was down; return whether it may be used again."""
        before = self.state.epochs.get(layer.alias, 0)
        name = record_name(self.state.alias)
        answer = yield Call(layer, "read_many", self.limit_seconds, [name])
        if answer is FAILED or answer is REFUSED:
            return False
        layer.breaker.close()
        yield from self.coordinate()
        is_unchanged = abs(self.state.epochs.get(layer.alias, 0)) == abs(before)
        # Where nobody else could record what was missed, this layer itself knows of nothing.
        if is_unchanged and (layer.shuffles_keys or len(self.shared) == 1):
            self.raise_epochs([layer])
            yield from self.coordinate(raised=True)
        return not layer.breaker.is_open


def with_head(head: str, what: Any) -> Any:
    """Return a name, names or entries as a layer has them."""
    if isinstance(what, str):
        return f"{head}{what}"
    if isinstance(what, Mapping):
        return {f"{head}{name}": entry for name, entry in what.items()}
    return [f"{head}{name}" for name in what]


def are_all_sealed(what: Any) -> bool:
    """Tell whether all that is written are entries of which the log says whether they hold."""
    return isinstance(what, Mapping) and all(is_envelope(entry.value) for entry in what.values())


def names_in(what: Any) -> Sequence[str]:
    """Return the names in what is written."""
    return [what] if isinstance(what, str) else list(what)
