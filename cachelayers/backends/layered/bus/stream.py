"""A stream of Redis as bus: it cannot lose a message without this being noticed.

The position is the last entry that was read. Each look reads from that entry on, itself included:
if it is not there any more, the stream was trimmed beyond it, or the Redis is another one or has
lost it, and everything may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachelayers.backends.layered.bus.base import (
    Apply,
    Bus,
    Events,
    event_of,
    names_of,
    this_process,
)
from cachelayers.backends.layered.layers.redis import EVENTS_KEPT, RedisAccess

READ_AT_ONCE = 1_000
MOST_READS = 10  # in a row; who is further behind forgets everything

Entry = tuple[bytes, Mapping[bytes, bytes]]


class StreamBus(Bus):
    """The stream of one LayeredCache."""

    def __init__(self, alias: str, stream: str) -> None:
        """``alias``: of the Redis in CACHES; ``stream``: the full key."""
        super().__init__(alias)
        self.stream = stream
        self._last: Entry | None = None

    def read(self, apply: Apply) -> Events:
        """Not by this object, which has no connection: see StreamReader."""
        raise NotImplementedError

    def append(self, event: bytes) -> bool:
        """Not by this object."""
        raise NotImplementedError

    def read_with(self, access: RedisAccess, apply: Apply) -> Events:
        """Read what is new through a thread's own client."""
        events, last = self._read_new(access.client())
        apply(events)
        self._last = last
        return events

    def _read_new(self, client: Any) -> tuple[Events, Entry]:
        last = self._last
        if last is None:
            return self._begin(client)
        names: list[str] = []
        everything = False
        for _ in range(MOST_READS):
            entries = client.xrange(self.stream, min=last[0], count=READ_AT_ONCE)
            if not entries or as_entry(entries[0]) != last:
                return self._begin(client)
            for entry in entries[1:]:
                process, changed = names_of(as_entry(entry)[1].get(b"e", b""))
                if process != this_process():
                    everything = everything or changed is None
                    names += changed or ()
            last = as_entry(entries[-1])
            if len(entries) < READ_AT_ONCE:
                return Events(names, everything), last
        return self._begin(client)

    def append_with(self, access: RedisAccess, event: bytes) -> None:
        """Append through a thread's own client."""
        access.client().xadd(self.stream, {"e": event}, maxlen=EVENTS_KEPT, approximate=True)

    def _begin(self, client: Any) -> tuple[Events, Entry]:
        """Take the last entry as position, one of our own where there is none."""
        entries = client.xrevrange(self.stream, count=1)
        if entries:
            return Events(everything=True), as_entry(entries[0])
        fields = {b"e": event_of([])}
        return Events(everything=True), (as_bytes(client.xadd(self.stream, fields)), fields)


class StreamReader(Bus):
    """The bus of a process, through the connections of one thread's LayeredCache."""

    def __init__(self, bus: StreamBus, access: RedisAccess) -> None:
        """Share the position with all threads."""
        self.alias, self.breaker, self.lock = bus.alias, bus.breaker, bus.lock
        self._bus, self._access = bus, access

    def read(self, apply: Apply) -> Events:
        """Read what is new."""
        return self._bus.read_with(self._access, apply)

    def append(self, event: bytes) -> bool:
        """Tell the others."""
        self._bus.append_with(self._access, event)
        return True


def as_entry(entry: Any) -> Entry:
    """Return an entry in a form that can be compared, whatever the client decodes."""
    entry_id, fields = entry
    return as_bytes(entry_id), {as_bytes(name): as_bytes(value) for name, value in fields.items()}


def as_bytes(text: str | bytes) -> bytes:
    """Return what the server sent."""
    return text.encode() if isinstance(text, str) else text
