"""Make the bus that the settings of a LayeredCache name."""

from __future__ import annotations

from collections.abc import Sequence

from cachelayers.backends.database.events import Events
from cachelayers.backends.layered.bus.base import Bus, NoBus
from cachelayers.backends.layered.bus.file import FileBus
from cachelayers.backends.layered.bus.log import LogBus
from cachelayers.backends.layered.bus.stream import StreamBus, StreamPosition
from cachelayers.backends.layered.layers.base import Layer
from cachelayers.backends.layered.layers.making import make_layer
from cachelayers.backends.layered.layers.redis import RedisLayer
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.conf import LOG_AS_BUS, database_caches


def make_bus(name: str | None, cache: str, layers: Sequence[str]) -> Bus | StreamPosition:
    """Return what all threads share of the bus of a LayeredCache with these layers."""
    if name is None:
        return NoBus()
    if name == LOG_AS_BUS:
        events = events_beside(layers)
        return LogBus(cache) if events is None else FileBus(cache, events)
    return StreamPosition(name)


def events_beside(layers: Sequence[str]) -> Events | None:
    """Return the table of events beside that of a layer, where it is a file of the cache's own."""
    for alias, _ in database_caches():
        if alias in layers:
            layer = make_layer(alias, 0.0)
            return layer.table.events() if isinstance(layer, TableLayer) else None
    return None


def connect_bus(
    bus: Bus | StreamPosition, cache: str, layers: Sequence[Layer], limit_seconds: float
) -> Bus:
    """Return the bus with the connections of one thread, its layer's where it is one too."""
    if isinstance(bus, Bus):
        return bus
    layer = next((one for one in layers if one.alias == bus.alias), None)
    layer = layer or make_layer(bus.alias, limit_seconds)
    if not isinstance(layer, RedisLayer):
        raise LookupError(f"BUS {bus.alias!r} is no Redis.")  # a check has said so
    layer.stream = str(layer.access.key(f"{cache}:bus"))
    return StreamBus(bus, layer.stream, layer.access)
