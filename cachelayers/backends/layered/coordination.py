"""Coordination of a site's processes: epochs of the layers, and events on the bus.

The base class of Flows: it calls one layer at a time, behind its circuit breaker.
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
    Record,
    State,
    later_than,
    merged,
    record_name,
    record_of,
)
from cachelayers.entries import is_envelope
from cachelayers.invalidation import current_unit
from cachelayers.utils.freshness import allowed_age


class Coordination:
    """The layers of one LayeredCache object, and what this process knows of the others."""

    def __init__(self, state: State, layers: Sequence[Layer], bus: Bus) -> None:
        """``layers``: from the fastest to the most durable."""
        self.state, self.layers, self.bus = state, layers, bus
        self.shared = [layer for layer in layers if not layer.is_local]
        self.locals = [layer for layer in layers if layer.is_local]
        self.limit_seconds = state.options.TIME_LIMIT
        state.has_shared = bool(self.shared)

    # Polling

    def poll(self) -> Flow:
        """Read the bus, and sometimes the epochs, unless that was done since the unit began."""
        unit = current_unit()
        began = time.monotonic() - POLL_SECONDS if unit is None else unit.began
        began -= allowed_age.get()
        if self.state.needs_poll(began) and not self.state.is_polling_here():
            yield Poll(self._poll_in_turn(began))

    def _poll_in_turn(self, began: float) -> Flow:
        """Poll in one thread at a time; the others wait for a bounded time."""
        lock = self.state.poll_lock
        try:
            if lock.acquire(timeout=TURN_SECONDS) and self.state.needs_poll(began):
                self.state.polled_at = max(self.state.polled_at, (yield from self._poll_now()))
        finally:  # at once, whether it was acquired or not: a signal may raise anywhere
            try:  # noqa: SIM105 - a call of suppress() would be such a place
                lock.release()
            except RuntimeError:
                pass

    def _poll_now(self) -> Flow:
        """Poll; return the time as of which other processes' writes are known."""
        now = time.monotonic()
        if self.state.is_forked():
            self.state.drop_everything(self.locals)  # a thread of the parent may not have done it
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
        """Return the new events on the bus, after they were applied to memory."""
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
        """Remove entries that other processes have changed from memory."""
        if events.everything:
            self.state.compared_at = float("-inf")
            self.state.drop_everything(self.locals)
        elif events.names:
            self.state.drop(self.locals, events.names)

    def _publish_unpublished(self) -> Flow:
        """Publish events that could not be published before; an interrupted call keeps them."""
        unpublished = self.state.take_unpublished()
        try:
            yield from self.publish(unpublished)
        except BaseException:
            self.state.note_unpublished(unpublished)
            raise

    def _bus_waits_for_commit(self) -> Flow:
        """Return whether an event would be part of an open transaction."""
        return self.bus.is_transactional and (
            (yield Call(self.bus, "waits_for_commit", self.limit_seconds)) is True
        )

    def waits_for_commit(self) -> Flow:
        """Return whether reads and writes may be rolled back: memory must not store them then."""
        if (yield from self._bus_waits_for_commit()):
            return True
        for layer in self.shared:
            if layer.is_transactional and (
                (yield Call(layer, "waits_for_commit", self.limit_seconds)) is True
            ):
                return True
        return False

    def publish(self, names: Sequence[str] | None) -> Flow:
        """Publish changed names to the other processes; None: everything."""
        # If no process has a memory layer, only changes of epochs matter.
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

    # Calling one layer

    def ask(self, layer: Layer, names: Sequence[str]) -> Flow:
        """Return a layer's entries among ``names``; FAILED if the layer is skipped."""
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
        """Write to a layer; a missed write ends the layer's epoch.

        ``what``: a name, names, or entries by name.
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
        if answer is REFUSED and operation != "add" and not (yield from self._rolls_back(layer)):
            # The layer still has the older entries. If they cannot be deleted either, the layer is
            # out.
            names = [f"{head}{name}" for name in names_in(what)]
            for removal in ("write_tombstones", "delete_many"):
                removed = yield Call(layer, removal, self.limit_seconds, names)
                if removed is not REFUSED:
                    break
            if removed is FAILED or removed is REFUSED:
                answer = FAILED
        if layer.is_transactional and not are_all_envelopes(what):
            yield Call(layer, "note_own", self.limit_seconds, names_in(with_head(head, what)))
        if answer is FAILED:
            yield from self._note_missed(layer)
        elif operation == "write_many" and answer is not REFUSED:
            return [name[len(head) :] for name in answer]
        return answer

    def _rolls_back(self, layer: Layer) -> Flow:
        """Return whether a layer is in a transaction whose rollback would undo the write."""
        return layer.is_transactional and (
            (yield Call(layer, "waits_for_commit", self.limit_seconds)) is True
        )

    def ask_plainly(self, layer: Layer, operation: str, *arguments: Any) -> Flow:
        """Call an operation that does not concern a single entry of this cache."""
        if not (yield from self._is_usable(layer)):
            return FAILED
        return (yield Call(layer, operation, self.limit_seconds, *arguments))

    def deciders(self) -> Iterator[Layer]:
        """Yield the usable shared layers, the most durable first: the first one decides."""
        for layer in reversed(self.shared):
            if not layer.breaker.is_open:
                yield layer

    def _is_usable(self, layer: Layer) -> Flow:
        """Return whether to call a layer; try one that was down if a probe is due."""
        if not layer.breaker.is_open:
            return True
        if not layer.breaker.takes_probe():
            return False
        return (yield from self._readmit(layer))

    # Epochs

    def coordinate(self, *, raised: bool = False) -> Flow:
        """Read all records of epochs, take the highest epochs, and write them where they differ.

        ``raised``: this process has just begun new epochs.
        """
        name = record_name(self.state.alias)
        records, older = yield from self._read_each_record()
        self.state.compared_at = time.monotonic()
        if not records:
            self._begin_epochs()
            return
        coordinated = self._merge_epochs(records, older, raised=raised)
        is_new = coordinated != merged([*records.values(), self.state.epochs])
        if not any(records.values()):
            coordinated = yield from self._add_record(records, coordinated)
        for layer in self.shared:
            if layer.alias in records and records[layer.alias] != coordinated:
                entries = {name: LayerEntry(coordinated, NEVER)}
                yield Call(layer, "write_many", self.limit_seconds, entries)
        if self.state.epochs and coordinated != self.state.epochs:
            self.state.drop_everything(self.locals)
        self.state.take_epochs(coordinated)
        if raised or is_new:
            # Else processes would go on reading epochs to which nobody writes any more.
            yield from self.publish(None)

    def _read_each_record(self) -> Flow:
        """Return the record of each reachable layer, and the layers whose record may be older."""
        name = record_name(self.state.alias)
        records: dict[str, Record] = {}
        older: set[str] = set()
        for layer in self.shared:
            if layer.breaker.is_open:
                continue
            answer = yield Call(layer, "read_many", self.limit_seconds, [name])
            if answer is not FAILED and answer is not REFUSED:
                if (yield from self._rolls_back(layer)):
                    older.add(layer.alias)
                records[layer.alias] = record_of(answer[name].value if name in answer else None)
                yield from self._check_for_restart(layer, records[layer.alias])
        return records, older

    def _check_for_restart(self, layer: Layer, record: Record) -> Flow:
        """Begin a new epoch after a restart of the server, which may have restored old values."""
        server = yield Call(layer, "server_id", self.limit_seconds)
        if server is None or server is FAILED or server is REFUSED:
            return
        known = self.state.servers.get(layer.alias)
        self.state.servers[layer.alias] = server
        epoch = self.state.epochs.get(layer.alias, 0)
        is_settled = abs(record.get(layer.alias, 0)) > epoch  # another process has noticed it too
        if known is not None and known != server and epoch > 0 and not is_settled:
            self.state.take_epochs({**self.state.epochs, layer.alias: -later_than(epoch)})

    def _merge_epochs(
        self, records: Mapping[str, Record], older: Container[str], *, raised: bool
    ) -> dict[str, int]:
        """Return the current epochs.

        ``older``: layers in a transaction, which reads the record as of its beginning. A lower
        epoch there means nothing.
        """
        known = self.state.epochs
        found = merged(record for alias, record in records.items() if alias not in older)
        best = merged([*records.values(), known])
        for layer in self.shared:
            epoch = best.get(layer.alias, 0)
            # An older record has overwritten a newer one; some process may have used the older
            # epoch. If the record is missing, the server has lost or evicted it, and the known
            # epoch goes on.
            recorded = abs(found.get(layer.alias, 0))
            is_behind = not raised and 0 < recorded < abs(known.get(layer.alias, 0))
            is_back = epoch < 0 and layer.alias in records
            if epoch == 0 or is_behind or is_back:
                best[layer.alias] = later_than(epoch)
        return best

    def _add_record(self, records: Mapping[str, Record], coordinated: dict[str, int]) -> Flow:
        """Write the first record; if several processes do so at once, one of them wins."""
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

    def _begin_epochs(self) -> None:
        """Begin epochs while no layer is reachable, to compare with a layer's record later."""
        if not self.state.epochs:
            self.raise_epochs(self.shared)

    def raise_epochs(self, layers: Sequence[Layer]) -> None:
        """Begin new epochs in this process; coordinate() publishes them."""
        epochs = dict(self.state.epochs)
        for layer in layers:
            epochs[layer.alias] = later_than(epochs.get(layer.alias, 0))
        self.state.take_epochs(epochs)

    def _note_missed(self, layer: Layer) -> Flow:
        """After a missed write: mark the layer as out, so that nobody reads its older entries."""
        yield from self._read_records()
        epoch = self.state.epochs.get(layer.alias, 0)
        if epoch >= 0:
            self.state.take_epochs({**self.state.epochs, layer.alias: -later_than(epoch)})
            yield from self._write_records(layer)
            yield from self.publish(None)

    def _read_records(self) -> Flow:
        """Take the epochs that other processes have recorded."""
        name = record_name(self.state.alias)
        found = [self.state.epochs]
        for layer in self.shared:
            if not layer.breaker.is_open:
                answer = yield Call(layer, "read_many", self.limit_seconds, [name])
                if answer is not FAILED and answer is not REFUSED and name in answer:
                    found.append(record_of(answer[name].value))
        self.state.take_epochs(merged(found))

    def _write_records(self, out: Layer) -> Flow:
        """Write the record to the other reachable layers: it says that ``out`` is out."""
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
        # If no other layer could record the missed writes, no record tells of them.
        if is_unchanged and (layer.shuffles_keys or len(self.shared) == 1):
            self.raise_epochs([layer])
            yield from self.coordinate(raised=True)
        return not layer.breaker.is_open


def with_head(head: str, what: Any) -> Any:
    """Return a name, names or entries with the names that a layer has for them."""
    if isinstance(what, str):
        return f"{head}{what}"
    if isinstance(what, Mapping):
        return {f"{head}{name}": entry for name, entry in what.items()}
    return [f"{head}{name}" for name in what]


def are_all_envelopes(what: Any) -> bool:
    """Return whether all written entries have dependencies: the log can invalidate them."""
    return isinstance(what, Mapping) and all(is_envelope(entry.value) for entry in what.values())


def names_in(what: Any) -> Sequence[str]:
    """Return the names in an argument of write()."""
    return [what] if isinstance(what, str) else list(what)
