"""How a write of one process reaches the memory of the others."""

from cachelayers.backends.layered.bus.base import Bus, Events, NoBus
from cachelayers.backends.layered.bus.making import connect_bus, make_bus
from cachelayers.backends.layered.bus.stream import StreamPosition

__all__ = ["Bus", "Events", "NoBus", "StreamPosition", "connect_bus", "make_bus"]
