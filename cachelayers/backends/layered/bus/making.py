"""Make the bus that the settings of a LayeredCache name."""

from __future__ import annotations

from collections.abc import Sequence

from cachelayers.backends.layered.bus.base import Bus, NoBus
from cachelayers.backends.layered.bus.log import LogBus
from cachelayers.backends.layered.bus.stream import StreamBus, StreamPosition
from cachelayers.backends.layered.layers.base import Layer
from cachelayers.backends.layered.layers.making import make_layer
from cachelayers.backends.layered.layers.redis import RedisLayer

LOG = "log"


def make_bus(name: str | None, cache: str) -> Bus | StreamPosition:
    """Return what all threads share of the bus of a LayeredCache."""
    if name is None:
        return NoBus()
    return LogBus(cache) if name == LOG else StreamPosition(name)


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
