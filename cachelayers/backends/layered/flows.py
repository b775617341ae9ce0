"""The operations of a LayeredCache as flows: reads go down, fills up, writes from the bottom up.

``cache`` runs them. Each flow keeps the epochs with which it began, so that a late write goes to an
epoch that nobody reads any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from cachelayers.backends.layered.bus import event_of
from cachelayers.backends.layered.calls import FAILED, REFUSED, Call, Flow
from cachelayers.backends.layered.coordination import Coordination
from cachelayers.backends.layered.layers import Layer
from cachelayers.backends.layered.layers.base import (
    DIGEST_MARK,
    FILL_SECONDS,
    TOMBSTONE,
    LayerEntry,
)
from cachelayers.backends.layered.state import own_names
from cachelayers.entries import LEASE_SUFFIX, is_envelope
from cachelayers.invalidation import current_unit
from cachelayers.utils.counters import cell_of
from cachelayers.utils.flows import run_flow
from cachelayers.utils.tracing import note_layer

Entries = Mapping[str, LayerEntry]


class Flows(Coordination):
    """The operations of one LayeredCache object."""

    def read(self, names: Sequence[str]) -> Flow:
        """Return live entries, each from the first layer that has it; count the hits."""
        found = yield from self.look_up(names, is_counted=True)
        self.state.cell.misses += len(names) - len(found)
        return found

    def look_up(self, names: Sequence[str], *, is_counted: bool = False) -> Flow:
        """Return the live entries among names."""
        yield from self.poll()
        began, heads = time.monotonic(), self.state.heads
        found: dict[str, LayerEntry] = {}
        missing: Sequence[str] = names
        lacking: list[tuple[Layer, Sequence[str]]] = []
        for layer in self.layers:
            if not missing:
                break
            answer = yield from self.ask(layer, missing)
            if answer is FAILED:
                continue
            live = {name: entry for name, entry in answer.items() if entry.is_live()}
            found.update(live)
            if is_counted:
                self.count_lookup(layer, len(live), len(missing))
            if live:
                note_layer(layer.name)
            if live and lacking and not layer.is_local:
                yield from self._fill_from(layer, lacking, heads, began, live)
            lacking.append((layer, [name for name in missing if answer.get(name) is not TOMBSTONE]))
            missing = [name for name in missing if name not in live]
        return found

    def read_shared(self, names: Sequence[str]) -> Flow:
        """Return the live entries from below this process's memory."""
        self.state.drop(self.locals, names)
        return (yield from self.look_up(names))

    def count_lookup(self, layer: Layer, found: int, asked: int) -> None:
        """Count the hits of a layer among the names it was asked for."""
        cell = cell_of(self.state.alias, layer.name)
        cell.hits += found
        cell.misses += asked - found

    def count_sets(self, layer: Layer | None, number: int) -> None:
        """Count values stored by a layer, or by the cache as a whole."""
        cell = self.state.cell if layer is None else cell_of(self.state.alias, layer.name)
        cell.sets += number

    def _fill_from(
        self,
        layer: Layer,
        lacking: Sequence[tuple[Layer, Sequence[str]]],
        heads: Mapping[str, str],
        began: float,
        live: Entries,
    ) -> Flow:
        """Fill the layers above with a layer's entries, unless they may be older than a write.

        A transaction that has written nothing may read an older state: the time since which it may
        miss writes counts, not the time of this read.
        """
        since = began
        if layer.is_transactional:
            head = heads.get(layer.alias, "")
            view = yield Call(layer, "view", self.limit_seconds, [f"{head}{one}" for one in live])
            if view is FAILED or view is REFUSED:
                return
            since = min(began, view[0])
            names = {name[len(head) :] for name in view[1]}
            live = {name: entry for name, entry in live.items() if name in names}
        if (
            live
            and time.monotonic() - since < FILL_SECONDS
            and not (yield from self._has_uncommitted_events())
        ):
            yield from self._fill(lacking, heads, since, live)

    def _has_uncommitted_events(self) -> Flow:
        """Return whether this transaction has events that are not committed yet."""
        return self.bus.is_transactional and (
            (yield Call(self.bus, "has_written", self.limit_seconds)) is True
        )

    def _fill(
        self,
        lacking: Sequence[tuple[Layer, Sequence[str]]],
        heads: Mapping[str, str],
        since: float,
        entries: Entries,
    ) -> Flow:
        """Fill layers that lack entries, for the entries' remaining time."""
        for layer, names in reversed(lacking):
            share = {name: entries[name] for name in names if name in entries}
            if layer.is_local:
                share = {name: share[name] for name in without_leases(share)}
                self.state.store_unless_written([layer], since, share)
                self.count_sets(layer, len(share))
            elif share and (head := heads.get(layer.alias)):
                # Not in a newer epoch: the entries were read before it.
                answer = yield from self.write_under(head, layer, "fill", share)
                if answer is not FAILED and answer is not REFUSED:
                    self.count_sets(layer, len(share))

    def set(self, entries: Entries) -> Flow:
        """Write entries, the lowest layer first; return the names that no layer has stored."""
        yield from self.poll()
        since = time.monotonic()
        names = list(entries)
        refused = set(names)
        refused_by: list[Layer] = []
        is_published = has_decider = False
        needs_no_bus = self._need_no_bus(entries)
        for layer in reversed(self.shared):
            event = None if needs_no_bus else self.event_for(layer, names)
            written = without_numbers(entries) if has_decider else entries
            try:
                answer = yield from self.write(layer, "write_many", written, event)
            except Exception:  # this layer cannot serialise it, but those below could
                if layer is not self.shared[-1]:
                    yield from self.delete(names)
                raise
            if answer is not FAILED and answer is not REFUSED:
                refused.intersection_update(answer)
                self.count_sets(layer, len(entries) - len(answer))
                is_published, has_decider = event is not None, True
            if answer is REFUSED:
                refused_by.append(layer)
            if answer and layer is not self.shared[-1] and isinstance(answer, list):
                # The lower layer has it: the tombstone keeps older entries from being filled in
                # here.
                yield from self.write(layer, "write_tombstones", answer)
        if not is_published and not needs_no_bus:
            yield from self.publish(without_leases(names))
        survives_rollback = self._survive_rollback(entries)
        if not survives_rollback and (yield from self._may_roll_back(names, refused_by)):
            self.state.drop(self.locals, names)
        else:
            local = {name: entries[name] for name in without_leases(names)}
            self.state.replace(self.locals, since, local)
            for layer in self.locals:
                self.count_sets(layer, len(local))
        refused = refused if self.shared else set()
        self.count_sets(None, len(names) - len(refused))
        return [name for name in names if name in refused]

    def _survive_rollback(self, entries: Entries) -> bool:
        """Return whether entries stay valid after a rollback: the log can invalidate them.

        They were made of committed data if the unit of work has written nothing.
        """
        unit = current_unit()
        are_envelopes = all(is_envelope(entry.value) for entry in entries.values())
        return are_envelopes and unit is not None and not unit.is_dirty()

    def _need_no_bus(self, entries: Entries) -> bool:
        """Return whether an event would be a needless write: each hit checks the tags anyway."""
        return self.bus.costs_a_write and all(is_envelope(one.value) for one in entries.values())

    def delete(self, names: Sequence[str]) -> Flow:
        """Delete, the lowest layer first; return whether any entry was known to exist."""
        yield from self.poll()
        found, is_published, refused_by = yield from self._delete_from_shared(names)
        if not is_published:
            yield from self.publish(without_leases(names))
        yield from self._may_roll_back(names, refused_by)
        return self.state.drop(self.locals, names) or found

    def _delete_from_shared(self, names: Sequence[str], *, has_event: bool = True) -> Flow:
        """Delete in the shared layers.

        Return whether any entry was known to exist, whether the event was published, and the layers
        that refused.
        """
        refused_by: list[Layer] = []
        is_published = found = False
        for layer in reversed(self.shared):
            event = self.event_for(layer, names) if has_event else None
            # Nothing fills the lowest layer, so it needs no tombstone.
            operation = "delete_many" if layer is self.shared[-1] else "write_tombstones"
            answer = yield from self.write(layer, operation, names, event)
            found = found or answer is True
            if answer is REFUSED:
                refused_by.append(layer)
            is_published = event is not None and answer is not FAILED and answer is not REFUSED
        return found, is_published, refused_by

    def delete_found(self, names: Sequence[str]) -> Flow:
        """Delete one page of a search, which ends with drop_from_memories()."""
        _, _, refused_by = yield from self._delete_from_shared(names, has_event=False)
        yield from self._may_roll_back(names, refused_by)
        self.state.drop(self.locals, names)

    def drop_from_memories(self) -> Flow:
        """Empty the memory of each process: it may have entries that no shared layer has now."""
        yield from self.publish(None)
        self.state.drop_everything(self.locals)

    def begin_search(self) -> Flow:
        """Take other processes' changes into account, the epochs too."""
        yield from self.poll()

    def pages_of(
        self, layer: Layer, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Return the pages of a search in one layer, for next_page()."""
        if layer.is_local:
            return layer.find_names(self.state.local_head, is_wanted, size)
        head = self.state.heads.get(layer.alias)
        return iter(()) if head is None else layer.find_names(head, is_wanted, size)

    def next_page(self, layer: Layer, pages: Iterator[Sequence[str]]) -> Flow:
        """Return the next page, None at the end, or FAILED."""
        if layer.is_local:
            return layer.next_page(pages)
        answer = yield from self.ask_plainly(layer, "next_page", pages)
        return FAILED if answer is REFUSED else answer

    def forgo(self, layer: Layer) -> Flow:
        """Have nobody read the present entries of a layer that could not be searched."""
        yield from self._note_missed(layer)

    def expiry(self, name: str) -> Flow:
        """Return when a live entry expires, or None. Memory may hold it for a shorter time."""
        yield from self.poll()
        entry = yield from self._read_from([*self.shared, *self.locals], name)
        return None if entry is None else entry.expires

    def overwrite(self, name: str, entry: LayerEntry) -> Flow:
        """Write if there is a live entry; one layer decides. Return whether there is one."""
        return bool((yield from self._decide(name, "overwrite", entry)))

    def _may_roll_back(self, names: Sequence[str], refused_by: Sequence[Layer] = ()) -> Flow:
        """Return whether a write may be rolled back; if so, publish it again after the commit.

        Processes that got the event before the commit have read the old value again. A layer that
        refused the write within the transaction, such as a read-only one, still has the older
        entry: it is deleted then.
        """
        for layer in self.shared:
            if layer.is_transactional and (
                (yield Call(layer, "waits_for_commit", self.limit_seconds)) is True
            ):
                callback = partial(run_flow, self._publish_decision(layer, names, refused_by))
                yield Call(layer, "after_commit", self.limit_seconds, callback)
                return True
        return (yield from self.waits_for_commit())

    def add(self, name: str, entry: LayerEntry) -> Flow:
        """Write if no layer has a live entry; one layer decides."""
        yield from self.poll()
        if not self.shared:
            return self._add_locally(name, entry)
        for decider in self.deciders():
            others = [layer for layer in self.shared if layer is not decider]
            if (yield from self._read_from(others, name)) is not None:
                return False
            is_added = yield from self.write(
                decider, "add", name, entry, self.event_for(decider, [name])
            )
            if is_added is REFUSED:
                return False  # the layer has an entry, which others may read
            if is_added is FAILED:
                continue
            if is_added:
                if not name.endswith(LEASE_SUFFIX):
                    self.count_sets(decider, 1)
                    self.count_sets(None, 1)
                yield from self._publish_decision(decider, [name])
                yield from self._may_roll_back([name])
            return is_added
        return self._add_locally(name, entry)

    def _add_locally(self, name: str, entry: LayerEntry) -> Any:
        bounded = self.state.bounded(entry)
        return self._change_locally(lambda layer, own: layer.add(own, bounded), name)

    def increment(self, name: str, delta: Any) -> Flow:
        """Add to a number; one layer decides. None: there is no such entry."""
        return (yield from self._decide(name, "increment", delta))

    def touch(self, name: str, expires: float) -> Flow:
        """Give an entry another expiry; one layer decides. Return whether there is one."""
        return bool((yield from self._decide(name, "touch", expires)))

    def clear(self) -> Flow:
        """Begin new epochs in all layers, and delete this cache's entries in searchable ones.

        Return for each shared layer's alias whether it was reachable.
        """
        reached: dict[str, bool] = {}
        yield from self.poll()
        self.raise_epochs(self.shared)
        # before the slow part, so that nobody writes entries in vain
        yield from self.coordinate(raised=True)
        for layer in reversed(self.shared):
            answer = yield from self.ask_plainly(layer, "clear_names", own_names(self.state.alias))
            reached[layer.alias] = answer is not FAILED and answer is not REFUSED
        yield from self.coordinate(raised=True)
        self.state.drop_everything(self.locals)
        return reached

    def clear_prefix(self, prefix: str) -> Flow:
        """Delete the entries whose name begins with ``prefix``; return as clear() does."""
        yield from self.poll()
        reached: dict[str, bool] = {}
        for layer in reversed(self.shared):
            head = self.state.heads.get(layer.alias)
            reached[layer.alias] = True
            for mark in ("", DIGEST_MARK) if head else ():
                answer = yield from self.ask_plainly(layer, "clear_names", f"{head}{mark}{prefix}")
                reached[layer.alias] &= answer is not FAILED and answer is not REFUSED
        yield from self.publish(None)
        self.state.drop_everything(self.locals)
        return reached

    def clear_unused(self, seconds: float) -> Flow:
        """Delete the entries unused for so long in each layer that tracks use.

        Return how many by layer; None: it could not be reached.
        """
        yield from self.poll()
        removed: dict[str, int | None] = {}
        for layer in self.shared:
            if not layer.tracks_use:
                continue
            head = self.state.heads.get(layer.alias)
            answer = FAILED
            if head:
                answer = yield from self.ask_plainly(layer, "delete_unused", head, seconds)
            removed[layer.name] = None if answer is FAILED or answer is REFUSED else answer
        return removed

    def _decide(self, name: str, operation: str, argument: Any) -> Flow:
        """Change an entry in the deciding layer."""
        yield from self.poll()
        for decider in self.deciders():
            answer = yield from self._change_at(decider, name, operation, argument)
            if answer is REFUSED:
                return None
            if answer is FAILED:
                continue
            if answer is not None and answer is not False:
                yield from self._publish_decision(decider, [name])
                yield from self._may_roll_back([name])
            return answer
        if operation == "touch":
            argument = self.state.bounded(LayerEntry(None, argument)).expires
        elif operation == "overwrite":
            argument = self.state.bounded(argument)
        return self._change_locally(
            lambda layer, own: getattr(layer, operation)(own, argument), name
        )

    def _change_at(self, decider: Layer, name: str, operation: str, argument: Any) -> Flow:
        """Change an entry; if only another layer has it, copy it to the deciding layer first."""
        event = self.event_for(decider, [name])
        is_lowest = decider is self.shared[-1]
        # Another layer may have a tombstone, because the layer below it is out.
        if not is_lowest and (yield from self._read_from([decider], name)) is None:
            return None
        answer = yield from self.write(decider, operation, name, argument, event)
        if answer is not None and answer is not False:
            return answer
        others = [layer for layer in self.shared if layer is not decider]
        entry = yield from self._read_from(others, name)
        if entry is None:
            return answer
        copied = yield from self.write(decider, "add", name, entry)
        if copied is FAILED or copied is REFUSED:
            return copied
        return (yield from self.write(decider, operation, name, argument, event))

    def _read_from(self, layers: Sequence[Layer], name: str) -> Flow:
        """Return the live entry of the first layer that has one."""
        for layer in layers:
            answer = yield from self.ask(layer, [name])
            if answer is FAILED:
                continue
            entry = answer.get(name)
            if entry is not None and entry.is_live():
                return entry
        return None

    def _publish_decision(
        self, decider: Layer, names: Sequence[str], refused_by: Sequence[Layer] = ()
    ) -> Flow:
        """After a decision: write tombstones to the other layers, and publish the change."""
        for layer in refused_by:
            yield from self.write(layer, "delete_many", names)
        is_published = self.event_for(decider, names) is not None
        for layer in reversed(self.shared):
            if layer is not decider:
                event = self.event_for(layer, names)
                answer = yield from self.write(layer, "write_tombstones", names, event)
                is_published = event is not None and answer is not FAILED and answer is not REFUSED
        if not is_published:
            yield from self.publish(without_leases(names))
        self.state.drop(self.locals, names)

    def _change_locally(self, change: Callable[[Layer, str], Any], name: str) -> Any:
        """Decide in this process's memory, if no shared layer can."""
        if not self.locals:
            return None
        own = f"{self.state.local_head}{name}"
        answer = change(self.locals[-1], own)
        for layer in self.locals[:-1]:
            layer.delete_many([own])
        return answer

    def event_for(self, layer: Layer, names: Sequence[str]) -> bytes | None:
        """Return the event to write in the same step as the entry, if the layer can do so.

        Only with the last write: a process that gets it earlier would read the old value again.
        """
        carries = getattr(layer, "carries_events", False) and layer is self.shared[0]
        names = without_leases(names)
        return event_of(names) if carries and names else None


def without_numbers(entries: Entries) -> Entries:
    """Return the entries for a layer above the deciding one, with tombstones for numbers.

    Else a number that is set while it is incremented would be outdated here.
    """
    numbers = {
        name: TOMBSTONE for name, entry in entries.items() if type(entry.value) in (int, float)
    }
    return {**entries, **numbers}


def without_leases(names: Iterable[str]) -> list[str]:
    """Return the names that a process may have in memory."""
    return [name for name in names if not name.endswith(LEASE_SUFFIX)]
