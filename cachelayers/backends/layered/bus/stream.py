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
from cachelayers.backends.layered.layers.redis import EVENTS_KEPT, RedisAccess, cut_idle_connections

READ_AT_ONCE = 1_000
MOST_READS = 10  # in a row; who is further behind forgets everything

Entry = tuple[bytes, Mapping[bytes, bytes]]


class StreamPosition:
    """How far this process has read the stream of one LayeredCache. Shared by its threads."""

    def __init__(self, alias: str) -> None:
        """``alias``: of the Redis in CACHES. Nothing is read yet."""
        self.alias = alias
        self.last: Entry | None = None


class StreamBus(Bus):
    """The stream of one LayeredCache, through the connections of one thread."""

    def __init__(self, position: StreamPosition, stream: str, access: RedisAccess) -> None:
        """``stream``: the full key."""
        super().__init__(position.alias)
        self.position, self.stream, self.access = position, stream, access

    def read(self, apply: Apply) -> Events:
        """Read what is new."""
        events, last = self._read_new(self.access.client())
        apply(events)
        self.position.last = last
        return events

    def append(self, event: bytes) -> bool:
        """Tell the others."""
        client = self.access.client()
        client.xadd(self.stream, {"e": event}, maxlen=EVENTS_KEPT, approximate=True)
        return True

    def cut(self) -> None:
        """End the connections that nobody uses now."""
        cut_idle_connections(self.access)

    def _read_new(self, client: Any) -> tuple[Events, Entry]:
        last = self.position.last
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

    def _begin(self, client: Any) -> tuple[Events, Entry]:
        """Take the last entry as position, one of our own where there is none."""
        entries = client.xrevrange(self.stream, count=1)
        if entries:
            return Events(everything=True), as_entry(entries[0])
        fields = {b"e": event_of([])}
        return Events(everything=True), (as_bytes(client.xadd(self.stream, fields)), fields)


def as_entry(entry: Any) -> Entry:
    """Return an entry in a form that can be compared, whatever the client decodes."""
    entry_id, fields = entry
    return as_bytes(entry_id), {as_bytes(name): as_bytes(value) for name, value in fields.items()}


def as_bytes(text: str | bytes) -> bytes:
    """Return what the server sent."""
    return text.encode() if isinstance(text, str) else text
